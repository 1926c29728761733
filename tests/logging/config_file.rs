//! `log_config_append`: the same file read by Python's `logging.config` and by us.

use std::fs;
use std::path::Path;

use consolegate::telemetry::LogSettings;
use serde_json::json;

use crate::peer::{Peer, Scratch, neutral, write};

/// Files, with `@` for the directory of the log files and the names of these.
const FILES: [(&str, &[&str]); 4] = [
    (
        "[loggers]\nkeys = root, nova\n\n[handlers]\nkeys = all, proxy, none\n\n[formatters]\nkeys = context, default\n\n\
         [logger_root]\nlevel = WARNING\nhandlers = all\n\n\
         [logger_nova]\nlevel = INFO\nhandlers = proxy, none\nqualname = nova\n\n\
         [handler_all]\nclass = FileHandler\nargs = ('@/all.log',)\nformatter = default\n\n\
         [handler_proxy]\nclass = handlers.WatchedFileHandler\nargs = (\"@/nova.log\", 'a')\nformatter = context\n\n\
         [handler_none]\nclass = logging.NullHandler\nformatter = default\nargs = ()\n\n\
         [formatter_context]\nclass = oslo_log.formatters.ContextFormatter\n\n\
         [formatter_default]\nformat = %(asctime)s %(levelname)s %(name)s: %(message)s\ndatefmt = %H:%M:%S\n",
        &["all.log", "nova.log"],
    ),
    // propagate, a handler's level, a child's level
    (
        "[loggers]\nkeys=root,console,rfb\n[handlers]\nkeys=all,errors,console\n[formatters]\nkeys=f\n\
         [logger_root]\nlevel=DEBUG\nhandlers=all,errors\n\
         [logger_console]\nqualname=nova.console\nhandlers=console\npropagate=0\n\
         [logger_rfb]\nlevel=CRITICAL\nqualname=nova.console.rfb\nhandlers=\n\
         [handler_all]\nclass=FileHandler\nformatter=f\nkwargs={'filename': '@/all.log', 'encoding': 'utf-8'}\n\
         [handler_errors]\nclass=FileHandler\nlevel=ERROR\nformatter=f\nargs=('@/errors.log', 'a')\n\
         [handler_console]\nclass=FileHandler\nlevel=DEBUG\nargs=('@/console.log',)\n\
         [formatter_f]\nformat=%(asctime)s [%(levelname)7s] %(name)s %(message)s\n",
        &["all.log", "errors.log", "console.log"],
    ),
    // a root logger without a level; dates with milliseconds behind a comma
    (
        "# a comment\n[loggers]\nkeys: root\n\n[handlers]\nkeys: f\n[formatters]\nkeys:\n   f\n\
         [logger_root]\nhandlers: f\n[handler_f]\nclass: logging.handlers.TimedRotatingFileHandler\n\
         args: ('@/x.log', 'midnight', 1, 5)\nformatter: f\n; another\n\
         [formatter_f]\nformat: %(asctime)s %(process)d %(message)s\n",
        &["x.log"],
    ),
    (
        "[loggers]\nkeys=root\n[handlers]\nkeys=j\n[formatters]\nkeys=\n[logger_root]\nlevel=NOTSET\nhandlers=j\n\
         [handler_j]\nclass=FileHandler\nargs=('@/x.log', 'w')\n",
        &["x.log"],
    ),
];

fn settings(config: &Path) -> LogSettings {
    LogSettings { config: Some(config.to_path_buf()), ..LogSettings::default() }
}

#[test]
fn a_file_is_read_as_python_reads_it() {
    let mut peer = Peer::start();
    for (text, logs) in FILES {
        let (theirs, ours) = (Scratch::new(), Scratch::new());
        for scratch in [&theirs, &ours] {
            fs::write(scratch.path("logging.ini"), text.replace('@', scratch.0.to_str().unwrap())).unwrap();
        }
        assert_eq!(peer.write(&json!({}), Some(&theirs.path("logging.ini"))), None, "{text}");
        assert_eq!(write(&settings(&ours.path("logging.ini"))), None, "{text}");
        let mut lines = 0;
        for log in logs {
            let expected = neutral(&theirs.read(log));
            lines += expected.len();
            assert_eq!(neutral(&ours.read(log)), expected, "{log} of\n{text}");
        }
        assert!(lines > 0, "nothing was logged through\n{text}");
    }
}

#[test]
fn a_file_that_cannot_be_used_fails_in_oslo_logs_words() {
    let scratch = Scratch::new();
    let mut peer = Peer::start();
    let file = |name: &str, text: &str| {
        let path = scratch.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let usual = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n";
    for path in [
        scratch.path("missing.ini"),
        file("empty.ini", ""),
        file("formatters.ini", "[loggers]\nkeys=root\n[handlers]\nkeys=h\n"),
        file("handler.ini", usual),
        file("unknown.ini", &format!("{usual}[handler_g]\nclass=NullHandler\nargs=()\n")),
    ] {
        let theirs = peer.write(&json!({}), Some(&path)).expect("oslo.log takes it");
        assert_eq!(write(&settings(&path)), Some(theirs), "{}", path.display());
    }
}

#[test]
fn what_only_python_could_run_goes_to_standard_output_with_a_warning() {
    let scratch = Scratch::new();
    let path = scratch.path("logging.ini");
    let text = "[loggers]\nkeys=root\n[handlers]\nkeys=a,b\n[formatters]\nkeys=fluent\n[logger_root]\nhandlers=a,b\n\
                [handler_a]\nclass=fluent.handler.FluentHandler\nargs=('openstack', 'localhost', 24224)\nformatter=fluent\n\
                [handler_b]\nclass=SysLogHandler\nkwargs={'socktype': socket.SOCK_RAW}\n\
                [formatter_fluent]\nclass=oslo_log.formatters.FluentFormatter\n";
    fs::write(&path, text).unwrap();
    let (_logger, _layer, warnings) = consolegate::telemetry::log::start(&settings(&path)).unwrap();
    let starts = [
        "formatter fluent: the class",
        "handler a: fluent.handler.FluentHandler",
        "handler b: SysLogHandler",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
}
