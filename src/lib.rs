//! consolegate: a drop-in replacement for the console proxies of `OpenStack` Nova.
//!
//! A browser (the *tenant*) speaks HTTP, WebSocket and RFB to us; we speak RFB, SPICE or a serial
//! stream to a hypervisor (the *compute* node); Nova's cell database and message bus say who may see
//! what. The crate is layered, and imports go one way only (`tests/tidy.rs` checks it):
//!
//! * [`proto`]: sans-IO protocol machines. Bytes in, bytes out: no sockets, clocks, threads or logs.
//! * [`session`]: one console session composed from `proto`. Still no I/O: [`session::Input`]s go in,
//!   [`session::Output`]s come out, time is an argument.
//! * [`engine`]: performs the outputs and produces the inputs. The only layer that makes system calls
//!   on the data path; one implementation per kernel interface behind [`engine::Engine`].
//! * [`control`]: the slow path on its own thread: configuration, the token lookup, name
//!   resolution, web files. It reaches the workers only through [`session::Authorizer`].
//! * [`telemetry`]: logs, in the form of oslo.log.
//! * [`sandbox`]: what the process gives up once it has started.
//!
//! `docs/ARCHITECTURE.md` tells the life of one session.
#![deny(unsafe_code)]

pub mod console;
#[cfg(feature = "control")]
pub mod control;
pub mod engine;
pub mod proto;
#[cfg(feature = "control")]
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod telemetry;
