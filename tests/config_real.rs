//! Configurations read by us and by the real oslo.config with Nova's own
//! options (`tests/config/nova_peer.py`), side by side.
//!
//! Needs Python with Nova: the interpreter that `CONSOLEGATE_TEST_PYTHON` names, or else
//! `target/test-python/bin/python`. Without it the test fails.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "config/generated.rs"]
mod generated;
#[path = "config/peer.rs"]
mod peer;
#[path = "config/rules.rs"]
mod rules;
#[path = "config/sides.rs"]
mod sides;

use consolegate::control::config::Program;
use peer::{Case, differences, outcomes};

/// Where we differ on purpose: cases by name, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "flag_file_and_variable",
        "the documented order: oslo.config lets a variable win over a flag if a file has it too",
    ),
    ("byte_order_mark", "an editor's byte order mark is no mistake of the operator"),
    ("unknown_reference", "a stray dollar sign stays as it is, with a warning, instead of ending the start"),
    ("reference_to_default_group", "the same"),
    ("reference_to_itself", "the same"),
    ("old_spelling_on_the_command_line", "unit files of old releases still start"),
    ("old_spice_names", "names that Nova has dropped are still read, with a warning"),
    ("retired_group", "the same"),
    ("retired_names", "the same"),
    ("empty_argument", "an unset variable in a unit file adds nothing"),
    ("blank_round_a_boolean_variable", "the type trims in files, so it does here"),
    ("credentials_in_a_broken_line", "a password is never shown"),
    ("no_section", "the message shows the line, as the others do"),
    ("usage_error_and_broken_file", "a wrong command line is reported before any file is read"),
];

fn case(name: &str, argv: &[&str]) -> Case {
    Case::new(name, argv)
}

fn cases() -> Vec<Case> {
    let mut cases = command_lines();
    cases.extend(precedence());
    cases.extend(grammar());
    cases.extend(types());
    cases.extend(references());
    cases.extend(messaging());
    cases
}

fn command_lines() -> Vec<Case> {
    let spice = Program::SpiceHtml5Proxy;
    vec![
        case("nothing", &[]),
        case("nothing_for_spice", &[]).program(spice),
        case("nothing_for_serial", &[]).program(Program::SerialProxy),
        case(
            "flags",
            &[
                "--vnc-novncproxy_host",
                "::",
                "--vnc-novncproxy_port=6081",
                "--vnc-auth_schemes",
                "vencrypt,none",
                "-d",
            ],
        ),
        case("spice_flags", &["--spice-html5proxy_host", "h.example.", "--spice-html5proxy_port", "1"])
            .program(spice),
        case(
            "serial_flags",
            &["--serial_console-serialproxy_host", "::1", "--serial_console-serialproxy_port", "7"],
        )
        .program(Program::SerialProxy),
        case("prefix", &["--vnc-novncproxy_p", "7000", "--we", "/w", "--nod"]),
        case("ambiguous_prefix", &["--vnc-novncproxy_", "7000"]),
        case("inverse", &["--debug", "--nodebug", "--ssl_only", "--nodaemon"]),
        case("aliases", &["--logfile", "/a", "--logdir", "/b", "--log_config", "/c"]),
        case("empty_value", &["--web", "", "--record="]),
        case("value_looks_like_a_flag", &["--web", "--debug"]),
        case("negative_value", &["--vnc-novncproxy_port", "-1"]),
        case("value_with_a_blank", &["--record", "-a b"]),
        case("missing_value", &["--web"]),
        case("value_for_a_boolean", &["--daemon=true"]),
        case("unknown_flag", &["--bogus", "x", "--debug"]),
        case("hyphens_for_underscores", &["--ssl-only"]),
        case("positional", &["start"]),
        case("double_dash_value", &["--vnc-novncproxy_port", "70000"]),
        case("bad_choice", &["--vnc-auth_schemes", "none,tls"]),
        case("bad_host", &["--spice-html5proxy_host", "[::1]"]).program(spice),
        case("old_spelling_on_the_command_line", &["--novncproxy_port", "7"]),
        case("empty_argument", &["--debug", ""]),
        case("short_cluster", &["-dx"]),
        case("usage_error_and_broken_file", &["--bogus", "--config-file", "@/f"]).file("f", "nonsense\n"),
    ]
}

