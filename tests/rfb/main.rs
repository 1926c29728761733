//! The RFB handshake against captured conversations, and under random ones.

mod bounds;
#[path = "../../fuzz/invariants/rfb.rs"]
mod invariants;
mod nova;
mod properties;
mod qemu;
mod vectors;
