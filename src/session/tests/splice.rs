//! Splicing: when a relay asks for it, and that nothing overtakes at the switch.

use super::conversation::*;
use super::*;

const FULL: &[u8] = &[0x5a; 65_536];

/// A relay whose compute node has just sent two full reads, everything delivered.
fn bulk() -> Driver {
    let mut driver = Driver::relaying(spice());
    for _ in 0..2 {
        driver.receive(Side::Compute, FULL);
        driver.flush();
    }
    assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(FULL), binary_sent(FULL)].concat());
    driver
}

#[test]
fn a_spliced_step_is_one_frame_as_long_as_what_was_in_the_pipe() {
    let mut driver = bulk();
    let bytes = vec![0x77; 300_000];
    driver.pipe(&bytes);
    assert!(!driver.compute.reading, "the pipe is emptied before it is filled again");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(&bytes));
    assert!(driver.compute.reading);
}

#[test]
fn an_engine_without_a_pipe_may_copy() {
    let mut driver = bulk();
    driver.receive(Side::Compute, b"copied");
    driver.flush();
    driver.pipe(b"piped");
    driver.flush();
    let expected = [binary_sent(b"copied"), binary_sent(b"piped")].concat();
    assert_eq!(driver.take_sent(Side::Tenant), expected);
}

#[test]
fn a_pong_under_way_is_not_overtaken_and_a_later_one_waits_for_the_frame() {
    let mut driver = bulk();
    driver.receive(Side::Tenant, &frame(0x89, b"one"));
    driver.pipe(FULL);
    driver.receive(Side::Tenant, &frame(0x89, b"two"));
    driver.flush();
    let expected = [&b"\x8a\x03one"[..], &binary_sent(FULL), b"\x8a\x03two"].concat();
    assert_eq!(driver.take_sent(Side::Tenant), expected);
}

#[test]
fn the_close_frame_stands_behind_what_was_piped() {
    let mut driver = bulk();
    driver.receive(Side::Tenant, &frame(0x89, b"one"));
    driver.pipe(b"last words");
    driver.receive(Side::Tenant, &close_frame(1000, "bye"));
    driver.flush();
    let expected = [&b"\x8a\x03one"[..], &binary_sent(b"last words"), &close_sent(1000, "bye")].concat();
    assert_eq!(driver.take_sent(Side::Tenant), expected);
    assert_eq!(driver.finish().name(), "tenant_closed");
}

#[test]
fn what_is_piped_behind_the_end_is_dropped() {
    let mut driver = bulk();
    driver.receive(Side::Tenant, &close_frame(1000, ""));
    driver.pipe(b"late");
    driver.piped.clear();
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, ""));
    assert_eq!(driver.finish().name(), "tenant_closed");
}

#[test]
fn several_pongs_under_way_do_not_hold_up_the_piped_frame() {
    let mut driver = bulk();
    driver.receive(Side::Tenant, &[frame(0x89, b"one"), frame(0x89, b"two")].concat());
    driver.pipe(FULL);
    driver.flush();
    let expected = [&b"\x8a\x03one"[..], &binary_sent(FULL), b"\x8a\x03two"].concat();
    assert_eq!(driver.take_sent(Side::Tenant), expected);
}
