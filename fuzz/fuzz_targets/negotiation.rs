//! The RFB handshake under any schedule of bytes from both sides.
#![no_main]

#[path = "../invariants/rfb.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    invariants::check(data);
    if let Some(version) = data.first_chunk() {
        invariants::check_version(version);
    }
});
