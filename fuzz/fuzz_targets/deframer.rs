//! Any bytes as a tenant's frames, cut into reads as the first of them say.
#![no_main]

#[path = "../invariants/ws_reference.rs"]
mod reference;
#[path = "../invariants/split.rs"]
mod split;
#[path = "../invariants/ws.rs"]
mod ws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ws::deframer(data));
