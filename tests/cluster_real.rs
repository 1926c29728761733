//! Three proxies behind a real HAProxy, each in a network namespace of its own, with one MariaDB, one RabbitMQ and
//! Nova's own compute libraries between them: one of the three is killed in mid-load. Its sessions end at once, the
//! others' never notice, and new ones go on.
//!
//! Needs root for the namespaces; says so where it may not make them. And MariaDB, RabbitMQ, HAProxy, iproute2 and a
//! Python with the package `nova`, as `scripts/install` installs them.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/balancer.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod balancer;
#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "common/messaging.rs"]
mod messaging;
#[path = "rpc/peers.rs"]
#[allow(dead_code, reason = "shared with tests/rpc_real.rs, which uses the rest")]
mod peers;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod service;

#[path = "cluster/lab.rs"]
mod lab;
#[path = "cluster/load.rs"]
mod load;
#[path = "cluster/net.rs"]
mod net;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use lab::Lab;
use load::{Login, Session, carry, keep_logging_in};
use peers::wait_until;

on_both_engines! {
    a_proxy_that_is_killed_takes_nothing_but_its_own_sessions_along,
}

/// Enough that each proxy has a hundred.
const SESSIONS: usize = 300;

/// Threads that carry them: a round of each is as long as its sessions are many.
const THREADS: usize = 6;

/// Logins that have to succeed after the balancer has noticed, and again with the third proxy back.
const LOGINS: usize = 50;

fn a_proxy_that_is_killed_takes_nothing_but_its_own_sessions_along(engine: &str) {
    // Two of these at once would be four services and six proxies.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Threads and processes are in the namespace of the thread that makes them, and the last of them ends it.
    thread::scope(|scope| {
        let inside = scope.spawn(|| match net::leave() {
            Ok(()) => run(engine),
            Err(why) => println!("SKIPPED: network namespaces: {why}"),
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn run(engine: &str) {
    let mut lab = Lab::new(engine);
    let tokens: Vec<_> = (0..10).map(|_| lab.token()).collect();
    let mut sessions: Vec<_> = (0..SESSIONS)
        .map(|number| Session::open(lab.balancer(), &tokens[number % tokens.len()]).unwrap())
        .collect();
    let mut of_proxy = BTreeMap::<IpAddr, usize>::new();
    for session in &sessions {
        *of_proxy.entry(session.proxy).or_default() += 1;
    }
    assert_eq!(of_proxy.len(), lab.proxies(), "{of_proxy:?}");

    let (stop, echoes, logins) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let victim = lab.address(0);
    let (stop, echoes, logins) = (&stop, &echoes, &logins);
    let (carried, killed, gone, noticed, back) = thread::scope(|scope| {
        // Also when an assertion fails in here: the threads have to end before the panic can.
        let _stop = load::StopAtEnd(stop);
        let carrying: Vec<_> = (0..THREADS)
            .map(|left| {
                let part = sessions.split_off(sessions.len() - sessions.len() / (THREADS - left));
                scope.spawn(move || carry(part, stop, echoes))
            })
            .collect();
        let (address, tokens) = (lab.balancer(), &tokens);
        scope.spawn(move || keep_logging_in(address, tokens, stop, logins));
        let more_echoes = |rounds: u64| {
            let goal = echoes.load(Ordering::Relaxed) + rounds * SESSIONS as u64;
            wait_until("the sessions go on", || echoes.load(Ordering::Relaxed) >= goal);
        };
        let more_logins = |what: &str, condition: &dyn Fn(&Login) -> bool| {
            let from = logins.lock().unwrap().len();
            wait_until(what, || {
                logins.lock().unwrap()[from..].iter().filter(|login| condition(login)).count() >= LOGINS
            });
        };
        more_echoes(20);
        let killed = Instant::now();
        lab.end(0, Signal::SIGKILL);
        let gone = Instant::now();
        wait_until("the balancer notices", || lab.balancer_says(0) == "DOWN");
        let noticed = Instant::now();
        more_logins("logins after it was noticed", &|_| true);
        more_echoes(20);
        // Another takes its place, and gets its share.
        lab.start(0);
        wait_until("the balancer takes it back", || lab.balancer_says(0) == "UP");
        let back = Instant::now();
        more_logins("logins at the new one", &|login| login.outcome == Ok(victim));
        more_echoes(5);
        stop.store(true, Ordering::Relaxed);
        let carried: Vec<_> = carrying.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (carried, killed, gone, noticed, back)
    });

    assert_eq!(carried.len(), SESSIONS);
    let (theirs, others): (Vec<_>, Vec<_>) = carried.iter().partition(|session| session.proxy == victim);
    for session in &others {
        assert!(session.end.is_none(), "a session at {} noticed: {:?}", session.proxy, session.end);
    }
    let mut last_end = Duration::ZERO;
    for session in &theirs {
        let (at, how) = session.end.as_ref().expect("a session outlived its proxy");
        assert!(*at >= killed, "{how}, before anything happened");
        last_end = last_end.max(at.duration_since(killed));
    }
    let logins = logins.lock().unwrap();
    for login in &*logins {
        // One that was at the proxy that moment is lost with it; one that is refused there goes to another.
        let was_there = login.begun <= gone && login.ended >= killed;
        assert!(login.outcome.is_ok() || was_there, "{login:?}; killed {killed:?}, gone {gone:?}");
    }
    let lost = logins.iter().filter(|login| login.outcome.is_err()).count();
    let meanwhile = logins.iter().filter(|login| login.begun > killed && login.begun < noticed).count();
    let worst = others.iter().map(|session| session.worst).max().unwrap();
    println!(
        "{engine}: {} of {SESSIONS} sessions ended with their proxy, the last after {last_end:?}; the others' worst \
         echo took {worst:?} of {} echoes; {} logins, {lost} of them lost at the kill, {meanwhile} begun in the {:?} \
         until the balancer noticed; the proxy was back after {:?}",
        theirs.len(),
        echoes.load(Ordering::Relaxed),
        logins.len(),
        noticed.duration_since(killed),
        back.duration_since(killed),
    );
}
