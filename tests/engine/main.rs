//! The engines with a real worker on real sockets, in this process: slots, operations, buffers and limits,
//! which the whole program shows from outside only. The control thread is a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[macro_use]
#[path = "../common/engines.rs"]
mod engines;

#[path = "../proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy")]
mod client;

mod closed;
mod connects;
mod handshakes;
#[allow(dead_code, reason = "shared with tests/steady_state.rs, which uses the rest")]
mod harness;
mod limits;
mod pressure;
mod readiness;
#[path = "../common/secrets.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod secrets;
mod spread;
mod storms;
#[path = "../steady/tls.rs"]
#[allow(dead_code, reason = "shared with tests/steady_state.rs, which uses the rest")]
mod tls;

/// Whatever a worker traces from now on is looked at.
fn before_start() {
    secrets::issue_token(harness::TARGET.trim_start_matches("/?token="));
    secrets::watch();
}

on_both_engines! {
    what_a_worker_traces_is_looked_at,
}

fn what_a_worker_traces_is_looked_at(engine: &str) {
    let proxy = harness::Proxy::start(engine, harness::echo(), |_| ());
    let before = secrets::events();
    drop(proxy.open());
    proxy.end();
    assert!(secrets::events() > before + 3, "too few events of a session: {}", secrets::events() - before);
    let shows = std::thread::spawn(|| tracing::trace!("looked up {}", harness::TARGET));
    shows.join().expect_err("a token was traced");
}
