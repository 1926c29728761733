//! The whole program between a real MariaDB, a real RabbitMQ and Nova's own compute libraries, when each of them
//! goes: what a session costs meanwhile, what the log says, and that all is well afterwards without a restart. A
//! session that was open before never notices.
//!
//! Needs MariaDB, RabbitMQ, and a Python with the package `nova` (`CONSOLEGATE_TEST_PYTHON`, else
//! `target/test-python/bin/python`); `scripts/install` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

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
mod service;

#[path = "outage/confined.rs"]
mod confined;
#[path = "outage/faults.rs"]
mod faults;
#[path = "outage/logins.rs"]
mod logins;
#[path = "outage/world.rs"]
mod world;
