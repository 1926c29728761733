//! The control thread from outside: questions in, answers out, on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod common;
mod lifecycle;
mod logs;
mod names;
mod tokens;
mod tool;
mod web_files;
