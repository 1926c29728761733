//! Frames that go out, and legal frames that go round.
#![no_main]

#[allow(dead_code, reason = "the rest is for other targets")]
#[path = "../invariants/ws_reference.rs"]
mod reference;
#[path = "../invariants/split.rs"]
mod split;
#[path = "../invariants/ws.rs"]
mod ws;
#[path = "../invariants/ws_encode.rs"]
mod encode;

libfuzzer_sys::fuzz_target!(|data: &[u8]| encode::encoder(data));
