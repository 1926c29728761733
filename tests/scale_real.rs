//! As many idle consoles in one process as descriptors allow: what each costs in memory, and how soon SIGTERM ends
//! them all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "proxy/pair.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod pair;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use consolegate::engine::descriptors;
use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};

use client::{Client, tcp};
use pair::{Pair, connect};
use program::{Options, Program};

on_both_engines! {
    idle_sessions_by_the_thousand_cost_little_and_end_at_once,
    a_thousand_active_sessions_are_answered_among_the_idle_ones,
}

/// Both ends of every session are this process's.
fn sessions() -> usize {
    let descriptors = usize::try_from(descriptors::raise()).unwrap();
    ((descriptors - 1_000) / 2).min(9_000)
}

/// What a session may cost the process, in bytes, over plain connections and over TLS. docs/PERFORMANCE.md has the
/// figures.
const PLAIN_BYTES: u64 = 1_024;
const TLS_BYTES: u64 = 10_240;

/// Threads and files that a pool of database connections may come to, whoever asks it.
const POOL: usize = 16;

/// From SIGTERM to the end of the process. Two seconds are promised; a debug build on a busy machine is given more.
const END: Duration = Duration::from_secs(5);

/// Accepts consoles that say nothing, and keeps them.
fn silent_consoles() -> (u16, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // The usual queue of 128 overflows when this thread has to wait for its turn.
    listen(&listener, Backlog::new(4_096).unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let consoles = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&consoles);
    thread::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => kept.lock().unwrap().push(stream),
                Err(error) => eprintln!("a console could not be accepted: {error}"),
            }
        }
    });
    (port, consoles)
}

