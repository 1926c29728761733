//! Replies and frames of the message bus.
#![no_main]

use consolegate::{console, secret, session};

#[path = "../invariants/control/mod.rs"]
mod control;

libfuzzer_sys::fuzz_target!(|data: &[u8]| control::rpc::messages(data));
