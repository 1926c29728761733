//! Formats and filters: the same options, the same records, the same lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use consolegate::telemetry::{Formats, LogSettings, RateLimit, Rotation};
use serde_json::{Value, json};

use crate::peer::{Peer, Scratch, neutral, write};
use crate::program::{Options, Program};

/// Nova's own settings, with a suffix at DEBUG that both sides can write.
fn settings(file: &Path) -> LogSettings {
    let formats = Formats { debug_suffix: "<%(levelno)d>".to_owned(), ..Formats::default() };
    let levels = vec![("sqlalchemy".to_owned(), 30)];
    LogSettings {
        program: "nova-novncproxy".to_owned(),
        file: Some(file.to_path_buf()),
        formats,
        levels,
        ..LogSettings::default()
    }
}

/// The text formats' keys that both sides know, each with a separator.
const EVERY_KEY: &str = "%(asctime)s|%(msecs)03d|%(process)d|%(levelname)-8s|%(levelno)05d|%(name).12s|%(message)r|\
    %(instance)s|%(resource)s|%(color)s|%(user_name)s|%(project_name)s|%(global_request_id)s|%(isotime)s|\
    %(processName)s|%(error_summary)s|%%";

#[test]
fn lines_are_those_of_oslo_log() {
    let scratch = Scratch::new();
    let mut peer = Peer::start();
    type Change = fn(&mut LogSettings);
    let cases: [(&str, Value, Change); 9] = [
        ("defaults", json!({}), |_| {}),
        ("debug", json!({"debug": true}), |settings| settings.debug = true),
        ("date", json!({"log_date_format": "%d/%b/%Y:%H.%M %a"}), |settings| {
            settings.formats.date = "%d/%b/%Y:%H.%M %a".to_owned();
        }),
        ("every key", json!({"logging_default_format_string": EVERY_KEY}), |settings| {
            settings.formats.default = EVERY_KEY.to_owned();
        }),
        (
            "every key of a context",
            json!({"logging_context_format_string":
                "%(message)s|%(request_id)s|%(user_identity)s|%(user)s|%(project_id)s|%(system_scope)s|%(is_admin)s"}),
            |settings| {
                settings.formats.context =
                    "%(message)s|%(request_id)s|%(user_identity)s|%(user)s|%(project_id)s|\
                                            %(system_scope)s|%(is_admin)s"
                        .to_owned();
            },
        ),
        (
            "identity and instance",
            json!({"logging_user_identity_format": "%(user)s/%(project)s", "instance_uuid_format": "<%(uuid)s>"}),
            |settings| {
                settings.formats.user_identity = "%(user)s/%(project)s".to_owned();
                settings.formats.instance_uuid = "<%(uuid)s>".to_owned();
            },
        ),
        (
            "levels of loggers",
            json!({"default_log_levels": ["nova=ERROR", "nova.console=DEBUG", "sqlalchemy=20"]}),
            |settings| {
                settings.levels = [("nova", 40), ("nova.console", 10), ("sqlalchemy", 20)]
                    .map(|(name, level)| (name.to_owned(), level))
                    .to_vec();
            },
        ),
        ("rate limit", json!({"rate_limit_burst": 2, "rate_limit_interval": 3600}), |settings| {
            settings.rate_limit = Some(RateLimit { burst: 2, interval_s: 3_600, except_level: Some(50) });
        }),
        (
            "rate limit with exceptions",
            json!({"rate_limit_burst": 1, "rate_limit_interval": 3600, "rate_limit_except_level": "WARNING"}),
            |settings| {
                settings.rate_limit = Some(RateLimit { burst: 1, interval_s: 3_600, except_level: Some(30) });
            },
        ),
    ];
    for (name, options, change) in cases {
        let (theirs, ours) = (scratch.path(&format!("{name}-theirs")), scratch.path(&format!("{name}-ours")));
        let mut options = options;
        options["log_file"] = json!(theirs);
        options["logging_debug_format_suffix"] = json!("<%(levelno)d>");
        if options.get("default_log_levels").is_none() {
            options["default_log_levels"] = json!(["sqlalchemy=WARN"]);
        }
        assert_eq!(peer.write(&options, None), None, "{name}");
        let mut settings = settings(&ours);
        change(&mut settings);
        assert_eq!(write(&settings), None, "{name}");
        let theirs = neutral(&fs::read_to_string(theirs).unwrap());
        let ours = neutral(&fs::read_to_string(ours).unwrap());
        assert!(theirs.len() >= 3, "{name}: {theirs:?}");
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn json_objects_have_the_keys_and_values_of_oslo_log() {
    let scratch = Scratch::new();
    let (theirs, ours) = (scratch.path("theirs"), scratch.path("ours"));
    let options = json!({"use_json": true, "log_file": theirs, "default_log_levels": ["sqlalchemy=WARN"]});
    assert_eq!(Peer::start().write(&options, None), None);
    assert_eq!(write(&LogSettings { json: true, ..settings(&ours) }), None);
    let objects = |path: &Path| -> Vec<BTreeMap<String, Value>> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (theirs, ours) = (objects(&theirs), objects(&ours));
    assert_eq!(ours.len(), theirs.len());
    for (mine, other) in ours.iter().zip(&theirs) {
        assert!(mine.keys().eq(other.keys()), "{mine:?}\n{other:?}");
        let same = [
            "message",
            "name",
            "msg",
            "args",
            "levelname",
            "levelno",
            "process_name",
            "traceback",
            "hostname",
            "error_summary",
        ];
        for key in same {
            assert_eq!(mine[key], other[key], "{key}");
        }
        for (key, value) in mine {
            let kind = |value: &Value| std::mem::discriminant(value);
            assert_eq!(kind(value), kind(&other[key]), "{key}: {value} and {}", other[key]);
        }
        // What only Nova's own code has a use for is left out.
        let context = |object: &BTreeMap<String, Value>| object["context"].as_object().unwrap().clone();
        let (mut mine_context, mut other_context) = (context(mine), context(other));
        for key in ["auth_token", "timestamp"] {
            other_context.remove(key);
        }
        for context in [&mut mine_context, &mut other_context] {
            if let Some(id) = context.remove("request_id") {
                assert_eq!(id.as_str().unwrap().len(), 40);
            }
        }
        assert_eq!(mine_context, other_context);
        assert_eq!(mine["extra"].get("instance_uuid"), other["extra"].get("instance_uuid"));
    }
}

#[test]
fn colours_end_each_line_and_stand_where_the_format_wants_them() {
    let scratch = Scratch::new();
    let text = |name: &str, class: &str| {
        format!(
            "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\nhandlers=h\n\
             [handler_h]\nclass={class}\nargs=(open('{}', 'a'),)\nformatter=f\n\
             [formatter_f]\nclass=oslo_log.formatters.ContextFormatter\n",
            scratch.path(name).display()
        )
    };
    // Ours has no `open`: standard output is asked for, in a process of its own.
    fs::write(scratch.path("theirs.ini"), text("theirs", "oslo_log.handlers.ColorHandler")).unwrap();
    let options = json!({
        "logging_default_format_string": "%(color)s%(levelname)s %(message)s",
        "logging_context_format_string": "%(message)s",
    });
    assert_eq!(Peer::start().write(&options, Some(&scratch.path("theirs.ini"))), None);
    let theirs = scratch.read("theirs");
    assert!(theirs.starts_with("\x1b[00;36mINFO WebSocket server settings:\x1b[00m\n"), "{theirs:?}");
    let program = Program::start(&Options {
        name: "nova-serialproxy",
        default: "log_color = true\nlogging_default_format_string = %(color)s%(levelname)s %(message)s",
        ..Options::on("epoll")
    });
    program.wait_for_log("\x1b[00;36mINFO WebSocket server settings:\x1b[00m\n");
    program.wait_for_log("\x1b[01;33mWARNING [consolegate] port_check = off");
    assert!(program.log().lines().all(|line| line.ends_with("\x1b[00m")), "{}", program.log());
}

#[test]
fn files_are_put_aside_by_size_where_python_does() {
    let scratch = Scratch::new();
    let file = |name: &str| {
        format!(
            "[loggers]\nkeys=root\n[handlers]\nkeys=f\n[formatters]\nkeys=p\n[logger_root]\nlevel=DEBUG\nhandlers=f\n\
             [handler_f]\nclass=handlers.RotatingFileHandler\nargs=('{}', 'a', 70, 2)\nformatter=p\n\
             [formatter_p]\nformat=%(levelname)s %(message)s\n",
            scratch.path(name).display()
        )
    };
    fs::write(scratch.path("theirs.ini"), file("theirs")).unwrap();
    fs::write(scratch.path("ours.ini"), file("ours")).unwrap();
    assert_eq!(Peer::start().write(&json!({}), Some(&scratch.path("theirs.ini"))), None);
    let mut settings = settings(&scratch.path("unused"));
    settings.config = Some(scratch.path("ours.ini"));
    assert_eq!(settings.rotation, Rotation::None);
    assert_eq!(write(&settings), None);
    for suffix in ["", ".1", ".2"] {
        let theirs = scratch.read(&format!("theirs{suffix}"));
        assert!(!theirs.is_empty(), "{suffix}");
        assert_eq!(scratch.read(&format!("ours{suffix}")), theirs, "{suffix}");
    }
    assert!(!scratch.path("theirs.3").exists() && !scratch.path("ours.3").exists());
}
