//! Times as text, in local time.

use std::time::SystemTime;

use jiff::fmt::strtime::{BrokenDownTime, Config};
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// The time zone of the process, or a test's.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    pub(super) zone: Option<TimeZone>,
}

impl Clock {
    pub(super) fn local(&self, at: SystemTime) -> Zoned {
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
        Zoned::new(at, self.zone.clone().unwrap_or_else(TimeZone::system))
    }
}

/// `strftime`, as lenient as Python: what is no conversion stands for itself.
pub(super) fn strftime(at: &Zoned, format: &str) -> String {
    BrokenDownTime::from(at).to_string_with_config(&Config::new().lenient(true), format).unwrap_or_default()
}

/// The date in lines of Python's HTTP server (`http/server.py`, `log_date_time_string`): English months whatever
/// the locale.
pub(super) fn http_server_date(at: &Zoned) -> String {
    strftime(at, "%d/%b/%Y %H:%M:%S")
}

/// Seconds since 1970, with what is behind the dot.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
