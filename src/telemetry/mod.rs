//! What operators see of a running process: logs and metrics.

pub mod counters;
pub mod labels;
#[cfg(feature = "control")]
pub mod log;
#[cfg(feature = "control")]
pub mod metrics;
mod settings;

pub use settings::{
    FACILITIES, FACILITY_USER, Formats, LogSettings, RateLimit, Rotation, Sockets, When, facility, level,
};
