//! What operators see of a running process: logs.

#[cfg(feature = "control")]
pub mod log;
mod settings;

pub use settings::{
    FACILITIES, FACILITY_USER, Formats, LogSettings, RateLimit, Rotation, Sockets, When, facility, level,
};
