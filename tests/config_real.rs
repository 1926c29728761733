//! Configurations read by us and by the real oslo.config (`tests/config/oslo_peer.py`), side by side.
//!
//! Needs Python with oslo.config: the interpreter that `CONSOLEGATE_TEST_PYTHON` names, or else
//! `target/test-python/bin/python`. Without it the test fails.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use consolegate::control::config::{Value, read};
use serde_json::{Value as Json, json};

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
    ("empty_argument", "an unset variable in a unit file adds nothing"),
    ("blank_round_a_boolean_variable", "the type trims in files, so it does here"),
    ("credentials_in_a_broken_line", "a password is never shown"),
    ("no_section", "the message shows the line, as the others do"),
    ("usage_error_and_broken_file", "a wrong command line is reported before any file is read"),
];

/// Options of releases that are gone, and two whose defaults are the machine's and have no effect here.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("oslo_messaging_rabbit", "heartbeat_in_pthread"),
    ("oslo_messaging_rabbit", "hostname"),
    ("oslo_messaging_rabbit", "processname"),
    ("oslo_messaging_rabbit", "rabbit_host"),
    ("oslo_messaging_rabbit", "rabbit_hosts"),
    ("oslo_messaging_rabbit", "rabbit_password"),
    ("oslo_messaging_rabbit", "rabbit_port"),
    ("oslo_messaging_rabbit", "rabbit_userid"),
    ("oslo_messaging_rabbit", "rabbit_virtual_host"),
    ("workarounds", "enable_consoleauth"),
];

/// One configuration: files by name below the case's directory, which `@` stands for in argv and values.
struct Case {
    name: &'static str,
    program: &'static str,
    argv: Vec<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
    files: Vec<(&'static str, String)>,
}

fn case(name: &'static str, argv: &[&'static str]) -> Case {
    Case { name, program: "nova-novncproxy", argv: argv.to_vec(), environment: Vec::new(), files: Vec::new() }
}

