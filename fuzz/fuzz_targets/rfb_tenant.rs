//! Any bytes as the tenant's part of the RFB handshake.
#![no_main]

#[allow(dead_code, reason = "the rest is for other targets")]
#[path = "../invariants/rfb.rs"]
mod rfb;
#[allow(dead_code, reason = "the rest is for other targets")]
#[path = "../invariants/rfb_roles.rs"]
mod roles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| roles::tenant(data));
