//! A worker whose sessions relay allocates nothing, on either engine: every buffer, entry and list that it needs was
//! made before. Real sockets, a real engine; what the worker's thread asks of the allocator is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "engine/harness.rs"]
#[allow(dead_code, reason = "shared with tests/engine, which uses the rest")]
mod harness;

#[path = "steady/counting.rs"]
mod counting;
#[path = "steady/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use consolegate::session::Limits;

use client::{Client, masked};
use counting::Watch;
use harness::{Proxy, compute, echo};

on_both_engines! {
    echoes_allocate_nothing,
    deadlines_that_move_allocate_nothing,
    bulk_that_is_copied_allocates_nothing,
    bulk_that_is_spliced_allocates_nothing,
    bulk_to_the_compute_node_allocates_nothing,
    tls_allocates_what_rustls_does_for_each_record,
}

/// What goes through before anything is counted, and while it is.
const WARM_BYTES: usize = 16 << 20;
const BYTES: usize = 64 << 20;

const SESSIONS: usize = 8;

/// Nothing looks at what is traced: that would allocate.
fn before_start() {}

/// The watch is on one worker.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No deadline comes while this lasts, however busy the machine is.
fn long_deadlines(limits: &mut Limits) {
    limits.first_byte_timeout_ms = 3_600_000;
    limits.head_timeout_ms = 3_600_000;
    limits.authorize_timeout_ms = 3_600_000;
    limits.connect_timeout_ms = 3_600_000;
    limits.ping_interval_ms = 0;
}

fn echoes_allocate_nothing(engine: &str) {
    let _alone = alone();
    let proxy = Proxy::start(engine, echo(), long_deadlines);
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| proxy.open()).collect();
    // As many ready at once as there can be: lists grow to the most that was ever in them.
    for _ in 0..20 {
        let hold = proxy.hold();
        clients.iter_mut().for_each(|client| client.frame(2, &[0x5a; 64]));
        drop(hold);
        for client in &mut clients {
            assert_eq!(client.read_frame(), (0x82, vec![0x5a; 64]));
        }
    }
    let mut rounds = |count: usize| {
        for round in 0..count {
            // Some alone in their turn, some together.
            for clients in clients.chunks_mut(1 + round % SESSIONS) {
                for client in &mut *clients {
                    client.frame(2, &[0x5a; 64]);
                }
                for client in clients {
                    assert_eq!(client.read_frame(), (0x82, vec![0x5a; 64]));
                }
            }
        }
    };
    rounds(200);
    let (watch, turns) = (Watch::begin(), proxy.turns());
    rounds(1_000);
    let allocations = watch.end();
    let turns = proxy.turns() - turns;
    assert!(turns >= 1_000, "{turns} turns");
    assert_eq!(allocations, 0, "in {turns} turns with {} echoes", 1_000 * SESSIONS);
}

/// A session looks four times within `stall_timeout_ms` whether a write is stuck, and the wheel's entry moves each time.
fn deadlines_that_move_allocate_nothing(engine: &str) {
    const LOOKS: u32 = 10;
    let _alone = alone();
    let proxy = Proxy::start(engine, echo(), |limits| {
        long_deadlines(limits);
        limits.stall_timeout_ms = 800;
    });
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| proxy.open()).collect();
    let mut last = || {
        let until = Instant::now() + LOOKS * Duration::from_millis(200);
        while Instant::now() < until {
            let hold = proxy.hold();
            clients.iter_mut().for_each(|client| client.frame(2, &[0x5a; 64]));
            drop(hold);
            for client in &mut clients {
                assert_eq!(client.read_frame(), (0x82, vec![0x5a; 64]));
            }
        }
    };
    last();
    let watch = Watch::begin();
    last();
    assert_eq!(watch.end(), 0);
}

/// What a compute node sends, or takes, for each request of a tenant: less than any socket's buffers hold, because the
/// rest of a write that finds no room moves to a buffer of its own size, and that is no steady state.
const STEP: usize = 512 << 10;

/// Large buffers that a worker's pool keeps. Each is made once, when as many sessions are first read in large steps at
/// the same time, which may be late.
const LARGE_BUFFERS: u64 = 2;

/// A compute node that sends a step for every byte that it gets.
fn source() -> SocketAddr {
    compute(|mut stream| {
        let step = vec![0x5a; STEP];
        while stream.read_exact(&mut [0]).is_ok() {
            stream.write_all(&step).unwrap();
        }
    })
}

