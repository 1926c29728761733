//! WebSocket framing for the server side (RFC 6455 sections 5 and 7).
//!
//! * [`Deframer`] turns the tenant's bytes into [`Event`]s. It hands payload out in the pieces in which
//!   it arrives and never collects a frame or a message, so what it keeps does not depend on any length
//!   that the tenant declares.
//! * [`FrameHeader`] and the constructors [`ping`], [`pong`], [`close()`], [`close_echo`] and
//!   [`close_empty`] make the bytes that go back.
//! * [`Outgoing`] is the order of what goes back: one pong owed at most, nothing behind a Close.
//!
//! Out of scope: the opening handshake (`proto::http`), extensions (none is ever negotiated, so every
//! reserved bit is an error), the client's role, and time. The closing handshake's time limit and the
//! TCP close behind it belong to the session.

mod close;
mod control;
mod deframer;
mod error;
mod header;
mod mask;
mod mask_avx2;
mod message;
mod opcode;
mod outgoing;
mod utf8;

pub use close::{CloseFrame, REASON_LEN_MAX, StatusCode};
pub use control::{
    CONTROL_PAYLOAD_LEN_MAX, ControlFrame, ControlPayload, close, close_echo, close_empty, ping, pong,
};
pub use deframer::{Deframer, Event};
pub use error::FrameError;
pub use header::FrameHeader;
pub use mask::Mask;
pub use message::{EMPTY_FRAMES_MAX, TextPolicy};
pub use opcode::{Opcode, ReservedOpcode};
pub use outgoing::Outgoing;
pub use utf8::Utf8Checker;
