//! A whole session under any schedule of inputs.
#![no_main]

#[path = "../invariants/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::session(data));
