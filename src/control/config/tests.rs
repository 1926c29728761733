//! Whole configurations: argv, files and environment in, values and exits out.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::control::PortCheck;
use crate::proto::rfb::AuthScheme;
use crate::proto::ws::TextPolicy;
use crate::telemetry::{Formats, LogSettings, RateLimit, Rotation, Sockets, When};

/// A machine of its own: a home directory and an environment.
struct Machine {
    home: PathBuf,
    environment: HashMap<String, String>,
}

impl Machine {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("consolegate-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let mut machine = Self { home, environment: HashMap::new() };
        machine.set("HOME", machine.home.clone().to_str().unwrap());
        machine
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Writes a file below the home directory, and tells its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run<T>(
        &self,
        line: &[&str],
        read: impl Fn(&[OsString], &Environment<'_>) -> Result<T, Exit>,
    ) -> Result<T, Exit> {
        let argv: Vec<OsString> = line.iter().map(OsString::from).collect();
        read(&argv, &|name| self.environment.get(name).map(OsString::from))
    }

    fn read(&self, line: &[&str]) -> Result<Values, Exit> {
        self.run(line, |argv, environment| read(argv, environment))
    }

    /// Loads with a web root that exists.
    fn load(&self, line: &[&str]) -> Result<Config, Exit> {
        let line = [&line[..1], &["--web", "/"], &line[1..]].concat();
        self.run(&line, |argv, environment| load(argv, environment))
    }

    fn value(&self, line: &[&str], group: &str, name: &str) -> Value {
        self.read(line).unwrap().value(group, name).clone()
    }

    fn exit(&self, line: &[&str]) -> Exit {
        self.run(line, |argv, environment| load(argv, environment)).unwrap_err()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

const NOVNC: &str = "/usr/bin/nova-novncproxy";

#[test]
fn defaults_are_those_of_each_program() {
    let machine = Machine::new("defaults");
    let config = machine.load(&[NOVNC]).unwrap();
    assert_eq!(config.listen, Listen { host: "0.0.0.0".into(), port: 6080, prefer_ipv6: false });
    assert_eq!((config.program, config.io_engine), (Program::NoVncProxy, IoEngine::Auto));
    assert!(matches!(config.port_check, PortCheck::Rpc(_)));
    assert_eq!(config.auth_schemes, [AuthScheme::None]);
    assert_eq!(config.text_frames, TextPolicy::Refuse);
    assert_eq!(config.web.as_deref(), Some(Path::new("/")));
    assert!((1..=4).contains(&config.workers.get()));
    assert_eq!(config.limits, crate::session::limits::Limits::default());
    assert_eq!(config.log.file, None);
    assert_eq!(config.warnings, ["[database] connection is not set: no token can be checked."]);

    let config = machine.load(&["nova-spicehtml5proxy"]).unwrap();
    assert_eq!((config.listen.port, config.auth_schemes.len()), (6082, 0));
    let config = machine.run(&["nova-serialproxy"], |argv, environment| load(argv, environment)).unwrap();
    assert_eq!((config.listen.port, config.web, config.text_frames), (6083, None, TextPolicy::Accept));
    let web = |program: &str| machine.value(&[program], DEFAULT, "web");
    assert_eq!(web("nova-novncproxy"), Value::Str("/usr/share/novnc".into()));
    assert_eq!(web("nova-spicehtml5proxy"), Value::Str("/usr/share/spice-html5".into()));
    assert_eq!(web("nova-serialproxy"), Value::Unset);
}

#[test]
fn default_files_and_directories_are_read_in_order() {
    let machine = Machine::new("places");
    let port = || machine.value(&[NOVNC], "vnc", "novncproxy_port");
    machine.file("nova.conf", "[vnc]\nnovncproxy_port=1\n");
    assert_eq!(port(), Value::Int(1));
    machine.file(".nova/nova.conf", "[vnc]\nnovncproxy_port=2\n");
    assert_eq!(port(), Value::Int(2));
    machine.file("nova-novncproxy.conf", "[vnc]\nnovncproxy_port=3\n");
    assert_eq!(port(), Value::Int(3));
    machine.file("nova.conf.d/b.conf", "[VNC]\nnovncproxy_port=5\n");
    machine.file("nova.conf.d/a.conf", "[vnc]\nnovncproxy_port=4\n");
    machine.file("nova.conf.d/.c.conf", "[vnc]\nnovncproxy_port=90\n");
    machine.file("nova.conf.d/c.txt", "[vnc]\nnovncproxy_port=91\n");
    assert_eq!(port(), Value::Int(5));
    machine.file("nova-novncproxy.conf.d/a.conf", "[vnc]\nnovncproxy_port=6\n");
    assert_eq!(port(), Value::Int(6));

    let named = machine.file("named", "[vnc]\nnovncproxy_host=h\n");
    let values = machine.read(&[NOVNC, "--config-file", &named]).unwrap();
    assert_eq!(values.value("vnc", "novncproxy_port"), &Value::Int(6), "directories stay");
    let empty = machine.home.join("empty");
    fs::create_dir_all(&empty).unwrap();
    let values = machine.read(&[NOVNC, "--config-dir", empty.to_str().unwrap()]).unwrap();
    assert_eq!(values.value("vnc", "novncproxy_port"), &Value::Int(3), "files stay");
    // The search list ends with the snap's directories.
    let mut snap = Machine::new("snap");
    snap.file("c/etc/nova/nova.conf", "[vnc]\nnovncproxy_port=7\n");
    snap.set("SNAP_COMMON", snap.home.join("c").to_str().unwrap());
    assert_eq!(snap.value(&[NOVNC], "vnc", "novncproxy_port"), Value::Int(7));
}

#[test]
fn files_and_flags_take_effect_in_their_order() {
    let mut machine = Machine::new("order");
    let file = machine.file("f", "[DEFAULT]\nweb=/f\n[console]\nallowed_origins=A,b\n");
    let web = |machine: &Machine, line: &[&str]| machine.value(&[&[NOVNC], line].concat(), DEFAULT, "web");
    assert_eq!(web(&machine, &["--web", "/a", "--config-file", &file]), Value::Str("/f".into()));
    assert_eq!(web(&machine, &["--config-file", &file, "--web", "/a"]), Value::Str("/a".into()));
    machine.set("OS_DEFAULT__WEB", "/e");
    assert_eq!(web(&machine, &["--config-file", &file]), Value::Str("/e".into()));
    assert_eq!(web(&machine, &["--config-file", &file, "--web", "/a"]), Value::Str("/a".into()));
    assert_eq!(web(&machine, &["--web", "/a"]), Value::Str("/a".into()));
    let config = machine.load(&[NOVNC, "--config-file", "~/f", "--web", ""]).unwrap();
    assert_eq!((config.web, config.allowed_origins), (None, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn old_names_are_read_with_one_warning() {
    let machine = Machine::new("old");
    let file = machine.file("f", "[DEFAULT]\nnovncproxy_port=7\nlogdir=/l\nsql_connection=sqlite:///x\n");
    let newer = machine.file("g", "[DEFAULT]\nconsole_allowed_origins=x\n[console]\nallowed_origins=y\n");
    let config = machine.load(&[NOVNC, "--config-file", &file, "--config-file", &newer]).unwrap();
    assert_eq!((config.listen.port, config.allowed_origins), (7, vec!["y".to_owned()]));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/l/nova-novncproxy.log")));
    assert_eq!(config.database.connection.unwrap().expose(), b"sqlite:///x");
    let mut warnings = config.warnings;
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "Deprecated: Option \"logdir\" from group \"DEFAULT\" is deprecated. Use option \"log-dir\" from group \"DEFAULT\".",
            "Deprecated: Option \"novncproxy_port\" from group \"DEFAULT\" is deprecated. Use option \"novncproxy_port\" from group \"vnc\".",
            "Deprecated: Option \"sql_connection\" from group \"DEFAULT\" is deprecated. Use option \"connection\" from group \"database\".",
        ]
    );
}

#[test]
fn a_reference_to_an_old_name_has_the_value_of_the_new_one() {
    let machine = Machine::new("old-reference");
    let text = "[DEFAULT]\nlog_dir=/l\nkey=$logdir/$console_allowed_origins\ncert=$vnc_enabled\n\
                [console]\nallowed_origins=a,b\n[vnc]\nenabled=off\n";
    let file = machine.file("f", text);
    let values = machine.read(&[NOVNC, "--config-file", &file]).unwrap();
    assert_eq!(values.value(DEFAULT, "key"), &Value::Str("/l/['a', 'b']".to_owned()));
    assert_eq!(values.value(DEFAULT, "cert"), &Value::Str("False".to_owned()));
    assert_eq!(values.warnings, Vec::<String>::new());
}

#[test]
fn references_are_followed() {
    let mut machine = Machine::new("references");
    let text = "[DEFAULT]\nmy_ip=192.0.2.1\nbase=/var\nlog_dir=$base/log\nlog_file=$database.nope\nrecord=$record\n\
                [vnc]\nnovncproxy_host=$my_ip\n[database]\nconnection=mysql://u:a$$b$cd@${vnc.novncproxy_host}/nova\n";
    let file = machine.file("f", text);
    machine.set("OS_DEFAULT__KEY", "${vnc.novncproxy_port}-$DEFAULT.web-$debug");
    let values = machine.read(&[NOVNC, "--config-file", &file]).unwrap();
    let text = |group, name| values.value(group, name).to_string();
    assert_eq!(text("vnc", "novncproxy_host"), "192.0.2.1");
    assert_eq!(text(DEFAULT, "log_dir"), "/var/log");
    assert_eq!(text(DEFAULT, "key"), "6080-$DEFAULT.web-False");
    assert_eq!(text(DEFAULT, "log_file"), "$database.nope");
    let Value::Secret(connection) = values.value("database", "connection") else { panic!() };
    assert_eq!(connection.expose(), b"mysql://u:a$b$cd@192.0.2.1/nova");
    let warnings = values.warnings.join("\n");
    assert!(
        warnings.contains("\"log_file\" from group \"DEFAULT\" holds \"$database.nope\" that refers"),
        "{warnings}"
    );
    assert!(
        warnings.contains("\"connection\" from group \"database\" holds a \"$\" that refers"),
        "{warnings}"
    );
    assert!(!warnings.contains("cd"), "a part of the password is shown: {warnings}");
    assert!(
        warnings.contains("\"record\" from group \"DEFAULT\" holds \"$record\""),
        "a loop ends: {warnings}"
    );
}

#[test]
fn a_secret_is_not_quoted_by_another_option() {
    let machine = Machine::new("quoted");
    let file = machine.file("f", "[DEFAULT]\nlog_dir=$database.connection\n[database]\nconnection=hidden\n");
    let values = machine.read(&[NOVNC, "--config-file", &file]).unwrap();
    assert!(!format!("{values:?}").contains("hidden"), "{values:?}");
}

#[test]
fn wrong_values_end_with_status_1() {
    let mut machine = Machine::new("wrong");
    let exit = machine.exit(&[NOVNC, "--vnc-novncproxy_port", "99999"]);
    assert_eq!(
        (exit.status, exit.stderr.as_str()),
        (1, "argument --novncproxy_port: Invalid Port(min=0, max=65535) value: 99999\n")
    );
    let file = machine.file("f", "[DEFAULT]\nssl_only=maybe\n[consolegate]\nworkers=x\n");
    let exit = machine.exit(&[NOVNC, "--config-file", &file]);
    assert_eq!(
        exit.stderr,
        format!(
            "argument --ssl_only: Invalid Boolean value: maybe\n(option ssl_only from [DEFAULT] in {file})\n"
        )
    );
    let exit = machine.exit(&[NOVNC, "--vnc-auth_schemes", "foo"]);
    assert_eq!(
        exit.stderr,
        "argument --auth_schemes: Invalid List of String(choices=['none', 'vencrypt']) value: foo\n"
    );
    let exit = machine.exit(&[NOVNC, "--config-file", &file, "--ssl_only"]);
    assert_eq!(
        (exit.status, exit.stderr),
        (
            1,
            format!(
                "Value for option workers from [consolegate] in {file} is not valid: invalid literal for int() with base 10: 'x'\n"
            )
        )
    );
    machine.set("OS_CONSOLEGATE__HEADERS_MAX", "1");
    assert_eq!(
        machine.exit(&[NOVNC]).stderr,
        "Value for option headers_max from the environment variable OS_CONSOLEGATE__HEADERS_MAX is not valid: \
         Should be greater than or equal to 8\n"
    );
}

#[test]
fn wrong_files_end_with_status_1() {
    let machine = Machine::new("files");
    let missing = machine.home.join("missing");
    let missing = missing.to_str().unwrap();
    let exit = machine.exit(&[NOVNC, "--config-file", missing, "--config-file", "/nor/this"]);
    assert_eq!(
        (exit.status, exit.stderr),
        (1, format!("Failed to find some config files: {missing},/nor/this\n"))
    );
    let exit = machine.exit(&[NOVNC, "--config-dir", missing]);
    assert_eq!((exit.status, exit.stderr), (1, format!("Failed to read config file directory: {missing}\n")));
    let file = machine.file("f", "[vnc]\nnonsense\n");
    let exit = machine.exit(&[NOVNC, "--config-file", &file]);
    assert_eq!(
        exit.stderr,
        format!("Failed to parse {file}: at {file}:2, No ':' or '=' found in assignment: 'nonsense'\n")
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&file).is_err() {
        // Root may open it all the same.
        let exit = machine.exit(&[NOVNC, "--config-file", &file]);
        assert_eq!(exit.stderr, format!("Failed to open some config files: {file}\n"));
    }
    let exit = machine.exit(&[NOVNC, "--config-file", "/"]);
    assert!(exit.stderr.starts_with("Failed to open some config files: /: "), "{}", exit.stderr);
}

#[test]
fn wrong_command_lines_end_with_status_2() {
    let machine = Machine::new("usage");
    let exit = machine.exit(&[NOVNC, "--bogus"]);
    assert_eq!(exit.status, 2);
    assert!(exit.stderr.starts_with("usage: nova-novncproxy "));
    assert!(exit.stderr.ends_with("\nnova-novncproxy: error: unrecognized arguments: --bogus\n"));
}

#[test]
fn missing_web_root_and_certificate_end_with_status_255() {
    let machine = Machine::new("missing");
    let exit = machine.exit(&[NOVNC, "--web", "/no/web"]);
    assert_eq!((exit.status, exit.stderr.as_str()), (255, "Can not find html/js files at /no/web.\n"));
    let exit = machine.exit(&[NOVNC, "--web", "/no/web", "--ssl_only", "--cert", "/no/cert"]);
    assert_eq!((exit.status, exit.stderr.as_str()), (255, "SSL only and /no/cert not found\n"));
    let exit = machine.exit(&[NOVNC, "--config-file", &machine.file("f", "[console]\nssl_ciphers=kRSA\n")]);
    assert_eq!(exit.status, 1);
    assert!(exit.stderr.contains("no cipher suite is left of \"kRSA\""), "{}", exit.stderr);
}

#[test]
fn help_and_version_go_to_stdout() {
    let machine = Machine::new("help");
    let exit = machine.exit(&[NOVNC, "--help"]);
    assert_eq!((exit.status, exit.stderr.as_str()), (0, ""));
    assert!(exit.stdout.starts_with("usage: nova-novncproxy"));
    let exit = machine.exit(&["nova-serialproxy", "--version"]);
    assert_eq!((exit.status, exit.stdout), (0, format!("{}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn mode_overrides_the_name() {
    let machine = Machine::new("mode");
    assert_eq!(
        machine.read(&["consolegate", "--mode", "nova-serialproxy"]).unwrap().program,
        Program::SerialProxy
    );
    assert_eq!(machine.read(&[NOVNC, "--mode=nova-serialproxy"]).unwrap().program, Program::SerialProxy);
    let exit = machine.exit(&["consolegate"]);
    assert_eq!(exit.status, 0);
    assert!(exit.stdout.contains("--mode NAME"));
    assert_eq!(machine.exit(&["consolegate", "-d"]).status, 2);
    assert_eq!(machine.exit(&["consolegate", "--mode", "nova-api"]).status, 2);
}

#[test]
fn options_without_effect_warn_when_set() {
    let machine = Machine::new("effect");
    let file = machine.file(
        "f",
        "[DEFAULT]\npublish_errors=true\nuse_json=false\ntransport_url=rabbit://u:hidden@h/\n[consoleauth]\n\
         enforce_session_timeout=true\n[vnc]\nvencrypt_ca_certs=/ca\n",
    );
    let values = machine
        .read(&[
            NOVNC,
            "--config-file",
            &file,
            "--vnc-vencrypt_client_key",
            "/k",
            "--vnc-vencrypt_client_cert=",
        ])
        .unwrap();
    let mut named: Vec<&str> =
        values.warnings.iter().map(|warning| warning.split('"').nth(1).unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, ["publish_errors"]);
    assert!(!format!("{values:?}").contains("hidden"));
}

#[test]
fn our_own_options_reach_the_checked_configuration() {
    let machine = Machine::new("own");
    let file = machine.file(
        "f",
        "[DEFAULT]\nrpc_response_timeout=90\nlog_dir=/l\nlog_file=f\nsource_is_ipv6=1\nuse_stderr=1\n[vnc]\n\
         auth_schemes=vencrypt,none\nnovncproxy_host=\"::0\"\n[console]\nallowed_origins=https://x\n[consolegate]\n\
         port_check=off\nio_engine=epoll\nworkers=3\nany_console_type=on\nexplain_refusals=on\nstrict_upgrade=on\n\
         trusted_proxies=192.0.2.0/24\nheaders_max=50\n",
    );
    let config = machine.load(&[NOVNC, "--config-file", &file, "-d"]).unwrap();
    assert_eq!(config.listen, Listen { host: "::0".into(), port: 6080, prefer_ipv6: true });
    assert!(matches!(config.port_check, PortCheck::Off));
    assert_eq!((config.io_engine, config.workers.get()), (IoEngine::Epoll, 3));
    assert!(config.any_console_type && config.explain_refusals && config.strict_upgrade);
    assert_eq!(config.auth_schemes, [AuthScheme::VeNCrypt, AuthScheme::None]);
    assert_eq!(config.trusted_proxies, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!((config.limits.headers_max, config.limits.authorize_timeout_ms), (50, 90_000));
    assert_eq!(config.rpc_response_timeout, Duration::from_secs(90));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/l/f")));
    assert!(config.log.debug && config.log.stderr);
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
}

#[test]
fn an_unknown_name_in_our_own_group_is_named() {
    let machine = Machine::new("unknown");
    let file =
        machine.file("f", "[consolegate]\nport_chek=off\nserial_text_frames=accept\n[vnc]\nenabled=true\n");
    let values = machine.read(&[NOVNC, "--config-file", &file]).unwrap();
    assert_eq!(values.warnings.len(), 1, "{:?}", values.warnings);
    assert!(values.warnings[0].contains("\"port_chek\" from group \"consolegate\""), "{:?}", values.warnings);
}

#[test]
fn splicing_starts_at_a_read_that_can_happen() {
    let machine = Machine::new("splice");
    let limits = |text: &str| {
        let file = machine.file("f", &format!("[consolegate]\n{text}"));
        machine.load(&[NOVNC, "--config-file", &file]).unwrap().limits
    };
    assert_eq!(limits("read_bytes=16384\n").splice_from_bytes, 16_384);
    assert_eq!(limits("read_bytes=16384\nsplice_from_bytes=0\n").splice_from_bytes, 0);
}

#[test]
fn record_has_had_two_types() {
    let machine = Machine::new("record");
    let here = std::env::current_dir().unwrap();
    for (value, path, warns) in [
        ("rec/session", Some(here.join("rec/session")), false),
        ("/var/lib/nova/rec", Some(PathBuf::from("/var/lib/nova/rec")), false),
        ("true", Some(here.join("record")), true),
        ("False", None, false),
        ("", None, false),
    ] {
        let file = machine.file("f", &format!("[DEFAULT]\nweb=\nrecord={value}\n"));
        let config = machine.load(&[NOVNC, "--config-file", &file]).unwrap();
        assert_eq!(config.record, path, "{value}");
        let said =
            config.warnings.iter().any(|warning| warning.contains("record = true is the way of Nova 13"));
        assert_eq!(said, warns, "{value}: {:?}", config.warnings);
    }
}

#[test]
fn an_admin_address_is_an_address_and_the_socket_may_be_none() {
    let machine = Machine::new("admin");
    let load = |text: &str| {
        let file = machine.file("f", &format!("[DEFAULT]\nweb=\n[consolegate]\n{text}\n"));
        machine.load(&[NOVNC, "--config-file", &file])
    };
    let default = load("").unwrap().admin;
    assert_eq!(default.socket.as_deref(), Some(Path::new("/run/nova/nova-novncproxy.sock")));
    assert!(!default.socket_wanted && default.listen.is_none());
    assert_eq!(load("admin_socket =").unwrap().admin.socket, None);
    assert_eq!(load("admin_listen = [::1]:9680").unwrap().admin.listen, Some("[::1]:9680".parse().unwrap()));
    let error = load("admin_listen = 9680").unwrap_err();
    assert!(error.status == 1 && error.stderr.contains("admin_listen: 9680 is not an address"), "{error:?}");
}

#[test]
fn every_option_of_oslo_log_reaches_the_log() {
    let machine = Machine::new("log");
    let file = machine.file(
        "f",
        "[DEFAULT]\nlog_file=/l/f\nlog_rotation_type=Size\nmax_logfile_size_mb=3\nmax_logfile_count=4\nlog_color=1\n\
         use_journal=1\nuse_syslog=1\nsyslog_log_facility=local3\nuse_json=1\nlogging_context_format_string=c\n\
         logging_default_format_string=d\nlogging_debug_format_suffix=\nlogging_exception_prefix=e\n\
         logging_user_identity_format=u\ninstance_uuid_format=i\nlog_date_format=%H\ndefault_log_levels=nova=WARN,x=5\n\
         rate_limit_interval=6\nrate_limit_burst=7\nrate_limit_except_level=ERROR\nlog_config_append=/l/c\n",
    );
    let log = machine.load(&[NOVNC, "--config-file", &file, "--web="]).unwrap().log;
    let expected = LogSettings {
        program: "nova-novncproxy".to_owned(),
        file: Some("/l/f".into()),
        rotation: Rotation::Size { bytes_max: 3 << 20, count: 4 },
        stderr: false,
        color: true,
        journal: true,
        syslog: true,
        facility: 19,
        json: true,
        debug: false,
        formats: Formats {
            context: "c".to_owned(),
            default: "d".to_owned(),
            debug_suffix: String::new(),
            exception_prefix: "e".to_owned(),
            user_identity: "u".to_owned(),
            instance_uuid: "i".to_owned(),
            date: "%H".to_owned(),
        },
        levels: vec![("nova".to_owned(), 30), ("x".to_owned(), 5)],
        rate_limit: Some(RateLimit { burst: 7, interval_s: 6, except_level: Some(40) }),
        config: Some("/l/c".into()),
        sockets: Sockets::default(),
    };
    assert_eq!(log, expected);
    let file = machine.file(
        "g",
        "[DEFAULT]\nlog_rotation_type=interval\nlog_rotate_interval_type=WEEKDAY\nlog_rotate_interval=6\nmax_logfile_count=0\n",
    );
    let log = machine.load(&[NOVNC, "--config-file", &file, "--web="]).unwrap().log;
    assert_eq!(log.rotation, Rotation::Interval { when: When::Weekday(6), interval: 6, count: 0 });
    let machine = Machine::new("log-defaults");
    let file = machine.file("f", "[DEFAULT]\ndaemon=true\n");
    let config = machine.load(&[NOVNC, "--config-file", &file, "--web="]).unwrap();
    assert_eq!(config.log.formats, Formats::default());
    assert!(
        config.warnings.iter().any(|warning| warning.starts_with("daemon is set, but")),
        "{:?}",
        config.warnings
    );
}

#[test]
fn a_survey_has_every_option_with_its_origin() {
    let mut machine = Machine::new("survey");
    let file = machine.file(
        "f",
        "[DEFAULT]\nvncserver_listen=::1\nconsole_token_ttl=x\n[vnc]\nnovncproxy_port=7\n[database]\n\
         connection=hidden\n",
    );
    machine.set("OS_DEFAULT__KEY", "/k");
    let argv = [NOVNC, "--config-file", &file, "--web", "/w"].map(OsString::from);
    let survey = survey(&argv, &|name| machine.environment.get(name).map(OsString::from)).unwrap();
    assert_eq!(survey.options.len(), options().len());
    assert!(survey.warnings.is_empty(), "another service's options are not warned of: {:?}", survey.warnings);
    let find = |group, name| {
        survey.options.iter().find(|one| (one.option.group, one.option.name) == (group, name)).unwrap()
    };
    let shown = |group, name| {
        let one = find(group, name);
        (one.result.as_ref().map_or_else(Clone::clone, Value::to_string), one.origin.to_string())
    };
    assert_eq!(shown(DEFAULT, "web"), ("/w".into(), "the command line".into()));
    assert_eq!(shown(DEFAULT, "key"), ("/k".into(), "the environment variable OS_DEFAULT__KEY".into()));
    assert_eq!(shown("database", "connection"), ("***".into(), format!("[database] in {file}")));
    assert_eq!(shown("database", "max_retries"), ("10".into(), "the default".into()));
    assert_eq!(shown("vnc", "server_listen"), ("::1".into(), format!("[DEFAULT] in {file}")));
    assert_eq!(find("vnc", "server_listen").old_name(), Some((DEFAULT, "vncserver_listen")));
    assert_eq!(find("vnc", "novncproxy_port").old_name(), None);
    assert!(matches!(find("vnc", "novncproxy_port").origin, Origin::File { line: 5, .. }));
    assert_eq!(find("serial_console", "serialproxy_port").effect, Effect::Elsewhere("nova-serialproxy"));
    // A value that is wrong for another service is its own result and does not stop the start.
    let (reason, _) = shown("consoleauth", "token_ttl");
    assert_eq!(
        reason,
        format!(
            "Value for option token_ttl from [DEFAULT] in {file} is not valid: invalid literal for int() with \
             base 10: 'x'"
        )
    );
    assert_eq!(*survey.values().unwrap().value("vnc", "novncproxy_port"), Value::Int(7));
}

#[test]
fn a_survey_shows_no_secret() {
    let machine = Machine::new("survey-secret");
    let file = machine.file(
        "f",
        "[DEFAULT]\ntransport_url=rabbit://u:hidden@h/\n[database]\nconnection=hidden\n[api_database]\n\
         connection=hidden\n[oslo_messaging_notifications]\ntransport_url=hidden\n",
    );
    let argv = [NOVNC, "--config-file", &file].map(OsString::from);
    let survey = survey(&argv, &|_| None).unwrap();
    assert!(!format!("{survey:?}").contains("hidden"));
}

#[test]
fn the_address_of_the_machine_is_what_my_ip_stands_for() {
    let machine = Machine::new("my-ip");
    let file = machine.file("f", "[vnc]\nnovncproxy_host=$my_ip\n[DEFAULT]\nlog_dir=$state_path/$host\n");
    let values = machine.read(&[NOVNC, "--config-file", &file]).unwrap();
    let host = values.value("vnc", "novncproxy_host").to_string();
    assert!(host.parse::<std::net::Ipv4Addr>().is_ok(), "{host}");
    assert!(values.value(DEFAULT, "log_dir").to_string().starts_with("/usr/lib/python3/dist-packages/"));
    assert!(values.warnings.is_empty(), "{:?}", values.warnings);
}

#[test]
fn a_value_that_refers_to_itself_is_not_complained_of_at_any_length() {
    let machine = Machine::new("itself");
    let itself = "${my_ip}".repeat(12);
    let file = machine.file("f", &format!("[DEFAULT]\nmy_ip=a{itself}\n[vnc]\nnovncproxy_port=$my_ip\n"));
    let argv = [NOVNC, "--config-file", &file].map(OsString::from);
    let survey = survey(&argv, &|_| None).unwrap();
    let port = survey.options.iter().find(|option| option.option.name == "novncproxy_port").unwrap();
    let complaint = port.result.as_ref().unwrap_err();
    assert!(complaint.contains("aaa") && complaint.len() < 1_500, "{complaint}");
}

#[test]
fn what_may_be_repeated_adds_up() {
    let machine = Machine::new("multi");
    let (one, two) = (
        machine.file("1", "[oslo_messaging_notifications]\ndriver=a\ndriver=$my_ip\n[DEFAULT]\nmy_ip=b\n"),
        machine.file("2", "[DEFAULT]\nnotification_driver=c\n[oslo_messaging_notifications]\ndriver=d,e\n"),
    );
    let argv = [NOVNC, "--config-file", &one, "--config-file", &two].map(OsString::from);
    let survey = survey(&argv, &|_| None).unwrap();
    let drivers = survey.options.iter().find(|option| option.option.name == "driver").unwrap();
    let expected = ["a", "b", "c", "d,e"].map(str::to_owned).to_vec();
    assert_eq!(drivers.result, Ok(Value::List(expected)));
}

#[test]
fn a_line_that_cannot_be_parsed_is_not_passed_on() {
    let exit = Exit::config("Failed to parse /f: at /f:2, No ':' or '=' found in assignment: 'p: 'w'");
    assert_eq!(exit.complaint(), "Failed to parse /f: at /f:2, No ':' or '=' found in assignment");
}