impl Case {
    fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    fn program(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }
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
    let spice = "nova-spicehtml5proxy";
    vec![
        case("nothing", &[]),
        case("nothing_for_spice", &[]).program(spice),
        case("nothing_for_serial", &[]).program("nova-serialproxy"),
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
        .program("nova-serialproxy"),
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
        case("dot_directory_first", &[]).file("nova.conf", web).file(".nova/nova.conf", "[DEFAULT]\nweb=/dot\n"),
        case("default_directories", &[])
            .file("nova.conf", web)
            .file("nova.conf.d/b.conf", "[DEFAULT]\nweb=/b\n")
            .file("nova.conf.d/a.conf", "[DEFAULT]\nweb=/a\nkey=k\n")
            .file("nova.conf.d/.c.conf", "[DEFAULT]\nweb=/c\n")
            .file("nova-novncproxy.conf.d/Z.conf", "[DEFAULT]\ncert=z\n"),
        case("named_file_alone", &["--config-file", "@/f"]).file("f", "[DEFAULT]\nkey=k\n").file("nova.conf", web),
        case("named_directory_alone", &["--config-dir", "@/d"])
            .file("d/x.conf", "[DEFAULT]\nkey=k\n")
            .file("nova.conf", web)
            .file("nova.conf.d/a.conf", "[DEFAULT]\nweb=/a\n"),
        case("shell_completion_later", &["-d", "--shell_completion", "zsh"]).file("nova.conf", web),
        case("shell_completion_with_sign", &["--shell_completion=bash"]).file("nova.conf", web),
        case("shell_completion_unknown", &["--shell_completion", "fish"]).file("nova.conf", web),
        case("abbreviated_config_file", &["--config-fil", "@/f"]).file("f", "[DEFAULT]\nkey=k\n").file("nova.conf", web),
        case("home_in_a_path", &["--config-file", "~/f"]).file("f", web),
        case("relative_path", &["--config-file", "f"]).file("f", web),
        case("flag_then_file", &["--web", "/a", "--config-file=@/f"]).file("f", web),
        case("file_then_flag", &["--config-file", "@/f", "--web", "/a"]).file("f", web),
        case("two_files", &["--config-file", "@/f", "--config-file", "@/g"]).file("f", web).file("g", "[DEFAULT]\nweb=/g\n"),
        case("directory_in_between", &["--config-dir", "@/d", "--web", "/a", "--config-dir", "@/e"])
            .file("d/a.conf", web)
            .file("e/a.conf", "[DEFAULT]\nkey=e\n"),
        case("variable", &[]).variable("OS_DEFAULT__WEB", "/e").variable("OS_DATABASE__CONNECTION", "sqlite:///e"),
        case("variable_and_file", &["--config-file", "@/f"]).file("f", web).variable("OS_DEFAULT__WEB", "/e"),
        case("variable_and_flag", &["--web", "/a"]).variable("OS_DEFAULT__WEB", "/e"),
        case("variable_flag_then_file", &["--web", "/a", "--config-file", "@/f"]).file("f", web).variable("OS_DEFAULT__WEB", "/e"),
        case("flag_file_and_variable", &["--config-file", "@/f", "--web", "/a"]).file("f", web).variable("OS_DEFAULT__WEB", "/e"),
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
            "[DEFAULT]\nnovncproxy_port=7\nnovncproxy_host=h\nlogfile=l\nlogdir=d\nlog_config=c\nsql_connection=s\n\
             console_allowed_origins=a,b\n",
        ),
        case("old_group", &["--config-file", "@/f"]).file("f", "[DATABASE]\nsql_connection=s\n"),
        case("old_and_new_in_one_file", &["--config-file", "@/f"]).file("f", "[DEFAULT]\nlogfile=old\nlog_file=new\n"),
        case("old_in_the_later_file", &["--config-file", "@/f", "--config-file", "@/g"])
            .file("f", "[DEFAULT]\nlog_file=new\n[console]\nallowed_origins=new\n")
            .file("g", "[DEFAULT]\nlogfile=old\nconsole_allowed_origins=old\n"),
        case("hyphens_in_a_file", &["--config-file", "@/f"]).file("f", "[DEFAULT]\nlog-file=x\n"),
        case("old_spice_names", &["--config-file", "@/f"])
            .file("f", "[DEFAULT]\nspicehtml5proxy_port=7\n")
            .program("nova-spicehtml5proxy"),
        case("missing_files", &["--config-file", "@/f", "--config-file", "/no/such"]),
        case("missing_directory", &["--config-dir", "@/d"]),
        case("wrong_port_of_another_program", &["--config-file", "@/f"])
            .file("f", "[vnc]\nnovncproxy_port=x\n")
            .program("nova-serialproxy"),
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
        cases.push(file(name, &format!("[spice]\nhtml5proxy_host={host}\n")).program("nova-spicehtml5proxy"));
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

/// What a program made of a case: its status, the line that says why it failed, the old names it warned
/// of, and the values.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: i64,
    reason: String,
    deprecations: Vec<String>,
    values: BTreeMap<String, Json>,
}

fn ours(case: &Case, directory: &Path) -> Outcome {
    let argv: Vec<OsString> = std::iter::once(case.program.to_owned())
        .chain(arguments(case, directory))
        .map(OsString::from)
        .collect();
    let environment = environment(case, directory);
    match read(&argv, &|name| environment.get(name).map(OsString::from)) {
        Ok(values) => {
            let shared = values.iter().filter(|(group, name, _)| {
                *group != "consolegate" && !NOT_COMPARED.contains(&(*group, *name))
            });
            Outcome {
                status: 0,
                reason: String::new(),
                deprecations: deprecations(
                    values.warnings.iter().filter_map(|one| one.strip_prefix("Deprecated: ")),
                ),
                values: shared
                    .map(|(group, name, value)| (format!("{group}.{name}"), to_json(value)))
                    .collect(),
            }
        }
        Err(exit) => Outcome {
            status: exit.status.into(),
            reason: reason(&exit.stderr),
            deprecations: Vec::new(),
            values: BTreeMap::new(),
        },
    }
}

