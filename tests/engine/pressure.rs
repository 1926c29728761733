//! More work at once than there are buffers, and peers that do not take what is sent.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::{PATIENCE, Proxy, compute, echo};

on_both_engines! {
    more_ready_sockets_than_buffers_are_all_served,
    bulk_arrives_whole_and_in_order,
    a_stalled_reader_does_not_keep_its_session,
    a_stalled_reader_does_not_hold_up_others,
    the_worker_ends_with_a_write_under_way,
}

fn more_ready_sockets_than_buffers_are_all_served(engine: &str) {
    // Messages small enough to be read into the ring's buffers, of which there are fewer than sessions, as often as it
    // takes until sessions are read by the ring.
    const SESSIONS: usize = 150;
    let proxy = Proxy::start(engine, echo(), |_| ());
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| proxy.open()).collect();
    for round in 0..8_u8 {
        // All sockets have bytes when the worker next looks: some first reads, some that were parked.
        let held = proxy.hold();
        for client in &mut clients {
            client.frame(2, &[round; 4_000]);
        }
        drop(held);
        for client in &mut clients {
            let mut received = 0;
            while received < 4_000 {
                let (first, payload) = client.read_frame();
                assert_eq!(first, 0x82);
                assert!(payload.iter().all(|byte| *byte == round));
                received += payload.len();
            }
            assert_eq!(received, 4_000);
        }
    }
    drop(clients);
    proxy.wait_for_rest();
    assert_eq!(proxy.starvations() > 0, engine == "io_uring", "there were buffers for all");
}

fn bulk_arrives_whole_and_in_order(engine: &str) {
    const NUMBERS: u32 = 4_000_000;
    let source = compute(|mut stream| {
        let bytes: Vec<u8> = (0..NUMBERS).flat_map(u32::to_le_bytes).collect();
        stream.write_all(&bytes).unwrap();
    });
    let proxy = Proxy::start(engine, source, |_| ());
    let mut client = proxy.open();
    let (mut next, mut rest) = (0_u32, Vec::new());
    while next < NUMBERS {
        let (first, payload) = client.read_frame();
        assert_eq!(first, 0x82, "after {next} numbers");
        rest.extend_from_slice(&payload);
        let whole = rest.len() / 4 * 4;
        for number in rest[..whole].chunks_exact(4) {
            assert_eq!(number, next.to_le_bytes());
            next += 1;
        }
        rest.drain(..whole);
    }
    assert_eq!(client.read_frame().0, 0x88);
}

/// A compute node that sends without end.
fn flood() -> std::net::SocketAddr {
    compute(|mut stream| while stream.write_all(&[0x33; 65_536]).is_ok() {})
}

fn a_stalled_reader_does_not_keep_its_session(engine: &str) {
    let proxy = Proxy::start(engine, flood(), |_| ());
    let clients: Vec<_> = (0..10).map(|_| proxy.open()).collect();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(proxy.live(), 10);
    // Closing with unread bytes sends RST: the write that waits fails, or is cancelled with the session.
    drop(clients);
    proxy.wait_for_rest();
}

fn a_stalled_reader_does_not_hold_up_others(engine: &str) {
    let first_floods = std::sync::atomic::AtomicUsize::new(0);
    let node = compute(move |mut stream| {
        if first_floods.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 40 {
            while stream.write_all(&[0x33; 65_536]).is_ok() {}
        } else {
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                stream.write_all(&byte).unwrap();
            }
        }
    });
    let proxy = Proxy::start(engine, node, |_| ());
    // More of them than the ring has buffers, each with a full write waiting.
    let _stalled: Vec<_> = (0..40).map(|_| proxy.open()).collect();
    thread::sleep(Duration::from_millis(500));
    let mut client = proxy.open();
    for key in 0..100 {
        client.frame(2, &[key]);
        assert_eq!(client.read_frame(), (0x82, vec![key]));
    }
}

fn the_worker_ends_with_a_write_under_way(engine: &str) {
    let proxy = Proxy::start(engine, flood(), |_| ());
    let _stalled: Vec<_> = (0..10).map(|_| proxy.open()).collect();
    thread::sleep(Duration::from_millis(500));
    let before = Instant::now();
    let took = proxy.end();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(before.elapsed() < PATIENCE);
}
