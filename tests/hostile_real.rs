//! The whole program among clients and hypervisors that mean it harm: how soon each is cut off, what it costs in
//! memory and processor time, and that a neighbour's console never notices. Each of them on both engines, over
//! plain connections and TLS.
//!
//! Needs openssl, HAProxy and MariaDB; `scripts/install` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/balancer.rs"]
mod balancer;
#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "proxy/compute.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod compute;
#[path = "proxy/pair.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod pair;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;

#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod service;

#[path = "hostile/arena.rs"]
mod arena;
#[path = "hostile/computes.rs"]
mod computes;
#[path = "hostile/crowds.rs"]
mod crowds;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/heads.rs"]
mod heads;
#[path = "hostile/soak.rs"]
mod soak;
