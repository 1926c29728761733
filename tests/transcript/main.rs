//! Conversations with both sides as text, one file per case, to be read without Rust.
//!
//! `compute> "..."` is what the compute node sends and `compute< "..."` what it is sent; the same for
//! the tenant. `compute> end` closes its stream, `time-out` fires the deadline. Every message sent must
//! be listed, in order for each side, before the next input. A case ends with `close "..."`, the
//! failure as the log shows it, or with `relay`, behind which stand the bytes that the relay gets.
//! Text escapes are `\n \r \0 \" \\ \xNN`; `"x" * 3` repeats and `+` joins. `#` starts a comment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod rfb;
mod script;
