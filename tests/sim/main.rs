//! The simulation: real workers and sessions on [`engine::SimEngine`], a world made from a seed.
//!
//! One seed is one schedule: a virtual clock, tenants, compute nodes and a control thread that behave well
//! or badly, completions in any legal order, and one fault per tenant in a phase of its own. After each
//! step the invariants of [`oracle`] are checked.
//!
//! * `CONSOLEGATE_SIM_SCHEDULES`: how many, instead of 10,000
//! * `CONSOLEGATE_SIM_SEED`: the first seed, instead of 0
//! * `CONSOLEGATE_SIM_TLS`: of so many schedules one is under TLS, instead of 8: real rustls connections at both ends
//!
//! A failure prints its seed, a command that runs that schedule alone, and what happened in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

mod compute;
mod conn;
mod control;
mod coverage;
mod engine;
mod faults;
mod frames;
mod notices;
mod oracle;
mod plan;
mod planted;
mod prng;
mod regressions;
mod script;
#[path = "../common/secrets.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod secrets;
mod splice;
mod tcp;
mod tenant;
mod tls;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use consolegate::engine::{Worker, WorkerSettings};

use crate::conn::Conn;
use crate::control::SimAuthorizer;
use crate::coverage::Coverage;
use crate::engine::SimEngine;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::planted::{BUGS, Bug};
use crate::prng::Prng;
use crate::tls::Sides;

/// Of so many schedules one is recorded.
const RECORDED: u64 = 5;

/// Of so many schedules one is under TLS: the tenants' connections, the compute nodes', or both.
static UNDER_TLS: LazyLock<u64> = LazyLock::new(|| from_env("CONSOLEGATE_SIM_TLS", 8).max(1));

/// What came of one schedule.
struct Outcome {
    violation: Option<Violation>,
    coverage: Coverage,
    trace: Vec<String>,
    /// Messages of recordings
    recorded: usize,
}

/// Runs the schedule of `seed`.
fn run(seed: u64, planted: Option<Bug>, traced: bool, base: Instant) -> Outcome {
    let mut rng = Prng::new(seed);
    let tls = seed % *UNDER_TLS == 3 % *UNDER_TLS;
    let first_fault = plan::fault(tls, &mut rng);
    let mut settings = plan::settings(plan::console_type(first_fault.0, &mut rng), &mut rng);
    let sides = if tls { plan::sides(first_fault.0, &mut rng) } else { Sides::default() };
    tls::prepare(&mut settings, sides, &mut rng);
    if seed.is_multiple_of(RECORDED) {
        settings.record = Some("rec".into());
    }
    let tenants = rng.pick(&[1, 1, 2, 3]);
    let (mut conns, mut known) = (Vec::new(), Vec::new());
    for index in 0..tenants {
        let fault = if index == 0 {
            Some(first_fault)
        } else {
            Some(plan::fault(tls, &mut rng)).filter(|_| rng.one_in(2))
        };
        let (plan, knows) = Plan::new(index, fault, &settings, sides, &mut rng);
        conns.push(Conn::new(index, plan, &mut rng));
        known.push(knows);
    }
    let settings = Arc::new(settings);
    let authorizer = SimAuthorizer::new(known);
    let notices = Arc::clone(&authorizer);
    let mut engine = SimEngine::new(base, rng, conns, authorizer.clone(), settings.clone());
    engine.planted = planted;
    engine.trace = traced.then(Vec::new);
    let shared = WorkerSettings { settings, authorizer, numbers: Arc::new(AtomicU64::new(0)) };
    let mut worker = Worker::new(engine, shared);
    // So that the seed of a panic is known as well.
    let driven = catch_unwind(AssertUnwindSafe(|| drive(&mut worker)));
    let engine = worker.engine_mut();
    if let Err(panic) = driven {
        let literal = panic.downcast_ref::<&str>().copied();
        let said = panic.downcast_ref::<String>().map(String::as_str).or(literal).unwrap_or_default();
        let invariant = if said.starts_with("a secret is shown") { "S1" } else { "panic" };
        engine.violate(invariant, said.to_owned());
    }
    let fault = notices.notices.lock().unwrap().fault();
    if let Some(fault) = fault {
        engine.violate("T1", fault);
    }
    let recorded = notices.notices.lock().unwrap().messages();
    for conn in &engine.conns {
        engine.coverage.splices.add(&conn.splices);
    }
    Outcome {
        violation: engine.violation.take(),
        coverage: std::mem::take(&mut engine.coverage),
        trace: engine.trace.take().unwrap_or_default(),
        recorded,
    }
}