fn precedence() -> Vec<Case> {
    let web = "[DEFAULT]\nweb=/f\nrpc_response_timeout=5\n";
    vec![
        case("default_files", &[]).file("nova.conf", web).file("nova-novncproxy.conf", "[DEFAULT]\nweb=/g\n"),
        case("dot_directory_first", &[])
            .file("nova.conf", web)
            .file(".nova/nova.conf", "[DEFAULT]\nweb=/dot\n"),
        case("default_directories", &[])
            .file("nova.conf", web)
            .file("nova.conf.d/b.conf", "[DEFAULT]\nweb=/b\n")
            .file("nova.conf.d/a.conf", "[DEFAULT]\nweb=/a\nkey=k\n")
            .file("nova.conf.d/.c.conf", "[DEFAULT]\nweb=/c\n")
            .file("nova-novncproxy.conf.d/Z.conf", "[DEFAULT]\ncert=z\n"),
        case("named_file_alone", &["--config-file", "@/f"])
            .file("f", "[DEFAULT]\nkey=k\n")
            .file("nova.conf", web),
        case("named_directory_alone", &["--config-dir", "@/d"])
            .file("d/x.conf", "[DEFAULT]\nkey=k\n")
            .file("nova.conf", web)
            .file("nova.conf.d/a.conf", "[DEFAULT]\nweb=/a\n"),
        case("shell_completion_later", &["-d", "--shell_completion", "zsh"]).file("nova.conf", web),
        case("shell_completion_with_sign", &["--shell_completion=bash"]).file("nova.conf", web),
        case("shell_completion_unknown", &["--shell_completion", "fish"]).file("nova.conf", web),
        case("abbreviated_config_file", &["--config-fil", "@/f"])
            .file("f", "[DEFAULT]\nkey=k\n")
            .file("nova.conf", web),
        case("home_in_a_path", &["--config-file", "~/f"]).file("f", web),
        case("relative_path", &["--config-file", "f"]).file("f", web),
        case("flag_then_file", &["--web", "/a", "--config-file=@/f"]).file("f", web),
        case("file_then_flag", &["--config-file", "@/f", "--web", "/a"]).file("f", web),
        case("two_files", &["--config-file", "@/f", "--config-file", "@/g"])
            .file("f", web)
            .file("g", "[DEFAULT]\nweb=/g\n"),
        case("directory_in_between", &["--config-dir", "@/d", "--web", "/a", "--config-dir", "@/e"])
            .file("d/a.conf", web)
            .file("e/a.conf", "[DEFAULT]\nkey=e\n"),
        case("variable", &[])
            .variable("OS_DEFAULT__WEB", "/e")
            .variable("OS_DATABASE__CONNECTION", "sqlite:///e"),
        case("variable_and_file", &["--config-file", "@/f"]).file("f", web).variable("OS_DEFAULT__WEB", "/e"),
        case("variable_and_flag", &["--web", "/a"]).variable("OS_DEFAULT__WEB", "/e"),
        case("variable_flag_then_file", &["--web", "/a", "--config-file", "@/f"])
            .file("f", web)
            .variable("OS_DEFAULT__WEB", "/e"),
        case("flag_file_and_variable", &["--config-file", "@/f", "--web", "/a"])
            .file("f", web)
            .variable("OS_DEFAULT__WEB", "/e"),
        case("variable_of_an_old_name", &[]).variable("OS_DEFAULT__LOGFILE", "/e"),
        case("variable_of_hyphenated_option", &[]).variable("OS_DEFAULT__LOG_FILE", "/e"),
        case("bad_variable", &[]).variable("OS_DEFAULT__RPC_RESPONSE_TIMEOUT", "x"),
        case("bad_file_value_below_a_variable", &["--config-file", "@/f"])
            .file("f", "[DEFAULT]\ndebug=x\n")
            .variable("OS_DEFAULT__DEBUG", "true"),
        case("bad_value_overridden", &["--config-file", "@/f", "--config-file", "@/g"])
            .file("f", "[DEFAULT]\ndebug=x\n")
            .file("g", "[DEFAULT]\ndebug=1\n"),
        case("blank_round_a_boolean_variable", &[]).variable("OS_DEFAULT__DEBUG", " true "),
        case("old_names", &["--config-file", "@/f"]).file(
            "f",
            "[DEFAULT]\nnovncproxy_port=7\nnovncproxy_host=h\nlogfile=l\nlogdir=d\nlog_config=c\n\
             console_allowed_origins=a,b\n",
        ),
        case("retired_group", &["--config-file", "@/f"]).file("f", "[DATABASE]\nsql_connection=s\n"),
        case("retired_names", &["--config-file", "@/f"]).file(
            "f",
            "[DEFAULT]\nsql_connection=s\nverbose=yes\nvncserver_listen=a\nvncserver_proxyclient_address=b\n",
        ),
        case("old_and_new_in_one_file", &["--config-file", "@/f"])
            .file("f", "[DEFAULT]\nlogfile=old\nlog_file=new\n"),
        case("old_in_the_later_file", &["--config-file", "@/f", "--config-file", "@/g"])
            .file("f", "[DEFAULT]\nlog_file=new\n[console]\nallowed_origins=new\n")
            .file("g", "[DEFAULT]\nlogfile=old\nconsole_allowed_origins=old\n"),
        case("many_values_across_files", &["--config-file", "@/f", "--config-dir", "@/d"])
            .file("f", "[oslo_messaging_notifications]\ndriver=a\ndriver=$my_ip\n[DEFAULT]\nmy_ip=b\n")
            .file("d/a.conf", "[oslo_messaging_notifications]\ndriver=c,d\n")
            .file("d/b.conf", "[oslo_messaging_notifications]\ndriver=\n"),
        case("hyphens_in_an_old_name", &["--config-file", "@/f"]).file("f", "[DEFAULT]\nlog-config=x\n"),
        case("hyphens_in_a_file", &["--config-file", "@/f"]).file("f", "[DEFAULT]\nlog-file=x\n"),
        case("old_spice_names", &["--config-file", "@/f"])
            .file("f", "[DEFAULT]\nspicehtml5proxy_port=7\n")
            .program(Program::SpiceHtml5Proxy),
        case("missing_files", &["--config-file", "@/f", "--config-file", "/no/such"]),
        case("missing_directory", &["--config-dir", "@/d"]),
        case("wrong_port_of_another_program", &["--config-file", "@/f"])
            .file("f", "[vnc]\nnovncproxy_port=x\n")
            .program(Program::SerialProxy),
    ]
}

