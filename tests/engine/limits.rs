//! How many connections are taken, and when no more are.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use super::client::request;
use super::harness::{Proxy, TARGET, echo};

on_both_engines! {
    connections_beyond_the_limit_wait_for_a_slot,
    nobody_is_accepted_any_more_once_the_worker_ends,
}

fn connections_beyond_the_limit_wait_for_a_slot(engine: &str) {
    const SLOTS: usize = 3;
    let proxy = Proxy::start(engine, echo(), |limits| limits.sessions_max = SLOTS as u64);
    for _ in 0..10 {
        let mut first: Vec<_> = (0..SLOTS).map(|_| proxy.open()).collect();
        let mut waiting: Vec<_> = (0..SLOTS)
            .map(|_| {
                let mut client = super::client::Client::connect(proxy.address);
                client.send(request(TARGET, &[]).as_bytes());
                client
            })
            .collect();
        for client in &mut waiting {
            client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let error = client.stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "it was served");
            client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        assert_eq!(proxy.live(), SLOTS);
        // The sessions that hold the slots are as alive as before.
        for client in &mut first {
            client.frame(2, b"still here");
            assert_eq!(client.read_frame(), (0x82, b"still here".to_vec()));
        }
        drop(first);
        for client in &mut waiting {
            assert!(client.head().starts_with("HTTP/1.1 101 "));
        }
    }
    proxy.wait_for_rest();
}

fn nobody_is_accepted_any_more_once_the_worker_ends(engine: &str) {
    let proxy = Proxy::start(engine, echo(), |_| ());
    let (address, mut client) = (proxy.address, proxy.open());
    client.frame(2, b"x");
    assert_eq!(client.read_frame(), (0x82, b"x".to_vec()));
    proxy.end();
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
