//! A whole session under any schedule of inputs.
#![no_main]

#[allow(dead_code, reason = "the rest is for other targets")]
#[path = "../invariants/ws_reference.rs"]
mod reference;
#[path = "../invariants/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::session(data));
