//! The real program, end to end: started as `nova-novncproxy` with its own configuration and an SQLite cell
//! database that the token tool made, between test clients and compute nodes on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[macro_use]
#[path = "../common/engines.rs"]
mod engines;

mod admin;
mod balancer;
mod bounds;
mod bulk;
mod client;
mod command_lines;
mod completion;
mod compute;
mod compute_tls;
mod daemon;
mod denied;
mod descriptors;
mod duplex;
mod guest;
mod haproxy;
mod kernel_tls;
mod lifetime;
mod live;
mod pair;
mod pki;
mod program;
mod pump;
mod record;
mod refusals;
mod relay;
mod rfb_33;
mod sandbox;
mod screen;
mod serial;
mod session_lines;
mod signals;
mod spice;
mod spread;
mod startup;
mod suites;
mod syscalls;
mod thousand;
mod tls;
mod tunnel;
mod vencrypt;
mod vnc_password;
mod web;
mod wiped;
