//! What tells an engine that there is something to read: nothing that it says once only may be missed.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::uring::UringEngine;
use consolegate::engine::{Engine, Event, PipeBudget, Seat, SessionId};
use consolegate::session::{Input, Limits, Output, Side};

use super::harness::{PATIENCE, Proxy, compute, echo};

on_both_engines! {
    the_last_bytes_and_the_end_behind_them_both_arrive,
    bytes_that_come_while_a_write_waits_are_read_behind_it,
    a_crowd_that_comes_and_goes_gets_every_byte,
    what_nobody_reads_yet_does_not_go_on_waking_the_worker,
    bytes_that_find_no_pipe_are_read_at_once,
}

fn the_last_bytes_and_the_end_behind_them_both_arrive(engine: &str) {
    let go = Arc::new(Barrier::new(2));
    let told = Arc::clone(&go);
    let source = compute(move |mut stream| {
        // Read by itself, so that the worker waits for more when the rest comes.
        stream.write_all(b"first").unwrap();
        told.wait();
        stream.write_all(b"last").unwrap();
    });
    let proxy = Proxy::start(engine, source, |_| ());
    for pause_us in (0..40).map(|number| number * 50) {
        let mut client = proxy.open();
        assert_eq!(client.read_frame(), (0x82, b"first".to_vec()));
        let held = proxy.hold();
        go.wait();
        // Bytes and FIN together, or the one before the other.
        thread::sleep(Duration::from_micros(pause_us));
        drop(held);
        assert_eq!(client.read_frame(), (0x82, b"last".to_vec()));
        assert_eq!(client.read_frame().0, 0x88, "after {pause_us} us");
    }
    proxy.wait_for_rest();
}

fn bytes_that_come_while_a_write_waits_are_read_behind_it(engine: &str) {
    /// Once a write has waited this long, everything between the ends is full.
    const FULL: Duration = Duration::from_millis(500);
    let (tell, told) = mpsc::channel();
    let source = compute(move |mut stream| {
        stream.set_write_timeout(Some(FULL)).unwrap();
        let mut sent = 0;
        // Slower than the worker reads, so that it has emptied the socket when its write begins to wait.
        while let Ok(len) = stream.write(&[0x5a; 8_192]) {
            sent += len;
            thread::sleep(Duration::from_micros(200));
        }
        tell.send((sent, stream)).unwrap();
    });
    let proxy = Proxy::start(engine, source, |_| ());
    for _ in 0..3 {
        let mut client = proxy.open();
        // Nothing comes behind these bytes that would be told anew.
        let (sent, compute) = told.recv_timeout(PATIENCE).unwrap();
        let mut left = sent;
        while left > 0 {
            let (first, payload) = client.read_frame();
            assert!(first == 0x82 && payload.iter().all(|byte| *byte == 0x5a));
            left -= payload.len();
        }
        drop((client, compute));
    }
    proxy.wait_for_rest();
}

fn a_crowd_that_comes_and_goes_gets_every_byte(engine: &str) {
    const SESSIONS: usize = 24;
    // More than it takes to call it a crowd, or a few.
    const ROUNDS: u8 = 60;
    let proxy = Proxy::start(engine, echo(), |_| ());
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| proxy.open()).collect();
    for (turn, sessions) in [SESSIONS, 1, SESSIONS, 2, SESSIONS].into_iter().enumerate() {
        for round in 0..ROUNDS {
            let message = [round, u8::try_from(turn).unwrap()].repeat(50);
            let held = proxy.hold();
            clients[..sessions].iter_mut().for_each(|client| client.frame(2, &message));
            drop(held);
            for client in &mut clients[..sessions] {
                let mut got = Vec::new();
                while got.len() < message.len() {
                    let (first, payload) = client.read_frame();
                    assert_eq!(first, 0x82);
                    got.extend(payload);
                }
                assert_eq!(got, message, "turn {turn}, round {round}");
            }
        }
    }
    drop(clients);
    proxy.wait_for_rest();
}

/// An engine without a worker, and where it listens.
pub(crate) fn bare(engine: &str, limits: &Limits) -> (Box<dyn Engine>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (seat, pipes) = (Seat::among(1).remove(0), PipeBudget::new(limits));
    let engine: Box<dyn Engine> = if engine == "io_uring" {
        Box::new(UringEngine::new(listener, seat, limits, pipes).unwrap())
    } else {
        Box::new(EpollEngine::new(listener, seat, limits, pipes).unwrap())
    };
    (engine, address)
}

