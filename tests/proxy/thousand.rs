//! A thousand consoles at once, half of them with a tenant that stops reading for a while.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use consolegate::engine::descriptors;
use consolegate::session::Limits;
use nix::sys::socket::{setsockopt, sockopt};

use super::client::Client;
use super::compute;
use super::program::{Options, Program};
use super::pump::{Pump, Stream, pattern, run};

on_both_engines! {
    a_thousand_sessions_deliver_every_byte_within_the_memory_that_the_limits_imply,
}

const SESSIONS: usize = 1_000;
const FROM_TENANT: usize = 100_000;
const FROM_COMPUTE: usize = 600_000;
/// Smaller than what the compute node sends, so that a stall reaches the proxy and through it the compute node.
const SOCKET_BUFFER: usize = 16_384;
const STALL: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(240);

/// What the program itself needs beside the buffers: code, stacks, database, per-session state.
const PROGRAM_BYTES: u64 = 64 << 20;

fn a_thousand_sessions_deliver_every_byte_within_the_memory_that_the_limits_imply(engine: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(descriptors::raise() > 3 * SESSIONS as u64, "too few descriptors");
    // Pumps take data frames only, and a busy machine takes longer than a ping interval.
    let own = "port_check = off\nping_interval_ms = 0";
    let program = Program::start(&Options { own, ..Options::on(engine) });
    let pattern = Arc::new(pattern());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    setsockopt(&listener, sockopt::RcvBuf, &SOCKET_BUFFER).unwrap();
    let port = listener.local_addr().unwrap().port();
    let compute_pattern = Arc::clone(&pattern);
    let compute = thread::spawn(move || {
        let mut pumps: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let (mut stream, _) = listener.accept().unwrap();
                compute::rfb_handshake(&mut stream);
                let (sends, receives) = streams(number);
                Pump::new(stream, receives, sends, false)
            })
            .collect();
        run(&mut pumps, &compute_pattern, LIMIT);
        // The connections stay open until the tenants have everything.
        pumps
    });

    let token = program.token("novnc", port, 600);
    let target = format!("/?token={token}");
    let mut pumps: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut client = Client::upgrade(program.address, &target, &[]);
            setsockopt(&client.stream, sockopt::RcvBuf, &SOCKET_BUFFER).unwrap();
            client.rfb_handshake();
            let (sends, receives) = streams(number);
            Pump::new(client.stream, sends, receives, true)
        })
        .collect();
    let stalled_until = Instant::now() + STALL;
    for pump in pumps.iter_mut().step_by(2) {
        pump.stalled_until = Some(stalled_until);
    }
    run(&mut pumps, &pattern, LIMIT);
    let computes = compute.join().unwrap();
    assert!(computes.iter().all(Pump::is_done));
    assert!(Instant::now() >= stalled_until, "nobody waited for the stalled half");

    let peak = program.peak_memory();
    let allowed = Limits::default().buffer_bytes_max(SESSIONS as u64) + PROGRAM_BYTES;
    assert!(peak <= allowed, "peak memory {peak} bytes, the limits imply at most {allowed}");
    println!("{SESSIONS} sessions on {engine}: peak memory {} KiB of {} KiB", peak / 1024, allowed / 1024);
}

/// What the tenant sends and what it receives. Sessions differ by where their bytes start, so a byte that
/// went to another session's socket is found.
fn streams(number: usize) -> (Stream, Stream) {
    (Stream::new(number * 7_919, FROM_TENANT), Stream::new(500_000 + number * 104_729, FROM_COMPUTE))
}
