//! `consolegate options` and the reference that is made of it.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

/// Runs the real program with nothing of this environment.
fn consolegate(args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_consolegate"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn file(name: &str, text: &str) -> String {
    let directory = env::temp_dir().join(format!("consolegate-options-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("nova.conf");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn remove(path: &str) {
    fs::remove_dir_all(Path::new(path).parent().unwrap()).unwrap();
}

const CONF: &str = "[DEFAULT]\ntransport_url = rabbit://nova:hidden-1@mq/\ndebug = yes\n[database]\n\
                    connection = mysql+pymysql://nova:hidden-2@db/nova\n[DEFAULT]\nsql_max_retries = 3\n\
                    [vnc]\nnovncproxy_port = 6099\n[spice]\nhtml5proxy_port = 6098\n";

fn option<'a>(document: &'a Value, group: &str, name: &str) -> &'a Value {
    let all = document["options"].as_array().unwrap();
    all.iter().find(|one| one["group"] == group && one["name"] == name).expect(name)
}

#[test]
fn json_says_what_counts_and_whence() {
    let path = file("json", CONF);
    let args = ["options", "--format=json", "--config-file", &path];
    let (status, out, err) = consolegate(&args, &[("OS_CONSOLEGATE__WORKERS", "3")]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(!out.contains("hidden-"), "a password is shown");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["program"], "nova-novncproxy");

    let port = option(&document, "vnc", "novncproxy_port");
    assert_eq!(
        (&port["value"], &port["default"], &port["effect"]),
        (&6099.into(), &"6080".into(), &"used".into())
    );
    assert_eq!(port["origin"]["kind"], "file");
    assert_eq!((&port["origin"]["file"], &port["origin"]["line"]), (&Value::from(path.clone()), &9.into()));
    assert_eq!(option(&document, "database", "connection")["value"], "***");
    assert_eq!(option(&document, "DEFAULT", "debug")["value"], true);
    let old = option(&document, "database", "max_retries");
    assert_eq!((&old["value"], &old["origin"]["name"]), (&3.into(), &"sql_max_retries".into()));
    let workers = option(&document, "consolegate", "workers");
    assert_eq!(
        (&workers["value"], &workers["origin"]["variable"]),
        (&3.into(), &"OS_CONSOLEGATE__WORKERS".into())
    );
    let spice = option(&document, "spice", "html5proxy_port");
    assert_eq!((&spice["value"], &spice["effect"]), (&6098.into(), &"elsewhere".into()));
    assert_eq!(spice["reason"], "nova-spicehtml5proxy");
    assert_eq!(option(&document, "database", "max_overflow")["effect"], "none");
    assert!(
        document["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one.as_str().unwrap().contains("sql_max_retries"))
    );

    let args = ["options", "--format=json", "--program", "nova-spicehtml5proxy", "--config-file", &path];
    let document: Value = serde_json::from_str(&consolegate(&args, &[]).1).unwrap();
    assert_eq!(option(&document, "spice", "html5proxy_port")["effect"], "used");
    remove(&path);
}

#[test]
fn text_is_for_people() {
    let path = file("text", CONF);
    let (status, out, err) = consolegate(&["options", "--config-file", &path], &[]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(!out.contains("hidden-"), "a password is shown");
    let block = format!(
        "[vnc] novncproxy_port\n  type     Port(min=0, max=65535)\n  default  6080\n  value    6099\n  from     [vnc] in \
         {path}, line 9\n  effect   has effect\n"
    );
    assert!(out.contains(&block), "{out}");
    assert!(out.contains("\n  old name [DEFAULT] sql_max_retries\n"), "{out}");
    remove(&path);
}

#[test]
fn a_broken_value_is_shown_beside_all_others_and_fails() {
    let path = file("broken", &CONF.replace("6099", "99999").replace("debug = yes", "debug = perhaps"));
    let (status, out, _) = consolegate(&["options", "--config-file", &path], &[]);
    assert_eq!(status, 1);
    let errors: Vec<&str> = out.lines().filter(|line| line.contains("  ERROR    ")).collect();
    assert!(errors.len() == 2 && errors.iter().any(|line| line.contains("99999")), "{errors:?}");
    let document = consolegate(&["options", "--format", "json", "--config-file", &path], &[]).1;
    let document: Value = serde_json::from_str(&document).unwrap();
    let debug = option(&document, "DEFAULT", "debug");
    assert!(debug["value"].is_null() && debug["error"].as_str().unwrap().contains("perhaps"), "{debug}");
    remove(&path);

    // Another service's mistake is shown too, and is not ours.
    let path = file("elsewhere", "[spice]\nhtml5proxy_port = 99999\n");
    let (status, out, _) = consolegate(&["options", "--config-file", &path], &[]);
    assert!(status == 0 && out.contains("  ERROR    "), "{status} {out}");
    remove(&path);
}

#[test]
fn what_cannot_be_read_is_told_without_its_text() {
    let path = file("unparsed", "[DEFAULT]\nthe word is hidden-3\n");
    let (status, out, err) = consolegate(&["options", "--config-file", &path], &[]);
    assert!(status == 1 && out.is_empty() && err.contains(&path), "{status} {out} {err}");
    assert!(!err.contains("hidden-3"), "{err}");
    remove(&path);
    let (status, _, err) = consolegate(&["options", "--config-file", "/nonexistent/nova.conf"], &[]);
    assert!(status == 1 && err.contains("/nonexistent/nova.conf"), "{status} {err}");
    let (status, _, err) = consolegate(&["options", "--bogus"], &[]);
    assert!(status == 2 && err.contains("--bogus") && err.contains("--help"), "{status} {err}");
}

#[test]
fn without_a_name_the_subcommands_are_listed() {
    for args in [&["--help"][..], &[]] {
        let (_, out, _) = consolegate(args, &[]);
        assert!(out.contains("consolegate options") && out.contains("consolegate token"), "{args:?}: {out}");
    }
    let (status, out, _) = consolegate(&["options", "--help"], &[]);
    assert!(status == 0 && out.starts_with("usage: consolegate options "), "{out}");
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let (status, printed, _) = consolegate(&["options", "--format", "markdown"], &[]);
    assert_eq!(status, 0);
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(printed.lines()).find(|(kept, printed)| kept != printed);
    assert!(
        kept == printed,
        "docs/CONFIGURATION.md is out of date, first at {differs:?}; renew it with\n    cargo run -- options --format \
         markdown > docs/CONFIGURATION.md"
    );
    // Old names are part of it.
    assert!(printed.contains("`[DEFAULT] sql_connection`"));
}