/// Resident memory, in bytes.
fn memory(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// What a program holds of the kernel.
#[derive(Debug)]
struct Holdings {
    sockets: usize,
    /// Descriptors of anything else
    others: usize,
    threads: usize,
}

fn holdings(program: &Program) -> Holdings {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().count();
    let sockets = program.sockets();
    Holdings { sockets, others: descriptors - sockets, threads: program.threads("").len() }
}

/// The descriptors are for one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_for(consoles: &Mutex<Vec<TcpStream>>, count: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while consoles.lock().unwrap().len() < count {
        assert!(Instant::now() < until, "{} of {count} consoles", consoles.lock().unwrap().len());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Every active one is answered every time, and what the idle ones got is nothing. `scripts/compare` has the latency.
fn a_thousand_active_sessions_are_answered_among_the_idle_ones(engine: &str) {
    const ACTIVE: usize = 1_000;
    const ROUNDS: usize = 5;
    let _turn = alone();
    let sessions = sessions();
    let own = "port_check = off\nping_interval_ms = 0";
    let options = Options { name: "nova-serialproxy", default: "web =", own, extra: "", engine };
    let program = Program::start(&options);
    let (port, consoles) = silent_consoles();
    let target = format!("/?token={}", program.token("serial", port, 3_600));
    let mut tenants: Vec<_> =
        (0..sessions).map(|_| Client::over(tcp(program.address)).upgraded(&target, &[])).collect();
    wait_for(&consoles, sessions);
    for console in consoles.lock().unwrap().iter() {
        console.set_nonblocking(true).unwrap();
    }
    let every = sessions / ACTIVE;
    for round in 0..ROUNDS {
        let words = |number: usize| format!("{number:05} says {round}").into_bytes();
        for (number, tenant) in tenants.iter_mut().step_by(every).take(ACTIVE).enumerate() {
            tenant.frame(2, &words(number));
        }
        let until = Instant::now() + Duration::from_secs(60);
        let mut heard = 0;
        while heard < ACTIVE {
            assert!(Instant::now() < until, "round {round}: {heard} of {ACTIVE} were heard");
            for mut console in consoles.lock().unwrap().iter() {
                let mut buffer = [0; 64];
                if let Ok(len) = console.read(&mut buffer) {
                    assert!(len > 0, "a console ended");
                    console.write_all(&buffer[..len]).unwrap();
                    heard += 1;
                }
            }
        }
        for (number, tenant) in tenants.iter_mut().step_by(every).take(ACTIVE).enumerate() {
            assert_eq!(tenant.read_frame(), (0x82, words(number)));
        }
    }
    // The others are there, and heard nothing.
    for (index, tenant) in tenants.iter().enumerate() {
        if index % every != 0 || index / every >= ACTIVE {
            tenant.stream.set_nonblocking(true).unwrap();
            let said = (&tenant.stream).read(&mut [0; 1]).unwrap_err();
            assert_eq!(said.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
    println!("{engine}: {ACTIVE} of {sessions} sessions were answered {ROUNDS} times");
    consoles.lock().unwrap().clear();
}

fn idle_sessions_by_the_thousand_cost_little_and_end_at_once(engine: &str) {
    let _turn = alone();
    let pair = Pair::new();
    held(engine, "plain", &pair, PLAIN_BYTES, |program| tcp(program.address));
    held(engine, "TLS", &pair, TLS_BYTES, |program| connect(program.address, &pair.certificate).unwrap());
}

fn held<S: Read + Write>(
    engine: &str,
    what: &str,
    pair: &Pair,
    bytes_max: u64,
    connect: impl Fn(&Program) -> S,
) {
    let sessions = sessions();
    // No ping may fall into the measurement.
    let own = "port_check = off\nping_interval_ms = 0";
    let options = Options { name: "nova-serialproxy", default: &pair.options(), own, extra: "", engine };
    let mut program = Program::start(&options);
    let (port, consoles) = silent_consoles();
    let target = format!("/?token={}", program.token("serial", port, 3_600));
    let open = || Client::over(connect(&program)).upgraded(&target, &[]);
    // What the first sessions make is not theirs.
    let mut tenants: Vec<_> = (0..100).map(|_| open()).collect();
    wait_for(&consoles, tenants.len());
    let (before, held) = (memory(&program), holdings(&program));
    tenants.extend((100..sessions).map(|_| open()));
    wait_for(&consoles, sessions);
    let each = memory(&program).saturating_sub(before) / (sessions as u64 - 100);
    // Nothing per connection but its sockets. The database's pool may have grown: by a connection's thread and files.
    let now = holdings(&program);
    assert_eq!(now.sockets, held.sockets + (sessions - 100) * 2);
    assert!(now.others <= held.others + POOL && now.threads <= held.threads + POOL, "{held:?}, then {now:?}");
    // The first and the last of them work.
    for index in [0, sessions / 2, sessions - 1] {
        tenants[index].frame(2, b"typed");
    }
    let mut heard = 0;
    for console in consoles.lock().unwrap().iter() {
        console.set_nonblocking(true).unwrap();
    }
    let until = Instant::now() + Duration::from_secs(20);
    while heard < 3 {
        assert!(Instant::now() < until, "{heard} of 3 were heard");
        for mut console in consoles.lock().unwrap().iter() {
            heard += usize::from(console.read(&mut [0; 5]).is_ok());
        }
    }
    let asked = Instant::now();
    assert_eq!(program.end(Signal::SIGTERM), 0);
    let took = asked.elapsed();
    println!("{sessions} idle sessions over {what} on {engine}: {each} bytes each, ended in {took:?}");
    assert!(each <= bytes_max, "{what}: {each} bytes a session");
    assert!(took < END, "{what}: it took {took:?} to end");
    for tenant in [0, sessions - 1] {
        let (opcode, payload) = tenants[tenant].read_frame();
        assert_eq!((opcode, &payload[..2]), (0x88, 1001_u16.to_be_bytes().as_slice()));
    }
    // Their thread lives on, and the next round needs the descriptors.
    consoles.lock().unwrap().clear();
}
