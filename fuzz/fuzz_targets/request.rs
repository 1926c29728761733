//! Request heads and everything decided from them.
#![no_main]

#[path = "../invariants/http.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::all(input));
