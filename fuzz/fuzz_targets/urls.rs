//! Database and transport URLs.
#![no_main]

use consolegate::{console, secret, session};

#[path = "../invariants/control/mod.rs"]
mod control;
#[path = "../invariants/urls.rs"]
mod urls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| urls::urls(data));