/// Asks every client's compute node for a step, and takes all of them.
fn step<S: Read + Write>(clients: &mut [Client<S>]) {
    for client in &mut *clients {
        client.frame(2, &[1]);
    }
    for client in clients {
        let mut left = STEP;
        while left > 0 {
            let (opcode, payload) = client.read_frame();
            assert_eq!(opcode, 0x82);
            left -= payload.len();
        }
    }
}

/// Takes bulk in two sessions. Returns what was allocated meanwhile, and the share that was spliced.
fn bulk(proxy: &Proxy) -> (u64, f64) {
    let mut clients: Vec<Client> = (0..2).map(|_| proxy.open()).collect();
    let mut take = |bytes: usize| (0..bytes / STEP / 2).for_each(|_| step(&mut clients));
    take(WARM_BYTES);
    let spliced = || proxy.counters().spliced.get();
    let (turns, before, watch) = (proxy.turns(), spliced(), Watch::begin());
    take(BYTES);
    let allocations = watch.end();
    let share = (spliced() - before) as f64 / BYTES as f64;
    println!("{allocations} allocations in {} turns, {share:.2} spliced", proxy.turns() - turns);
    (allocations, share)
}

fn bulk_that_is_copied_allocates_nothing(engine: &str) {
    let _alone = alone();
    let proxy = Proxy::start(engine, source(), |limits| {
        long_deadlines(limits);
        limits.splice_from_bytes = 0;
    });
    let (allocations, share) = bulk(&proxy);
    assert!(allocations <= LARGE_BUFFERS, "{allocations} allocations");
    assert_eq!(share, 0.0);
}

fn bulk_that_is_spliced_allocates_nothing(engine: &str) {
    let _alone = alone();
    // A busy machine takes longer than the default for two reads.
    let proxy = Proxy::start(engine, source(), |limits| {
        long_deadlines(limits);
        limits.splice_window_ms = 500;
    });
    let (allocations, share) = bulk(&proxy);
    assert!(allocations <= LARGE_BUFFERS, "{allocations} allocations");
    assert!(share > 0.2, "only {share:.2} was spliced");
}

fn bulk_to_the_compute_node_allocates_nothing(engine: &str) {
    let _alone = alone();
    // Frames of many sizes, many to a read and many reads to a frame.
    let sizes = [1, 64, 125, 126, 4_096, 16_384, 200_000];
    let frames: Vec<u8> = sizes.iter().flat_map(|len| masked(0x82, &vec![0x5a; *len])).collect();
    let node = compute(move |mut stream| {
        let mut step = vec![0; sizes.iter().sum()];
        while stream.read_exact(&mut step).is_ok() {
            stream.write_all(&[1]).unwrap();
        }
    });
    let proxy = Proxy::start(engine, node, long_deadlines);
    let mut client = proxy.open();
    let mut say = |len: usize| {
        for _ in 0..len / frames.len() {
            client.send(&frames);
            assert_eq!(client.read_frame(), (0x82, vec![1]));
        }
    };
    say(WARM_BYTES);
    let watch = Watch::begin();
    say(BYTES);
    let allocations = watch.end();
    assert!(allocations <= LARGE_BUFFERS, "{allocations} allocations");
}

fn tls_allocates_what_rustls_does_for_each_record(engine: &str) {
    let _alone = alone();
    let (proxy, mut clients) = tls::open(engine, source(), 2);
    let mut take = |bytes: usize| (0..bytes / STEP / 2).for_each(|_| step(&mut clients));
    take(WARM_BYTES);
    let watch = Watch::begin();
    take(BYTES);
    let allocations = watch.end();
    // A vector for each record of at most 16 KiB, and its place in the queue now and then. The kernel hands out less
    // than a record at a time on a busy machine.
    let records = (BYTES / 16_384) as u64;
    println!("{allocations} allocations for {records} full records");
    assert!(allocations <= 6 * records, "{allocations} allocations for {records} records");
    drop(proxy);
}

/// The allocator would be of no use if it counted nobody.
#[test]
fn what_a_worker_allocates_is_counted() {
    let _alone = alone();
    let proxy = Proxy::start("epoll", echo(), |_| ());
    let watch = Watch::begin();
    drop(TcpStream::connect(proxy.address));
    drop(proxy.open());
    proxy.wait_for_rest();
    assert!(watch.end() > 0);
}
