//! What idle sessions cost in this process's memory, both their other ends included.

use std::fs;

use consolegate::engine::Engine;

use crate::ours::{Ours, epoll, has_uring, uring};
use crate::report::Row;

pub(crate) fn report(sessions: usize) {
    println!("idle sessions: {sessions}");
    one("epoll", sessions, Ours::new("epoll", WARM_SESSIONS, true, epoll));
    if has_uring() {
        one("io_uring", sessions, Ours::new("io_uring", WARM_SESSIONS, true, uring));
    }
}

/// So that what a process allocates once is not counted.
const WARM_SESSIONS: usize = 8;

fn one<E: Engine>(engine: &'static str, sessions: usize, mut ours: Ours<E>) {
    let before = anonymous_memory();
    ours.open(sessions);
    let each = (anonymous_memory() as f64 - before as f64) / sessions as f64;
    println!("  {engine}: {each:.0} bytes each");
    Row {
        row: "12",
        what: "idle session, bytes, in process",
        engine,
        value: each,
        hold: 1024.0,
        stretch: Some(512.0),
    }
    .print();
}

/// Bytes of this process that are no file's.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}
