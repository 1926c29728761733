//! How the process lives: in the background or not, its end, and its state reports.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Read;
use crate::control::config::options::{DEFAULT, OWN};

/// Most seconds between looks at the file that asks for reports.
const REPORT_INTERVAL_S_MAX: i64 = 3_600;

/// How the process lives. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// `daemon`
    pub daemon: bool,
    /// `[consolegate] pid_file`
    pub pid_file: Option<PathBuf>,
    /// `[consolegate] drain_timeout`
    pub drain_timeout: Duration,
    /// `[oslo_reports] log_dir`
    pub report_directory: Option<PathBuf>,
    /// `[oslo_reports] file_event_handler`
    pub report_trigger: Option<PathBuf>,
    /// `[oslo_reports] file_event_handler_interval`
    pub report_interval: Duration,
}

pub(super) fn process_settings(read: &Read<'_>) -> ProcessSettings {
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    let interval = read.int("oslo_reports", "file_event_handler_interval").unwrap_or(1);
    ProcessSettings {
        daemon: read.is_on(DEFAULT, "daemon"),
        pid_file: read.path(OWN, "pid_file"),
        drain_timeout: seconds(read.int(OWN, "drain_timeout").unwrap_or(0)),
        report_directory: read.path("oslo_reports", "log_dir"),
        report_trigger: read.path("oslo_reports", "file_event_handler"),
        report_interval: seconds(interval.clamp(1, REPORT_INTERVAL_S_MAX)),
    }
}
