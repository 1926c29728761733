//! What is left of connections that are over.

use std::fs;

use consolegate::engine::{Event, uring};
use consolegate::session::{CloseReason, Limits, Output};

use super::harness::PATIENCE;
use super::readiness::{bare, connected, events};

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
    const CONNECTIONS: usize = 1_500;
    /// Other tests have sockets at the same time.
    const OTHERS: usize = 700;
    let keeps = engine == "io_uring" && matches!(uring::probe(), Err(uring::Unavailable::KeepsFiles));
    let (mut engine, address) = bare(engine, &Limits { sessions_max: 4, ..Limits::default() });
    let before = held();
    for _ in 0..CONNECTIONS {
        let (client, id) = connected(&mut *engine, address);
        engine.submit(id, Output::Close(CloseReason::TenantEnded));
        drop(client);
        while !events(&mut *engine, PATIENCE).iter().any(|event| matches!(event, Event::Released { .. })) {}
    }
    let after = held();
    println!("{before} sockets before, {after} after {CONNECTIONS}; to be kept: {keeps}");
    assert_eq!(after > before + OTHERS, keeps, "{before} sockets before, {after} after {CONNECTIONS}");
}
