//! Logs beside those of the real oslo.log and Python's `logging`, and under the real logrotate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "proxy/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "proxy/compute.rs"]
mod compute;
#[path = "logging/config_file.rs"]
mod config_file;
#[path = "logging/datagrams.rs"]
mod datagrams;
#[path = "logging/destinations.rs"]
mod destinations;
#[path = "logging/formats.rs"]
mod formats;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "proxy/live.rs"]
mod live;
#[path = "logging/panics.rs"]
mod panics;
#[path = "logging/peer.rs"]
mod peer;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "proxy/program.rs"]
mod program;
#[path = "logging/rotate.rs"]
mod rotate;
