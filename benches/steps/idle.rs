//! What idle sessions cost in process memory, the descriptors of their other ends included.

use std::fs;
use std::process::Command;

use consolegate::engine::Engine;

use crate::ours::{Ours, epoll, has_uring, uring};
use crate::report::Row;

/// The argument that makes a process of this program measure one engine.
pub(crate) const ARGUMENT: &str = "--idle";

/// So that what a process allocates once is not counted.
const WARM_SESSIONS: usize = 8;

/// Measures every engine in a process of its own: memory that others have freed would hide what is needed.
pub(crate) fn report(sessions: usize) {
    println!("idle sessions: {sessions}");
    for engine in ["epoll", "io_uring"] {
        if engine == "epoll" || has_uring() {
            let arguments = [ARGUMENT, engine, &sessions.to_string()];
            let status = Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap();
            assert!(status.success(), "{engine}: {status}");
        }
    }
}

/// Such a process.
pub(crate) fn measure(engine: &str, sessions: usize) {
    if engine == "epoll" {
        one("epoll", sessions, Ours::new("epoll", WARM_SESSIONS, true, epoll));
    } else {
        one("io_uring", sessions, Ours::new("io_uring", WARM_SESSIONS, true, uring));
    }
}

fn one<E: Engine>(engine: &'static str, sessions: usize, mut ours: Ours<E>) {
    let before = anonymous_memory();
    ours.open(sessions);
    let value = (anonymous_memory() as f64 - before as f64) / sessions as f64;
    let what = "idle session, bytes, in process";
    Row { row: "12", what, engine, value, hold: Some(1024.0), stretch: Some(512.0) }.print();
}

/// Bytes of this process that are no file's.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}
