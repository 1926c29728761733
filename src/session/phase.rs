//! The phases of a session, and which input each of them takes.
//!
//! ```text
//! Request --web file--> Responding -> Request (kept alive) or Closing
//!    | 101 sent
//! Authorizing -> Connecting -> Encrypting -> Tunnelling -> Securing -> Relaying -> Closing
//!  token, port    TCP to        TLS, where     CONNECT to     RFB 3.8     frames     flush, Close
//!  check, Origin  compute       serial_tls or  internal_      and VeNCrypt           frame, FIN
//!                               spice_tls is   access_path    (VNC only)
//! ```
//!
//! The order is Nova's (`nova/console/websocketproxy.py`), including that the 101 precedes the token check.
//! A phase owns exactly its data, and `step` consumes it: a stale field cannot be read. Phases before the
//! relay are boxed, so a relaying session is no larger than its relay.

use std::time::Instant;

use super::admission::Authorizing;
use super::closing::Closing;
use super::connecting::Connecting;
use super::encrypting::Encrypting;
use super::relay::Relay;
use super::request::Request;
use super::responding::Responding;
use super::secure::Upgrade;
use super::securing::Securing;
use super::tenant::StreamEnd;
use super::tunnelling::Tunnelling;
use super::{Context, Input, Outbox, Side};
use crate::telemetry::labels::HandshakePhase;

/// Where a session is in its life.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the relay is what sessions spend their lives in, without any heap"
)]
pub(super) enum Phase {
    /// Reading a request head
    Request(Box<Request>),
    /// Sending a web file
    Responding(Box<Responding>),
    /// Token, port check and Origin
    Authorizing(Box<Authorizing>),
    /// Name resolution and TCP connect
    Connecting(Box<Connecting>),
    /// TLS from the first byte on
    Encrypting(Box<Encrypting>),
    /// CONNECT to `internal_access_path`
    Tunnelling(Box<Tunnelling>),
    /// RFB security negotiation
    Securing(Box<Securing>),
    /// Bytes both ways
    Relaying(Relay),
    /// The last bytes
    Closing(Box<Closing>),
    /// Being stepped, not started, or over
    Taken,
}

/// All names that [`Session::phase_name`](super::Session::phase_name) can give.
pub const PHASE_NAMES: [&str; 10] = [
    "request",
    "responding",
    "authorizing",
    "connecting",
    "encrypting",
    "tunnelling",
    "securing",
    "relaying",
    "closing",
    "closed",
];

/// What [`Phase::carry`] leaves to be done.
#[derive(Debug)]
pub(super) enum Rest {
    /// The whole input
    Input(Input),
    /// The tenant's stream of frames ended behind what was carried.
    StreamEnd(StreamEnd),
}

impl Phase {
    /// Takes an input where the phase stands, as a relay does with nearly all of them: to move it into a next phase,
    /// itself, and back costs as much as the step. What is left, if anything, is for [`Phase::step`].
    pub(super) fn carry(&mut self, cx: &Context, input: Input, out: &mut Outbox) -> Option<Rest> {
        match self {
            Self::Relaying(relay) => relay.carry(cx, input, out),
            _ => Some(Rest::Input(input)),
        }
    }

    pub(super) fn step(self, cx: &Context, rest: Rest, out: &mut Outbox) -> Self {
        let input = match rest {
            Rest::Input(input) => input,
            Rest::StreamEnd(stream_end) => return self.end_stream(cx, stream_end, out),
        };
        match self {
            Self::Request(phase) => phase.step(cx, input, out),
            Self::Responding(phase) => phase.step(cx, input, out),
            Self::Authorizing(phase) => phase.step(cx, input, out),
            Self::Connecting(phase) => phase.step(cx, input, out),
            Self::Encrypting(phase) => phase.step(cx, input, out),
            Self::Tunnelling(phase) => phase.step(cx, input, out),
            Self::Securing(phase) => phase.step(cx, input, out),
            Self::Relaying(phase) => phase.step(cx, input, out),
            Self::Closing(phase) => phase.step(cx, input, out),
            Self::Taken => Self::Taken,
        }
    }

    /// The tenant's stream of frames ended behind bytes that brought the session here.
    pub(super) fn end_stream(self, cx: &Context, stream_end: StreamEnd, out: &mut Outbox) -> Self {
        match self {
            Self::Securing(phase) => phase.close_stream(cx, stream_end, out),
            Self::Relaying(phase) => phase.close_stream(cx, stream_end, out),
            // Those bytes have ended the session already.
            phase => phase,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Responding(_) => "responding",
            Self::Authorizing(_) => "authorizing",
            Self::Connecting(_) => "connecting",
            Self::Encrypting(_) => "encrypting",
            Self::Tunnelling(_) => "tunnelling",
            Self::Securing(_) => "securing",
            Self::Relaying(_) => "relaying",
            Self::Closing(_) => "closing",
            Self::Taken => "closed",
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Request(phase) => Some(phase.deadline()),
            Self::Responding(phase) => Some(phase.deadline()),
            Self::Authorizing(phase) => Some(phase.deadline()),
            Self::Connecting(phase) => Some(phase.deadline()),
            Self::Encrypting(phase) => Some(phase.deadline()),
            Self::Tunnelling(phase) => Some(phase.deadline()),
            Self::Securing(phase) => Some(phase.deadline()),
            Self::Relaying(phase) => phase.deadline(),
            Self::Closing(phase) => Some(phase.deadline()),
            Self::Taken => None,
        }
    }

    /// The tenant's connection begins behind a proxy's header.
    pub(super) fn announced(&mut self, cx: &Context) {
        if let Self::Request(phase) = self {
            phase.await_first_byte(cx);
        }
    }

    /// A side's TLS handshake is over.
    pub(super) fn secured(mut self, cx: &Context, side: Side, out: &mut Outbox) -> Self {
        match (&mut self, side) {
            // The time for the request begins.
            (Self::Request(phase), Side::Tenant) => phase.await_head(cx),
            (Self::Securing(phase), Side::Compute) => phase.secured(cx),
            (Self::Encrypting(_), Side::Compute) => {
                if let Self::Encrypting(phase) = self {
                    return phase.secured(cx, out);
                }
            }
            _ => {}
        }
        self
    }

    /// What puts the compute node's connection under TLS, once, when that was agreed on.
    pub(super) fn take_upgrade(&mut self) -> Option<Upgrade> {
        match self {
            Self::Encrypting(phase) => phase.take_upgrade(),
            Self::Securing(phase) => phase.take_upgrade(),
            _ => None,
        }
    }

    /// Which phase between the upgrade and the relay this is, and since when.
    pub(super) fn begun(&self) -> Option<(HandshakePhase, Instant)> {
        match self {
            Self::Authorizing(phase) => Some((HandshakePhase::Authorizing, phase.since())),
            Self::Connecting(phase) => Some((HandshakePhase::Connecting, phase.since())),
            Self::Encrypting(phase) => Some((HandshakePhase::Encrypting, phase.since())),
            Self::Tunnelling(phase) => Some((HandshakePhase::Tunnelling, phase.since())),
            Self::Securing(phase) => Some((HandshakePhase::Securing, phase.since())),
            Self::Request(_) | Self::Responding(_) | Self::Relaying(_) | Self::Closing(_) | Self::Taken => {
                None
            }
        }
    }

    pub(super) fn is_console(&self) -> bool {
        match self {
            Self::Request(_) | Self::Responding(_) | Self::Taken => false,
            Self::Closing(phase) => phase.is_console(),
            _ => true,
        }
    }
}
