//! What operators see of a running process: logs.

#[cfg(feature = "control")]
pub mod log;
mod settings;

pub use settings::LogSettings;