/// One turn of at most `limit`.
pub(crate) fn events(engine: &mut dyn Engine, limit: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    engine.wait(Some(engine.now() + limit), &mut events).unwrap();
    events
}

/// Reads until `len` bytes have come.
fn read(engine: &mut dyn Engine, id: SessionId, len: usize) -> Vec<u8> {
    let (mut got, begun) = (Vec::new(), Instant::now());
    assert!(engine.submit(id, Output::Read(Side::Tenant)).is_none());
    while got.len() < len {
        assert!(begun.elapsed() < PATIENCE, "{got:?}");
        for event in events(engine, PATIENCE) {
            let Event::Completed { input: Input::Received { chunk, .. }, .. } = event else { continue };
            got.extend(chunk.bytes());
            engine.submit(id, Output::Recycle(chunk));
            if got.len() < len {
                assert!(engine.submit(id, Output::Read(Side::Tenant)).is_none());
            }
        }
    }
    got
}

/// A connection to the engine, and its end there.
pub(crate) fn connected(engine: &mut dyn Engine, address: SocketAddr) -> (TcpStream, SessionId) {
    let client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    loop {
        if let Some(Event::Accepted { id, .. }) = events(engine, PATIENCE).pop() {
            return (client, id);
        }
    }
}

/// What comes next for the connection.
fn next_input(engine: &mut dyn Engine, of: SessionId) -> Input {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        for event in events(engine, PATIENCE) {
            if let Event::Completed { id, input } = event {
                assert_eq!(id, of);
                return input;
            }
        }
    }
    panic!("nothing came");
}

/// As when one relay waits for more of a bulk phase, and another takes the last pipe meanwhile.
fn bytes_that_find_no_pipe_are_read_at_once(engine: &str) {
    let limits = Limits { sessions_max: 4, pipes_max: 1, ..Limits::default() };
    let (mut engine, address) = bare(engine, &limits);
    let engine = &mut *engine;
    let (mut waiting, first) = connected(engine, address);
    let (mut holding, second) = connected(engine, address);
    waiting.write_all(b"copied").unwrap();
    assert_eq!(read(engine, first, 6), b"copied");
    assert!(engine.submit(first, Output::SpliceIn { from: Side::Tenant }).is_none());
    assert!(events(engine, Duration::from_millis(50)).is_empty());
    // The one pipe is full with what nobody takes out of it.
    holding.write_all(b"piped").unwrap();
    assert!(engine.submit(second, Output::SpliceIn { from: Side::Tenant }).is_none());
    assert!(matches!(next_input(engine, second), Input::Piped { len: 5, .. }));
    waiting.write_all(b"late").unwrap();
    let Input::Received { chunk, .. } = next_input(engine, first) else { panic!("not copied") };
    assert_eq!(chunk.bytes(), b"late");
}

/// As when a relay waits to write: it has no read open, and the source sends on.
fn what_nobody_reads_yet_does_not_go_on_waking_the_worker(engine: &str) {
    const SEGMENTS: u8 = 50;
    let (mut engine, address) = bare(engine, &Limits { sessions_max: 4, ..Limits::default() });
    let engine = &mut *engine;
    let (mut client, id) = connected(engine, address);
    for _ in 0..3 {
        client.write_all(b"first").unwrap();
        assert_eq!(read(engine, id, 5), b"first");
        let mut sender = client.try_clone().unwrap();
        let sent = thread::spawn(move || {
            for segment in 0..SEGMENTS {
                sender.write_all(&[segment]).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut wakes = 0;
        while !sent.is_finished() {
            assert!(events(engine, Duration::from_millis(20)).is_empty(), "nothing was asked for");
            wakes += 1;
        }
        // Twice it is told, and the ring says that it has stopped; the rest are this test's own limits.
        assert!(wakes < SEGMENTS / 2, "woken {wakes} times by {SEGMENTS} segments");
        assert_eq!(read(engine, id, SEGMENTS.into()), (0..SEGMENTS).collect::<Vec<_>>());
    }
}
