//! Logging (`oslo_log/_options.py`).

use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::Kind;

const NO_LOG_SINK: &str = "this build logs to files, stdout and stderr, in the text format";

pub(super) static DECLARED: &[OptionDef] = &[
    option(DEFAULT, "debug", Kind::Bool, "Log at DEBUG instead of INFO")
        .default("false")
        .flag("debug")
        .short('d'),
    option(DEFAULT, "log_file", Kind::Str, "File to log to, below log_dir if that is set")
        .flag("log-file")
        .aliases(&["logfile"])
        .deprecated(&[(DEFAULT, "logfile")]),
    option(DEFAULT, "log_dir", Kind::Str, "Directory to log to: log_file, or else PROGRAM.log, in it")
        .flag("log-dir")
        .aliases(&["logdir"])
        .deprecated(&[(DEFAULT, "logdir")]),
    option(DEFAULT, "log_date_format", Kind::Str, "Date and time in log lines, in strftime's notation")
        .default("%Y-%m-%d %H:%M:%S")
        .flag("log-date-format"),
    option(DEFAULT, "use_stderr", Kind::Bool, "Log to stderr").default("false"),
    option(DEFAULT, "use_syslog", Kind::Bool, "Log to syslog")
        .default("false")
        .flag("use-syslog")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "use_journal", Kind::Bool, "Log to the journal")
        .default("false")
        .flag("use-journal")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "use_json", Kind::Bool, "Log in JSON")
        .default("false")
        .flag("use-json")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "syslog_log_facility", Kind::Str, "Facility of lines in syslog")
        .default("LOG_USER")
        .flag("syslog-log-facility")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "log_config_append", Kind::Str, "File that configures logging in Python's form")
        .flag("log-config-append")
        .aliases(&["log-config", "log_config"])
        .deprecated(&[(DEFAULT, "log-config"), (DEFAULT, "log_config")])
        .no_effect(NO_LOG_SINK),
];