fn grammar() -> Vec<Case> {
    let file = |name, text: &str| case(name, &["--config-file", "@/f"]).file("f", text);
    vec![
        file("separators", "[DEFAULT]\nweb:/a=b\nkey = c:d\ncert\t=\te \n"),
        file("quotes", "[DEFAULT]\nweb='/a'\nkey=\"\ncert=\"x'\nrecord=\"'y'\"\nlog_file=a\"b\"\n"),
        file("comments", "# c\n[DEFAULT]\n; d\nweb=/a # not a comment\n  \nkey=#x\n"),
        file("continuation", "[console]\nallowed_origins = a,\n   b,\n\tc\n[DEFAULT]\nrecord=x\n y\n"),
        file("continuation_at_the_start", " a = b\n"),
        file("continuation_after_a_comment", "[DEFAULT]\nweb=/a\n# c\n b\n"),
        file("continuation_after_a_blank", "[DEFAULT]\nweb=/a\n\n b\n"),
        file(
            "sections",
            "[VNC]\nnovncproxy_port=1\n[vnc]\nnovncproxy_host=h\n[default]\nweb=/no\n[ vnc ]\nnovncproxy_port=2\n",
        ),
        file("section_twice", "[vnc]\nnovncproxy_port=1\n[DEFAULT]\nweb=/a\n[vnc]\nnovncproxy_port=2\n"),
        file("key_case", "[DEFAULT]\nWeb=/a\nWEB=/b\n"),
        file("unknown_names", "[nothing]\nat=all\n[DEFAULT]\nnope=1\n"),
        file("credentials_in_a_broken_line", "[database]\n mysql://u:p@h/nova\n"),
        file("no_section", "web=/a\n"),
        file("no_separator", "[DEFAULT]\nweb\n"),
        file("empty_key", "[DEFAULT]\n= x\n"),
        file("open_section", "[DEFAULT\n"),
        file("section_with_comment", "[DEFAULT] # x\n"),
        file("empty_section", "[]\n"),
        file("repr_of_the_line", "[DEFAULT]\nit's \"x\"\\\n"),
        file("carriage_returns", "[DEFAULT]\r\nweb=/a\r\nkey=b\rcert=c\r\n"),
        file("repeated", "[DEFAULT]\nweb=/a\nweb=/b\n"),
        file("empty_file", ""),
        file("utf8", "[DEFAULT]\nrecord=/é/ü\n"),
        file("byte_order_mark", "\u{feff}[DEFAULT]\nweb=/a\n"),
        file(
            "real_world",
            "[DEFAULT]\ntransport_url = rabbit://u:p%40w@h1:5671,u:p@h2:5671/vhost?ssl=1&ssl_version=TLSv1_2\n\
             [vnc]\nnovncproxy_host = \"::0\"\nauth_schemes=vencrypt,none\n[database]\n\
             connection = mysql+pymysql://u:p@h:3306/nova_cell1?charset=utf8&ssl_ca=/a.crt&read_default_file=/etc/my.cnf\n",
        ),
    ]
}