fn deprecations<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> =
        lines.filter(|line| line.starts_with("Option ")).map(str::to_owned).collect();
    lines.sort();
    // Each once: oslo.config warns again where it looks a value up again.
    lines.dedup();
    lines
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Unset => Json::Null,
        Value::Bool(on) => json!(on),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Str(text) => json!(text),
        Value::List(items) => json!(items),
        Value::Secret(secret) => json!(str::from_utf8(secret.expose()).unwrap()),
    }
}

/// The line of a message that both programs have: without our note about the place, and without the
/// name of the place itself, which oslo.config prints as a Python object.
fn reason(stderr: &str) -> String {
    let mut lines = stderr.lines().filter(|line| !line.starts_with("(option "));
    let last = lines.next_back().unwrap_or_default();
    match (last.split_once(" from "), last.rsplit_once(" is not valid: ")) {
        (Some((option, _)), Some((_, why))) => format!("{option} is not valid: {why}"),
        _ => last.to_owned(),
    }
}

fn arguments(case: &Case, directory: &Path) -> Vec<String> {
    case.argv.iter().map(|argument| argument.replace('@', directory.to_str().unwrap())).collect()
}

fn environment(case: &Case, directory: &Path) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        case.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.insert("HOME".to_owned(), directory.to_str().unwrap().to_owned());
    all
}

fn theirs(cases: &[Case], root: &Path) -> Vec<Outcome> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON")
        .map_or_else(|| manifest.join("target/test-python/bin/python"), PathBuf::from);
    let mut child = Command::new(&python)
        .arg(manifest.join("tests/config/oslo_peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    let mut questions = String::new();
    for case in cases {
        let directory = root.join(case.name);
        let question = json!({
            "program": case.program,
            "argv": arguments(case, &directory),
            "environment": environment(case, &directory),
            "directory": directory,
        });
        questions.push_str(&format!("{question}\n"));
    }
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{} failed: is oslo.config installed there?", python.display());
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(|line| outcome(&serde_json::from_str(line).unwrap())).collect()
}

fn outcome(answer: &Json) -> Outcome {
    let (status, stderr) = (answer["status"].as_i64().unwrap(), answer["stderr"].as_str().unwrap());
    let failed = status != 0;
    Outcome {
        status,
        reason: if failed { reason(stderr) } else { String::new() },
        deprecations: if failed { Vec::new() } else { deprecations(stderr.lines()) },
        values: answer["values"].as_object().cloned().unwrap_or_default().into_iter().collect(),
    }
}

#[test]
fn every_case_comes_out_as_with_oslo_config_or_is_listed() {
    let root = std::env::temp_dir().join(format!("consolegate-config-real-{}", std::process::id()));
    let cases = cases();
    for case in &cases {
        let directory = root.join(case.name);
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in &case.files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let theirs = theirs(&cases, &root);
    assert_eq!(theirs.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, theirs) in cases.iter().zip(theirs) {
        let directory = root.join(case.name);
        // A relative path is relative to where the program starts.
        std::env::set_current_dir(&directory).unwrap();
        let ours = ours(case, &directory);
        let listed = DIFFERENCES.iter().any(|(name, _)| *name == case.name);
        if (ours == theirs) == listed {
            wrong.push(format!(
                "{} (listed as different: {listed})\n  ours:   {ours:?}\n  theirs: {theirs:?}",
                case.name
            ));
        }
    }
    std::env::set_current_dir("/").unwrap();
    let _ = fs::remove_dir_all(&root);
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    for (name, _) in DIFFERENCES {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is listed as different but is no case");
    }
}
