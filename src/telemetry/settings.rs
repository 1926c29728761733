//! What the operator decided about logs.

use std::path::PathBuf;

/// Where and how to log. Lines go to the file, to standard error and to the journal as far as these are asked
/// for, to standard output if none of them is, and to syslog besides (`oslo_log/log.py`,
/// `_setup_logging_from_conf`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The program's name: syslog's and the journal's identifier
    pub program: String,
    /// File to append to
    pub file: Option<PathBuf>,
    /// When the file is put aside for a new one
    pub rotation: Rotation,
    /// Whether to log to standard error
    pub stderr: bool,
    /// Whether lines on standard streams have the colour of their level
    pub color: bool,
    /// Whether to log to the journal
    pub journal: bool,
    /// Whether to log to syslog
    pub syslog: bool,
    /// Facility of syslog and the journal, 0 (kern) to 23 (local7)
    pub facility: u8,
    /// JSON instead of text
    pub json: bool,
    /// DEBUG instead of INFO
    pub debug: bool,
    /// The text format
    pub formats: Formats,
    /// `default_log_levels`: loggers by name, and the level each of them logs from
    pub levels: Vec<(String, u32)>,
    /// Most lines per interval
    pub rate_limit: Option<RateLimit>,
    /// `log_config_append`: a file in the form of Python's `logging.config` that replaces all of the above
    pub config: Option<PathBuf>,
    /// Where syslog and the journal listen
    pub sockets: Sockets,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            program: "consolegate".to_owned(),
            file: None,
            rotation: Rotation::None,
            stderr: false,
            color: false,
            journal: false,
            syslog: false,
            facility: FACILITY_USER,
            json: false,
            debug: false,
            formats: Formats::default(),
            levels: Vec::new(),
            rate_limit: None,
            config: None,
            sockets: Sockets::default(),
        }
    }
}

/// `LOG_USER`
pub const FACILITY_USER: u8 = 1;

/// The facilities by name, in the order in which `oslo_log/log.py` (`_find_facility`) lists them.
pub const FACILITIES: [(&str, u8); 20] = [
    ("LOG_KERN", 0),
    ("LOG_USER", FACILITY_USER),
    ("LOG_MAIL", 2),
    ("LOG_DAEMON", 3),
    ("LOG_AUTH", 4),
    ("LOG_SYSLOG", 5),
    ("LOG_LPR", 6),
    ("LOG_NEWS", 7),
    ("LOG_UUCP", 8),
    ("LOG_CRON", 9),
    ("LOG_AUTHPRIV", 10),
    ("LOG_FTP", 11),
    ("LOG_LOCAL0", 16),
    ("LOG_LOCAL1", 17),
    ("LOG_LOCAL2", 18),
    ("LOG_LOCAL3", 19),
    ("LOG_LOCAL4", 20),
    ("LOG_LOCAL5", 21),
    ("LOG_LOCAL6", 22),
    ("LOG_LOCAL7", 23),
];

/// The facility of that name, with or without `LOG_`, in any case.
#[must_use]
pub fn facility(name: &str) -> Option<u8> {
    let upper = name.to_uppercase();
    let short = upper.strip_prefix("LOG_").unwrap_or(&upper);
    FACILITIES.iter().find(|(known, _)| known.strip_prefix("LOG_") == Some(short)).map(|(_, code)| *code)
}

/// The number of a level that Python's `logging` knows by name, or that is a number (`Logger.setLevel`).
#[must_use]
pub fn level(name: &str) -> Option<u32> {
    Some(match name {
        "CRITICAL" | "FATAL" => 50,
        "ERROR" => 40,
        "WARN" | "WARNING" => 30,
        "AUDIT" => 21,
        "INFO" => 20,
        "DEBUG" => 10,
        // oslo.log's own
        "TRACE" => 5,
        "NOTSET" => 0,
        number => number.trim().parse().ok()?,
    })
}

/// `log_rotation_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Never; somebody else may move or truncate the file
    None,
    /// When the file would reach this size
    Size {
        /// Bytes
        bytes_max: u64,
        /// Older files that are kept
        count: usize,
    },
    /// When so much time has passed
    Interval {
        /// The unit of time, or the moment
        when: When,
        /// How many of the unit
        interval: u32,
        /// Older files that are kept; 0 keeps all
        count: usize,
    },
}

/// `log_rotate_interval_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each so many seconds
    Seconds,
    /// Each so many minutes
    Minutes,
    /// Each so many hours
    Hours,
    /// Each so many days
    Days,
    /// At the end of this day of the week; 0 is Monday
    Weekday(u8),
    /// At midnight
    Midnight,
}

/// The text format, in Python's `%(name)s` notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    /// `logging_context_format_string`
    pub context: String,
    /// `logging_default_format_string`
    pub default: String,
    /// `logging_debug_format_suffix`
    pub debug_suffix: String,
    /// `logging_exception_prefix`
    pub exception_prefix: String,
    /// `logging_user_identity_format`
    pub user_identity: String,
    /// `instance_uuid_format`
    pub instance_uuid: String,
    /// `log_date_format`, in strftime's notation
    pub date: String,
}

impl Default for Formats {
    /// As in `oslo_log/_options.py`.
    fn default() -> Self {
        let start = "%(asctime)s.%(msecs)03d %(process)d";
        Self {
            context: format!(
                "{start} %(levelname)s %(name)s [%(global_request_id)s %(request_id)s %(user_identity)s] \
                 %(instance)s%(message)s"
            ),
            default: format!("{start} %(levelname)s %(name)s [-] %(instance)s%(message)s"),
            debug_suffix: "%(funcName)s %(pathname)s:%(lineno)d".to_owned(),
            exception_prefix: format!("{start} ERROR %(name)s %(instance)s"),
            user_identity:
                "%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s"
                    .to_owned(),
            instance_uuid: "[instance: %(uuid)s] ".to_owned(),
            date: "%Y-%m-%d %H:%M:%S".to_owned(),
        }
    }
}

/// `rate_limit_interval`, `rate_limit_burst` and `rate_limit_except_level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Lines per interval
    pub burst: u64,
    /// Seconds
    pub interval_s: u64,
    /// Lines of this level and above always pass
    pub except_level: Option<u32>,
}

/// Where the machine's loggers listen. Tests have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// syslog
    pub syslog: PathBuf,
    /// The journal
    pub journal: PathBuf,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { syslog: PathBuf::from("/dev/log"), journal: PathBuf::from("/run/systemd/journal/socket") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_are_found_as_oslo_log_finds_them() {
        for (name, code) in [("LOG_USER", 1), ("user", 1), ("local0", 16), ("LOG_LOCAL7", 23), ("Daemon", 3)]
        {
            assert_eq!(facility(name), Some(code), "{name}");
        }
        assert_eq!(facility("LOG_LOG_USER"), None);
        assert_eq!(facility("local8"), None);
    }

    #[test]
    fn levels_are_names_or_numbers() {
        for (name, number) in [("WARN", 30), ("WARNING", 30), ("DEBUG", 10), ("5", 5), ("NOTSET", 0)] {
            assert_eq!(level(name), Some(number), "{name}");
        }
        assert_eq!((level("warn"), level("LOUD"), level("-1")), (None, None, None));
    }
}