/// Turns the worker until all is over, and checks what is left then.
fn drive(worker: &mut Worker<SimEngine>) {
    let mut stopped_at = None;
    loop {
        let turned = worker.turn();
        let sessions: Vec<_> = worker.sessions().map(|s| (s.number(), s.phase_name())).collect();
        let engine = worker.engine_mut();
        engine.observe(sessions.into_iter());
        if engine.violation.is_some() {
            return;
        }
        let now = engine.now;
        if std::mem::take(&mut engine.shut_down) {
            stopped_at = Some(now);
            worker.handle().shut_down();
            continue;
        }
        match turned {
            Ok(true) if worker.engine_mut().is_over() => break,
            Ok(true) => {}
            Ok(false) => {
                let lasted = now - stopped_at.unwrap_or(now);
                if lasted > Duration::from_millis(1_100) {
                    worker.engine_mut().violate("L3", format!("the worker ended after {lasted:?}"));
                }
                break;
            }
            Err(error) => {
                worker.engine_mut().violate("L3", error.to_string());
                return;
            }
        }
    }
    let live = worker.live();
    let engine = worker.engine_mut();
    if stopped_at.is_none() && (live > 0 || engine.taken_slots() > 0) {
        let slots = engine.taken_slots();
        engine.violate("L3", format!("{live} sessions and {slots} slots are left"));
    }
    let settings = engine.settings.clone();
    let violations: Vec<_> = engine
        .conns
        .iter()
        .filter(|conn| stopped_at.is_none() || conn.is_over(engine.now))
        .filter_map(|conn| oracle::check_end(conn, &settings).err().map(|v| (conn.index, v)))
        .collect();
    for (index, violation) in violations {
        engine.violate(violation.invariant, format!("#{index}: {}", violation.text));
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// What to print of a schedule that failed.
fn report(seed: u64, violation: &Violation, base: Instant) -> String {
    let trace = run(seed, None, true, base).trace.join("\n");
    format!(
        "seed {seed} violates {}: {}\n\n{trace}\n\nTo run it alone:\n  CONSOLEGATE_SIM_SEED={seed} \
         CONSOLEGATE_SIM_SCHEDULES=1 CONSOLEGATE_SIM_TLS={} cargo test --test sim invariants_hold\n",
        violation.invariant, violation.text, *UNDER_TLS
    )
}

#[test]
fn invariants_hold_in_every_schedule() {
    let (first, count) = (from_env("CONSOLEGATE_SIM_SEED", 0), from_env("CONSOLEGATE_SIM_SCHEDULES", 10_000));
    // Only a point to count virtual time from.
    let base = Instant::now();
    let (mut coverage, mut recorded) = (Coverage::default(), 0);
    for seed in first..first.saturating_add(count) {
        let outcome = run(seed, None, false, base);
        if let Some(violation) = outcome.violation {
            panic!("{}", report(seed, &violation, base));
        }
        coverage.add(&outcome.coverage);
        recorded += outcome.recorded;
    }
    // Past the test harness's capture: the table is to be seen when all is well, too.
    let table = format!("{count} schedules from seed {first}\n{}\n", coverage.table());
    std::io::stdout().write_all(table.as_bytes()).unwrap();
    if count >= 10_000 {
        assert_eq!(coverage.missing(), [], "cells that no schedule reached");
        assert!(recorded > 1_000, "only {recorded} messages were recorded");
        assert!(secrets::events() > count, "what sessions trace was not looked at");
        let splices = &coverage.splices;
        assert!(splices.to_splice.min(splices.to_copy) > 100, "too few switches: {}", splices.line());
    }
}

#[test]
fn planted_bugs_are_found() {
    const WITHIN: u64 = 500;
    let base = Instant::now();
    for bug in BUGS {
        let found = (0..WITHIN).find_map(|seed| {
            let violation = run(seed, Some(bug), false, base).violation?;
            bug.is_shown_by(&violation).then_some((seed, violation))
        });
        let (seed, violation) =
            found.unwrap_or_else(|| panic!("{bug:?} was not found in {WITHIN} schedules"));
        assert!(
            run(seed, None, false, base).violation.is_none(),
            "schedule {seed} fails without {bug:?} too"
        );
        println!("{bug:?} found by schedule {seed}: {} {}", violation.invariant, violation.text);
    }
}

#[test]
fn a_seed_is_a_schedule() {
    let base = Instant::now();
    for seed in 0..20 {
        let (first, second) = (run(seed, None, true, base), run(seed, None, true, base));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed} made two different schedules");
    }
}
