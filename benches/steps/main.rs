//! `cargo bench --bench steps`: what one step of the relay costs, on one thread, without any wake-up.
//!
//! A step: bytes wait in one socket of each of `m` sessions; they are moved, framed or unmasked, into the
//! other. The relays take turns step by step, so what disturbs one disturbs all. Reported are medians in
//! microseconds per session and step; nothing here fails because it was slow. With `--quick` the figures
//! only show that the bench works. `--only=NAME`, as often as wanted, leaves the other relays out, for profiles.
//!
//! * `recv+send`: the two calls alone, which nothing that relays can undercut
//! * `raw relay`: the least that serves many sockets: epoll, then the two calls, no framing
//! * `epoll raw`, `io_uring raw`: the program's engines, without sessions and frames
//! * `epoll`, `epoll splice`, ...: the program's worker on its engines, sessions and all

#![allow(clippy::unwrap_used, reason = "a bench says what it expects")]

use std::time::{Duration, Instant};

mod counted;
mod harness;
mod idle;
mod ours;
mod raw;
mod report;
mod unframed;

use harness::{Direction, Relay};
use report::{Cell, Report};

/// How long the steps of one cell may take all together.
const CELL_TIME: Duration = Duration::from_millis(1_500);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let _most = consolegate::engine::descriptors::raise();
    if let [_, argument, engine, sessions] = words.as_slice()
        && argument == idle::ARGUMENT
    {
        return idle::measure(engine, sessions.parse().unwrap());
    }
    let quick = words.iter().any(|word| word == "--quick");
    let only: Vec<_> = words.iter().filter_map(|word| word.strip_prefix("--only=")).collect();
    let mut report = Report::default();
    for (direction, sessions, sizes) in [
        (Direction::ToTenant, 1, &[64, 1_024, 4_096, 16_384, report::ONE_SEGMENT, 65_536, 262_144][..]),
        (Direction::ToTenant, 32, &[64, 1_024, 4_096, 16_384, 65_536]),
        (Direction::ToCompute, 1, &[8, 1_024, 16_384]),
    ] {
        let mut relays = relays(sessions);
        relays.retain(|relay| only.is_empty() || only.contains(&relay.name()));
        harness::settle(&mut relays);
        for size in sizes {
            report.add(cell(&mut relays, direction, sessions, *size, quick));
        }
    }
    report.print();
    idle::report(if quick { 50 } else { 1_000 });
}

fn relays(sessions: usize) -> Vec<Box<dyn Relay>> {
    let mut relays: Vec<Box<dyn Relay>> =
        vec![Box::new(raw::Raw::new(sessions, false)), Box::new(raw::Raw::new(sessions, true))];
    relays.extend(unframed::all(sessions));
    relays.extend(ours::all(sessions));
    relays
}

fn cell(
    relays: &mut [Box<dyn Relay>],
    direction: Direction,
    sessions: usize,
    size: usize,
    quick: bool,
) -> Cell {
    let steps = if quick { 10 } else { 1_000 };
    let mut samples = vec![Vec::new(); relays.len()];
    let mut switches = vec![0; relays.len()];
    let begun = Instant::now();
    for number in 0..steps {
        // Forwards and backwards by turns, so that nobody always finds the caches as one other left them.
        let count = relays.len();
        for place in 0..count {
            let index = if number % 2 == 0 { place } else { count - 1 - place };
            let (time, switched) = harness::step(relays[index].as_mut(), direction, size);
            // The first ones find out that the direction is bulk, and fault their memory in.
            if number >= steps / 10 {
                samples[index].push(time);
                switches[index] += switched;
            }
        }
        if begun.elapsed() > CELL_TIME && number > steps / 5 {
            break;
        }
    }
    let names = relays.iter().map(|relay| relay.name());
    let medians = names.zip(samples).zip(switches).map(|((name, mut samples), switches)| {
        samples.sort_unstable();
        let bytes = samples.len() * sessions * size;
        let median = samples[samples.len() / 2].as_secs_f64() * 1e6 / sessions as f64;
        report::Median { name, us: median, switches_per_gb: switches as f64 / (bytes as f64 / 1e9) }
    });
    Cell { direction, sessions, size, medians: medians.collect() }
}
