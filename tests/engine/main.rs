//! The engines with a real worker on real sockets, in this process: slots, operations, buffers and limits,
//! which the whole program shows from outside only. The control thread is a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[macro_use]
#[path = "../common/engines.rs"]
mod engines;

#[path = "../proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy")]
mod client;

mod connects;
#[allow(dead_code, reason = "shared with tests/steady_state.rs, which uses the rest")]
mod harness;
mod limits;
mod pressure;
mod storms;
