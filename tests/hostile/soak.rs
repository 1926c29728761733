//! Good and evil tenants side by side for as long as `CONSOLEGATE_SOAK_SECONDS` says (5 for each engine and transport;
//! `scripts/soak` takes minutes): every byte of the good ones is right, and when all have gone, descriptors, memory and
//! sessions are where they began.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, TRANSPORTS, consoles, echoes, until_cut_off};
use crate::client::{masked, request};

on_both_engines! {
    good_and_evil_tenants_side_by_side_leave_nothing_behind,
}

const GOOD: usize = 4;
const EVIL: usize = 8;

/// By how much more memory may be held at the end of a round than at the end of the one before.
const GROWTH: u64 = 6 << 20;

/// Descriptors that may be kept for reuse, as the ends of pipes are, and that a first round need not have made.
const PIPES: usize = 16;

/// Rounds, the first included, until growth has to stop.
const ROUNDS_MAX: usize = 5;

/// Short for the evil ones, and long enough for good ones on a busy machine.
const LIMITS: &str = "admin_socket = admin.sock\nhead_timeout_ms = 3000\nfirst_byte_timeout_ms = 3000\n\
                      tls_handshake_timeout_ms = 3000\nstall_timeout_ms = 5000\nclose_timeout_ms = 1000\n\
                      unknown_token_ms = 1000\nping_interval_ms = 200";

fn seconds() -> u64 {
    std::env::var("CONSOLEGATE_SOAK_SECONDS").map_or(5, |value| value.parse().unwrap())
}

/// What the process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    /// Its share of the memory that it has in use, in bytes
    memory: u64,
    sessions: u64,
}

fn held(arena: &Arena) -> Held {
    let pid = arena.program.pid();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let memory = pss.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024;
    let mut admin = UnixStream::connect(arena.program.directory.join("admin.sock")).unwrap();
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    admin.read_to_string(&mut metrics).unwrap();
    let active = metrics.lines().find_map(|line| line.strip_prefix("consolegate_sessions_active "));
    let sessions = active.unwrap_or_else(|| panic!("no gauge in {metrics}")).parse().unwrap();
    drop(admin);
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    Held { descriptors, memory, sessions }
}

/// Sends pieces of all sizes to an echo and compares what comes back. Returns how many bytes that were.
fn good(arena: &Arena, token: &str, number: usize, until: Instant) -> usize {
    let mut total = 0;
    while Instant::now() < until {
        let mut client = arena.upgraded(token);
        client.stream.socket().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for turn in 0..50 {
            let len = 1 + (turn * 7_919 + number * 104_729) % 30_000;
            let piece: Vec<u8> = (0..len).map(|at| (at * 31 + turn + number).to_le_bytes()[0]).collect();
            client.frame(2, &piece);
            let mut heard = Vec::new();
            while heard.len() < len {
                let (first, payload) = client.read_frame();
                match first {
                    0x82 => heard.extend(payload),
                    0x89 => client.frame(10, &payload),
                    _ => panic!("a frame begins with {first:#x}"),
                }
            }
            assert!(heard == piece, "bytes of tenant {number}");
            total += len;
            if Instant::now() > until {
                break;
            }
        }
        client.frame(8, &[0x03, 0xe8]);
        while client.read_frame().0 != 0x88 {}
    }
    total
}

/// One misdeed, the next of ten.
fn evil(arena: &Arena, token: &str, streams: &str, turn: usize) {
    let mut wire = arena.connect();
    let write = |wire: &mut dyn Write, bytes: &[u8]| drop(wire.write_all(bytes));
    match turn % 10 {
        // Says nothing, or not all.
        0 => drop(until_cut_off(&mut wire)),
        1 => {
            write(&mut wire, b"GET / HTTP/1.1\r\nHost:");
            until_cut_off(&mut wire);
        }
        2 => write(&mut wire, &[b'x'; 100_000]),
        3 => write(&mut wire, b"\x16\x03\x01\x02\x00\x01\x00"),
        // A guess.
        4 => {
            let guess = format!("00000000-0000-4000-8000-{turn:012}");
            write(&mut wire, request(&format!("/?token={guess}"), &[]).as_bytes());
            until_cut_off(&mut wire);
        }
        5 => {
            let mut client = arena.upgraded(token);
            // Without a mask.
            client.send(b"\x82\x05hello");
            until_cut_off(&mut client.stream);
        }
        6 => {
            let mut client = arena.upgraded(token);
            client.stream.socket().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let (pings, begun) = (masked(0x89, &[7; 125]).repeat(200), Instant::now());
            // They may all be taken for ever: of many pings one is answered.
            while begun.elapsed() < Duration::from_secs(2) && client.stream.write_all(&pings).is_ok() {}
        }
        7 => {
            let mut client = arena.upgraded(token);
            let fragments = [masked(0x02, b"x"), masked(0x00, b"").repeat(2_000)].concat();
            write(&mut client.stream, &fragments);
            until_cut_off(&mut client.stream);
        }
        // A console that streams, to somebody who does not read, or who goes in the middle.
        8 => {
            let client = arena.upgraded(streams);
            thread::sleep(Duration::from_millis(700));
            drop(client);
        }
        _ => {
            let mut client = arena.upgraded(streams);
            client.read_frame();
            client.send(&masked(0x82, &[0; 1_000])[..500]);
        }
    }
}

fn good_and_evil_tenants_side_by_side_leave_nothing_behind(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, LIMITS);
        let token = arena.token("serial", echoes(false));
        let streams =
            arena.token("serial", consoles(|mut stream| while stream.write_all(&[7; 65_536]).is_ok() {}));
        let (misdeeds, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = |until: Instant| {
            thread::scope(|scope| {
                for number in 0..GOOD {
                    let (arena, token, bytes) = (&arena, &token, &bytes);
                    scope.spawn(move || {
                        bytes.fetch_add(good(arena, token, number, until), Ordering::Relaxed);
                    });
                }
                for _ in 0..EVIL {
                    scope.spawn(|| {
                        while Instant::now() < until {
                            evil(&arena, &token, &streams, misdeeds.fetch_add(1, Ordering::Relaxed));
                        }
                    });
                }
            });
        };
        let at_rest = |most: Option<&Held>| {
            let until = Instant::now() + Duration::from_secs(60);
            loop {
                let now = held(&arena);
                // The neighbour's is one.
                let rests =
                    now.sessions == 1 && most.is_none_or(|most| now.descriptors <= most.descriptors + PIPES);
                if rests {
                    return now;
                }
                assert!(Instant::now() < until, "{now:?} after {most:?}");
                thread::sleep(Duration::from_millis(100));
            }
        };
        let begun = Instant::now();
        // Once through everything: what a process makes once is not growth.
        run(begun + Duration::from_secs(seconds() / 4 + 1));
        let first = at_rest(None);
        let mut rounds = vec![first.memory];
        // A busy machine gets through little in the first round. What leaks grows in every one.
        loop {
            run(Instant::now() + Duration::from_secs(seconds()));
            let memory = at_rest(Some(&first)).memory;
            let before = rounds.last().copied().unwrap_or(0);
            rounds.push(memory);
            if memory <= before + GROWTH {
                break;
            }
            assert!(rounds.len() < ROUNDS_MAX, "memory grows from round to round: {rounds:?}");
        }
        println!(
            "{engine} {transport:?}: {:?}, {} misdeeds, {} bytes of good tenants compared; held {first:?}, memory {rounds:?}",
            begun.elapsed(),
            misdeeds.load(Ordering::Relaxed),
            bytes.load(Ordering::Relaxed),
        );
        arena.end(64 << 20);
    }
}
