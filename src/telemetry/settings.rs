//! What the operator decided about logs.

use std::path::PathBuf;

/// Where and how to log. Lines go to the file if there is one, to standard error if asked, and to standard
/// output if neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// File to append to
    pub file: Option<PathBuf>,
    /// Whether to log to standard error
    pub stderr: bool,
    /// DEBUG instead of INFO
    pub debug: bool,
    /// Date and time, in strftime's notation
    pub date_format: String,
}
