//! Logging (`oslo_log/_options.py`).

use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::{ANY_INT, Kind};

/// `oslo_log/_options.py` and what `nova/config.py` (`set_log_defaults`) adds.
const LEVELS: &str = "amqp=WARN,boto=WARN,sqlalchemy=WARN,suds=INFO,oslo.messaging=INFO,oslo_messaging=INFO,\
    iso8601=WARN,requests.packages.urllib3.connectionpool=WARN,urllib3.connectionpool=WARN,websocket=WARN,\
    requests.packages.urllib3.util.retry=WARN,urllib3.util.retry=WARN,keystonemiddleware=WARN,\
    routes.middleware=WARN,stevedore=WARN,taskflow=WARN,keystoneauth=WARN,oslo.cache=INFO,oslo_policy=INFO,\
    dogpile.core.dogpile=INFO,glanceclient=WARN,oslo.privsep.daemon=INFO";

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
    option(DEFAULT, "use_syslog", Kind::Bool, "Log to syslog").default("false").flag("use-syslog"),
    option(DEFAULT, "use_journal", Kind::Bool, "Log to the journal").default("false").flag("use-journal"),
    option(DEFAULT, "use_json", Kind::Bool, "Log in JSON").default("false").flag("use-json"),
    option(DEFAULT, "syslog_log_facility", Kind::Str, "Facility of lines in syslog and the journal")
        .default("LOG_USER")
        .flag("syslog-log-facility"),
    option(DEFAULT, "log_config_append", Kind::Str, "File that configures logging in Python's form")
        .flag("log-config-append")
        .aliases(&["log-config", "log_config"])
        .deprecated(&[(DEFAULT, "log-config"), (DEFAULT, "log_config")]),
    option(DEFAULT, "log_color", Kind::Bool, "Colour lines on standard streams by their level").default("false"),
    option(
        DEFAULT,
        "log_rotation_type",
        Kind::ChoiceAnyCase(&["interval", "size", "none"]),
        "What puts the log file aside for a new one",
    )
    .default("none"),
    option(DEFAULT, "log_rotate_interval", ANY_INT, "How many units of time one log file covers").default("1"),
    option(
        DEFAULT,
        "log_rotate_interval_type",
        Kind::ChoiceAnyCase(&["Seconds", "Minutes", "Hours", "Days", "Weekday", "Midnight"]),
        "The unit of log_rotate_interval; with Weekday that is the day, 0 for Monday",
    )
    .default("days"),
    option(DEFAULT, "max_logfile_count", ANY_INT, "Older log files that rotation keeps").default("30"),
    option(DEFAULT, "max_logfile_size_mb", ANY_INT, "Size in MiB at which a log file is put aside").default("200"),
    option(DEFAULT, "logging_context_format_string", Kind::Str, "Format of lines that belong to a session")
        .default(
            "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [%(global_request_id)s %(request_id)s \
             %(user_identity)s] %(instance)s%(message)s",
        ),
    option(DEFAULT, "logging_default_format_string", Kind::Str, "Format of all other lines").default(
        "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] %(instance)s%(message)s",
    ),
    option(DEFAULT, "logging_debug_format_suffix", Kind::Str, "What lines at DEBUG have behind their message")
        .default("%(funcName)s %(pathname)s:%(lineno)d"),
    option(DEFAULT, "logging_exception_prefix", Kind::Str, "What the lines of a failure's own text begin with")
        .default("%(asctime)s.%(msecs)03d %(process)d ERROR %(name)s %(instance)s"),
    option(DEFAULT, "logging_user_identity_format", Kind::Str, "Format of user_identity in the formats above")
        .default("%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s"),
    option(DEFAULT, "default_log_levels", Kind::List, "Levels of single loggers, as logger=LEVEL").default(LEVELS),
    option(DEFAULT, "instance_uuid_format", Kind::Str, "Format of an instance in lines about it")
        .default("[instance: %(uuid)s] "),
    option(DEFAULT, "instance_format", Kind::Str, "The same for an instance of which more is known")
        .default("[instance: %(uuid)s] ")
        .no_effect("this program knows no more of an instance than its UUID, see instance_uuid_format"),
    option(DEFAULT, "rate_limit_interval", ANY_INT, "Seconds over which lines are counted; 0 sets no limit")
        .default("0"),
    option(DEFAULT, "rate_limit_burst", ANY_INT, "Most lines in that time; 0 sets no limit").default("0"),
    option(
        DEFAULT,
        "rate_limit_except_level",
        Kind::Choice(&["CRITICAL", "ERROR", "INFO", "WARNING", "DEBUG", ""]),
        "Lines of this level and above are not limited; empty limits all",
    )
    .default("CRITICAL"),
    option(DEFAULT, "publish_errors", Kind::Bool, "Publish errors on the message bus")
        .default("false")
        .no_effect("this program sends no notifications"),
    option(DEFAULT, "fatal_deprecations", Kind::Bool, "End when deprecated code is called")
        .default("false")
        .no_effect("this program has no deprecated code of Nova's"),
    // oslo_reports/opts.py
    option("oslo_reports", "log_dir", Kind::Str, "Directory of state reports; standard error without it"),
    option("oslo_reports", "file_event_handler", Kind::Str, "A file whose change asks for a state report"),
    option("oslo_reports", "file_event_handler_interval", ANY_INT, "Seconds between looks at that file")
        .default("1"),
];