fn messaging() -> Vec<Case> {
    let file = |name, text: &str| {
        case(name, &["--config-file", "@/f"]).file("f", &format!("[oslo_messaging_rabbit]\n{text}\n"))
    };
    vec![
        file("rabbit_floats", "kombu_reconnect_delay=.5\nkombu_reconnect_splay= 2 "),
        file("rabbit_bad_float", "kombu_reconnect_splay=soon"),
        file("rabbit_negative_float", "kombu_reconnect_splay=-1"),
        file("rabbit_bad_choice", "rabbit_login_method=plain"),
        file("rabbit_bad_minimum", "rabbit_retry_interval=0"),
        file("rabbit_old_name", "kombu_reconnect_timeout=7"),
        file(
            "rabbit_all_kinds",
            "ssl=yes\nssl_ca_file=/ca\nheartbeat_timeout_threshold=-1\nrabbit_quorum_queue=1\n\
             rabbit_transient_queues_ttl=0\nkombu_failover_strategy=shuffle",
        ),
    ]
}

fn types() -> Vec<Case> {
    let file = |name, text: &str| case(name, &["--config-file", "@/f"]).file("f", text);
    let mut cases = vec![
        file("booleans", "[DEFAULT]\ndebug=YES\nssl_only=Off\ndaemon=1\nuse_stderr=oN\n"),
        file("bad_boolean_flag", "[DEFAULT]\nssl_only=maybe\n"),
        file("bad_boolean", "[DEFAULT]\nuse_stderr=maybe\n"),
        file("empty_boolean", "[DEFAULT]\nuse_stderr=\n"),
        file("several_bad_flags", "[DEFAULT]\nssl_only=x\ndebug=y\n[vnc]\nnovncproxy_port=z\n"),
        file("integer_forms", "[DEFAULT]\nrpc_response_timeout=+0_60\n[vnc]\nnovncproxy_port=0080\n"),
        file("empty_integer", "[DEFAULT]\nrpc_response_timeout=\n[vnc]\nnovncproxy_port=\n"),
        file("bad_integer", "[DEFAULT]\nrpc_response_timeout=0x3c\n"),
        file("fraction", "[DEFAULT]\nrpc_response_timeout=1.5\n"),
        file("bad_port", "[vnc]\nnovncproxy_port=65536\n"),
        file("empty_texts", "[DEFAULT]\nweb=\nkey=\n[console]\nallowed_origins=\n"),
        file("lists", "[console]\nallowed_origins= a , b,,c,,\n"),
        file("quoted_list", "[console]\nallowed_origins=\"a, b\"\n"),
        file("quotes_in_a_list", "[console]\nallowed_origins=\"a\",\"b\"\n"),
        file("bad_choice_in_a_file", "[DEFAULT]\nconcurrency_backend=Auto\n"),
    ];
    for (name, host) in [
        ("host_v4", "192.0.2.1"),
        ("host_v6", "2001:db8::1"),
        ("host_name", "a-1.b2"),
        ("host_mistyped_address", "192.0.2.256"),
        ("host_underscore", "a_b"),
        ("host_empty", ""),
        ("host_leading_zero", "192.0.02.1"),
    ] {
        cases.push(
            file(name, &format!("[spice]\nhtml5proxy_host={host}\n")).program(Program::SpiceHtml5Proxy),
        );
    }
    cases
}

