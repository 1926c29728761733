//! Connects that fail, wait, or are given up.

use std::fmt::Debug;
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeBounds;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};

use super::client::End;
use super::harness::{self, PATIENCE, Proxy};

on_both_engines! {
    a_compute_node_that_refuses_ends_the_session,
    a_compute_node_that_does_not_answer_ends_the_session_in_time,
    a_tenant_that_leaves_cancels_the_connect,
    an_address_that_swallows_everything_leaves_the_others_their_time,
}

/// A compute node whose queue is full: it neither takes nor refuses a connection.
struct Silent {
    address: SocketAddr,
    _listener: std::os::fd::OwnedFd,
    _queued: Vec<TcpStream>,
}

impl Silent {
    fn new() -> Self {
        let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let port = getsockname::<SockaddrIn>(listener.as_raw_fd()).unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// Waits until so many sockets are there. What the queue of a silent node holds counts too, and the kernel resets
/// some of that after a while, so the number at the start is an upper bound at the end.
fn wait_for_sockets(proxy: &Proxy, wanted: impl RangeBounds<usize> + Debug) {
    let until = Instant::now() + PATIENCE;
    while !wanted.contains(&proxy.sockets()) {
        assert!(Instant::now() < until, "{} sockets instead of {wanted:?}", proxy.sockets());
        thread::sleep(Duration::from_millis(10));
    }
}

fn a_compute_node_that_refuses_ends_the_session(engine: &str) {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(engine, dead, |_| ());
    for _ in 0..100 {
        assert_eq!(proxy.open().rest(), (vec![0x88, 0], End::Fin));
    }
    proxy.wait_for_rest();
}

fn a_compute_node_that_does_not_answer_ends_the_session_in_time(engine: &str) {
    let silent = Silent::new();
    let proxy = Proxy::start(engine, silent.address, |limits| limits.connect_timeout_ms = 400);
    let queued = proxy.sockets();
    let before = Instant::now();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.open()).collect();
    for client in &mut clients {
        assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
    }
    let took = before.elapsed();
    assert!((400..5_000).contains(&took.as_millis()), "{took:?}");
    drop(clients);
    wait_for_sockets(&proxy, ..=queued);
}

fn an_address_that_swallows_everything_leaves_the_others_their_time(engine: &str) {
    let silent = Silent::new();
    let addresses = [silent.address, silent.address, harness::echo()];
    let proxy = Proxy::start_with(engine, &addresses, |limits| limits.connect_timeout_ms = 6_000);
    let before = Instant::now();
    let mut clients: Vec<_> = (0..5).map(|_| proxy.open()).collect();
    for client in &mut clients {
        client.frame(2, b"hello");
        assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()));
    }
    // Two of the three addresses take their shares, two seconds each.
    assert!(before.elapsed() >= Duration::from_secs(4), "{:?}", before.elapsed());
}

fn a_tenant_that_leaves_cancels_the_connect(engine: &str) {
    let silent = Silent::new();
    let proxy = Proxy::start(engine, silent.address, |_| ());
    let queued = proxy.sockets();
    let clients: Vec<_> = (0..20).map(|_| proxy.open()).collect();
    wait_for_sockets(&proxy, 40..);
    let before = Instant::now();
    drop(clients);
    wait_for_sockets(&proxy, ..=queued);
    let took = before.elapsed();
    assert!(took < Duration::from_secs(8), "the connects ran into their time limit: {took:?}");
}
