//! What is left of connections that are over.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::uring::{self, UringEngine};
use consolegate::engine::{Engine, Event, PipeBudget, Seat};
use consolegate::session::{CloseReason, Limits, Output};

use super::harness::PATIENCE;
use super::readiness::{connected, events};

on_both_engines! {
    nothing_of_a_closed_connection_stays_in_the_kernel,
}

/// TCP sockets that the kernel holds memory for, whoever has them.
fn held() -> usize {
    let stat = fs::read_to_string("/proc/net/sockstat").unwrap();
    let tcp = stat.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap();
    let mut words = tcp.split_whitespace().skip_while(|word| *word != "alloc");
    words.nth(1).unwrap().parse().unwrap()
}

/// A kernel that does keep them is one on which `auto` takes the other engine, and for that reason.
fn nothing_of_a_closed_connection_stays_in_the_kernel(engine: &str) {
    let limits = Limits { sessions_max: 4, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (seat, pipes) = (Seat::among(1).remove(0), PipeBudget::new(&limits));
    if engine == "io_uring" {
        let keeps = matches!(uring::probe(), Err(uring::Unavailable::KeepsFiles));
        println!("the ring keeps closed sockets: {keeps}");
        come_and_go(UringEngine::new(listener, seat, &limits, pipes).unwrap(), address, keeps);
    } else {
        come_and_go(EpollEngine::new(listener, seat, &limits, pipes).unwrap(), address, false);
    }
}

fn come_and_go(mut engine: impl Engine, address: SocketAddr, keeps: bool) {
    const CONNECTIONS: usize = 1_500;
    /// Other tests have sockets at the same time.
    const OTHERS: usize = 700;
    let before = held();
    for _ in 0..CONNECTIONS {
        let (client, id) = connected(&mut engine, address);
        engine.submit(id, Output::Close(CloseReason::TenantEnded));
        drop(client);
        while !events(&mut engine, PATIENCE).iter().any(|event| matches!(event, Event::Released { .. })) {}
    }
    let after = held();
    println!("{before} sockets before, {after} after {CONNECTIONS}");
    assert_eq!(after > before + OTHERS, keeps, "{before} sockets before, {after} after {CONNECTIONS}");
}