fn references() -> Vec<Case> {
    let file = |name, text: &str| case(name, &["--config-file", "@/f"]).file("f", text);
    vec![
        file("reference", "[DEFAULT]\nlog_dir=/v\nlog_file=$log_dir/x-${log_dir}y\n"),
        file("reference_to_a_group", "[DEFAULT]\nkey=$vnc.novncproxy_port-${vnc.novncproxy_host}.x\n"),
        file(
            "reference_in_a_group",
            "[DEFAULT]\nkey=/k\n[vnc]\nvencrypt_client_key=$key\nvencrypt_ca_certs=$novncproxy_host\n",
        ),
        file("reference_to_a_reference", "[DEFAULT]\nkey=$cert\ncert=$record\nrecord=r\n"),
        file("reference_to_unset", "[DEFAULT]\nkey=[$record]\n"),
        file(
            "reference_to_boolean_and_list",
            "[DEFAULT]\nkey=$debug $vnc.auth_schemes $rpc_response_timeout\n",
        ),
        file("reference_in_a_number", "[DEFAULT]\nrpc_response_timeout=$vnc.novncproxy_port\n"),
        file("escapes", "[database]\nconnection=mysql://u:a$$b\\$c$@h/$1 ${ $}\n"),
        case("reference_in_a_flag", &["--web", "/x/$cert"]),
        case("reference_in_a_variable", &[]).variable("OS_DEFAULT__WEB", "$cert/$$"),
        file("reference_to_an_old_name", "[DEFAULT]\nlogdir=/l\nkey=$log_dir\n"),
        file("unknown_reference", "[DEFAULT]\nkey=a$nope\n"),
        file("reference_to_default_group", "[DEFAULT]\nkey=$DEFAULT.cert\n"),
        file("reference_to_itself", "[DEFAULT]\nkey=$key\n"),
    ]
}

#[test]
fn every_case_comes_out_as_with_oslo_config_or_is_listed() {
    let cases = cases();
    let mut wrong = Vec::new();
    let all: Vec<&Case> = cases.iter().collect();
    for (case, (ours, theirs)) in cases.iter().zip(outcomes(&all, "cases")) {
        let mut differences = differences(&ours, &theirs);
        differences.retain(|one| !one.is_of_the_installation());
        let listed = DIFFERENCES.iter().any(|(name, _)| *name == case.name);
        if differences.is_empty() == listed {
            wrong.push(format!("{} (listed as different: {listed})\n  {differences:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    for (name, _) in DIFFERENCES {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is listed as different but is no case");
    }
}
