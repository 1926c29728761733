//! Logs beside those of the real oslo.log and Python's `logging`, and under the real logrotate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[path = "logging/config_file.rs"]
mod config_file;
#[path = "logging/datagrams.rs"]
mod datagrams;
#[path = "logging/formats.rs"]
mod formats;
#[path = "logging/peer.rs"]
mod peer;
