//! Splicing: when a relay asks for it, and that nothing overtakes at the switch.

use proptest::prelude::*;

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

/// A relay that is bulk after two reads of 64 bytes, and what has been said in it.
struct Talk {
    driver: Driver,
    from_compute: Vec<u8>,
    from_tenant: Vec<u8>,
    pings: Vec<Vec<u8>>,
    piped: usize,
}

impl Talk {
    fn new() -> Self {
        let mut settings = spice();
        settings.limits.read_bytes = 1_024;
        settings.limits.splice_from_bytes = 64;
        settings.limits.splice_until_bytes = 32;
        settings.limits.ping_interval_ms = 500;
        let driver = Driver::relaying(settings);
        Self { driver, from_compute: Vec::new(), from_tenant: Vec::new(), pings: Vec::new(), piped: 0 }
    }

    /// Does one thing, if it can be done now.
    fn go(&mut self, what: u8, len: usize) {
        let driver = &mut self.driver;
        let fresh = |said: &[u8], len: usize| -> Vec<u8> {
            // A byte that is lost, doubled or out of its place must show.
            (said.len()..said.len() + len).map(|at| u8::try_from(at % 251).unwrap()).collect()
        };
        match what {
            0..=3 if driver.compute.reading => {
                let can_pipe = driver.compute.may_pipe && what != 0;
                let bytes = fresh(&self.from_compute, if can_pipe { len } else { len.min(1_024) });
                self.from_compute.extend(&bytes);
                if can_pipe {
                    self.piped += 1;
                    driver.pipe(&bytes);
                } else {
                    driver.receive(Side::Compute, &bytes);
                }
            }
            4 if driver.tenant.reading => {
                let pings: Vec<_> = (0..=len % 3).map(|n| fresh(&[], n + self.pings.len())).collect();
                let wire: Vec<u8> =
                    pings.iter().flat_map(|ping| frame(0x89, &ping[..ping.len().min(125)])).collect();
                self.pings.extend(pings);
                driver.receive(Side::Tenant, &wire);
            }
            5 if driver.tenant.reading => {
                let bytes = fresh(&self.from_tenant, len);
                self.from_tenant.extend(&bytes);
                driver.receive(Side::Tenant, &binary(&bytes));
            }
            6 if driver.compute.writing => driver.written(Side::Compute),
            7..=9 if driver.tenant.writing => driver.written(Side::Tenant),
            10 => {
                let until = driver.now + Duration::from_millis(len as u64 / 16);
                if driver.wait.is_some_and(|at| at <= until) {
                    driver.expire();
                } else {
                    driver.now = until;
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn frames_are_whole_and_bytes_in_order_however_copies_and_splices_alternate(
        moves in prop::collection::vec((0..11_u8, 1..2_000_usize), 1..200),
        end in 0..4_u8,
    ) {
        let mut talk = Talk::new();
        for (what, len) in moves {
            talk.go(what, len);
        }
        let Talk { mut driver, from_compute, from_tenant, pings, .. } = talk;
        // The tenant is read again once what it said has been written.
        while !driver.tenant.reading {
            driver.written(Side::Compute);
        }
        let farewell = match end {
            0 => {
                driver.receive(Side::Tenant, &close_frame(1000, ""));
                Some(close_sent(1000, ""))
            }
            1 => {
                driver.end(Side::Tenant);
                None
            }
            2 => {
                driver.input(Input::Kill(CloseReason::ShuttingDown));
                Some(close_sent(1001, "Going away"))
            }
            _ => {
                while !driver.compute.reading {
                    driver.written(Side::Tenant);
                }
                driver.end(Side::Compute);
                Some(close_sent(1000, "Target closed"))
            }
        };
        driver.flush();
        let (data, mut control) = unframed(&driver.take_sent(Side::Tenant));
        prop_assert_eq!(data, from_compute);
        prop_assert_eq!(driver.take_sent(Side::Compute), from_tenant);
        prop_assert_eq!(control.pop_if(|last| last[0] == 0x88), farewell);
        let mut pings = pings.iter().map(|ping| &ping[..ping.len().min(125)]);
        for frame in control.iter().filter(|frame| frame[0] != 0x89) {
            prop_assert_eq!(frame[0], 0x8a, "nothing but pongs and pings between the data");
            prop_assert!(pings.any(|ping| *ping == frame[2..]), "a pong answers no ping, or out of order");
        }
    }
}

#[test]
fn the_random_talk_does_splice() {
    let mut talk = Talk::new();
    for _ in 0..10 {
        talk.go(1, 500);
        talk.go(7, 0);
    }
    assert_eq!(talk.piped, 8);
}
