//! The port check over the real message bus: a RabbitMQ node of the test's own, answered by the real
//! oslo.messaging server library with Nova's objects, and by a peer that answers with any bytes.
//!
//! Needs RabbitMQ, and a Python with the package `nova` (`CONSOLEGATE_TEST_PYTHON`, else
//! `target/test-python/bin/python`); `scripts/install` installs both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "common/messaging.rs"]
mod messaging;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod service;

#[path = "rpc/broker.rs"]
mod broker;
#[path = "rpc/calls.rs"]
mod calls;
#[path = "rpc/faults.rs"]
mod faults;
#[path = "rpc/peers.rs"]
mod peers;
#[path = "rpc/tls.rs"]
mod tls;
#[path = "rpc/urls.rs"]
mod urls;
#[path = "rpc/wire.rs"]
mod wire;
