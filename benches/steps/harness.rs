//! Both ends of every session, on the same thread as the relay between them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToTenant,
    ToCompute,
}

/// The ends of one session that the relay does not have.
pub(crate) struct Ends {
    pub(crate) tenant: TcpStream,
    pub(crate) compute: TcpStream,
}

/// Something that moves bytes between the other ends.
pub(crate) trait Relay {
    fn name(&self) -> &'static str;

    /// Whether tenants send masked frames.
    fn framed(&self) -> bool;

    fn ends(&mut self) -> &mut [Ends];

    /// Moves `waiting` bytes in that direction, all there are.
    fn run(&mut self, direction: Direction, waiting: usize);

    /// How many bytes the last run sent on in a session. They differ by frame headers: what is read at once is up
    /// to the engine.
    fn sent(&self, session: usize) -> usize;
}

/// One step: `size` bytes are made to wait for each session, moved, and taken away again. The time of the
/// move, and the context switches in it.
pub(crate) fn step(relay: &mut dyn Relay, direction: Direction, size: usize) -> (Duration, u64) {
    let waiting = send(relay, direction, size);
    let switches = context_switches();
    let begun = Instant::now();
    relay.run(direction, waiting);
    let time = begun.elapsed();
    let switches = context_switches() - switches;
    take_away(relay, direction);
    (time, switches)
}

/// Brings all sockets into the same state. Those that have answered, as in a session's opening, put off their
/// acknowledgements until one has come too late, and a step costs a third less as long as they do.
pub(crate) fn settle(relays: &mut [Box<dyn Relay>]) {
    for direction in [Direction::ToTenant, Direction::ToCompute] {
        for relay in &mut *relays {
            step(relay.as_mut(), direction, 64);
        }
        // Longer than the kernel puts an acknowledgement off.
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Makes `size` bytes wait for each session. How many those are with their frames.
fn send(relay: &mut dyn Relay, direction: Direction, size: usize) -> usize {
    let message = match direction {
        Direction::ToCompute if relay.framed() => masked(size),
        _ => vec![0x5a; size],
    };
    for ends in relay.ends() {
        let from = if direction == Direction::ToTenant { &mut ends.compute } else { &mut ends.tenant };
        from.write_all(&message).unwrap();
    }
    message.len() * relay.ends().len()
}

/// Reads what the last run has sent on.
fn take_away(relay: &mut dyn Relay, direction: Direction) {
    let mut buffer = Vec::new();
    for session in 0..relay.ends().len() {
        buffer.resize(relay.sent(session), 0);
        let ends = &mut relay.ends()[session];
        let to = if direction == Direction::ToTenant { &mut ends.tenant } else { &mut ends.compute };
        to.read_exact(&mut buffer).unwrap();
    }
}

/// A masked binary frame of `len` bytes (RFC 6455 section 5.2).
fn masked(len: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    if len < 126 {
        frame.push(0x80 | u8::try_from(len).unwrap());
    } else {
        frame.push(0x80 | 126);
        frame.extend(u16::try_from(len).unwrap().to_be_bytes());
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend([1, 2, 3, 4].iter().cycle().take(len).map(|key| 0x5a ^ key));
    frame
}

/// Of all threads of this process: a kernel's helper threads give themselves away here. One call, not a walk
/// through /proc: that would push the relay's code out of the caches before every step.
fn context_switches() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    u64::try_from(switches).unwrap()
}
