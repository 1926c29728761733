//! What a session at rest costs. That it owns no heap is checked in `tests/session_heap.rs`.

use super::*;

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 216, "{} bytes", size_of::<Session>());
}

#[test]
fn nothing_but_the_relay_is_kept_inline() {
    // Every other phase is boxed, so that sessions at rest do not pay for them.
    assert!(size_of::<Phase>() <= size_of::<relay::Relay>() + 16);
}
