//! The RFB handshake against captured conversations, and under random ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod bounds;
#[path = "../../fuzz/invariants/rfb.rs"]
mod invariants;
mod nova;
mod properties;
mod qemu;
mod vectors;
