//! From a valid token to a connected compute node.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::admission::{EarlyEnd, waiting};
use super::closing;
use super::control::{Admitted, Question};
use super::encrypting::Encrypting;
use super::error::{CloseReason, Failure, Refusal};
use super::limits::{duration, size};
use super::line::numbered;
use super::link::Link;
use super::phase::Phase;
use super::relay::{Relay, Residue};
use super::securing::Securing;
use super::settings::Security;
use super::tenant::Upgraded;
use super::tunnelling::Tunnelling;
use super::{Context, Input, Outbox, Output, Side};

use crate::proto::bytes::Chunk;
use crate::proto::rfb::Negotiation;

/// A session whose compute node is being resolved and dialled, one address after the other.
#[derive(Debug)]
pub(super) struct Connecting {
    upgraded: Upgraded,
    info: Box<Admitted>,
    port: u16,
    remaining: std::vec::IntoIter<SocketAddr>,
    since: Instant,
    /// When the first address was dialled
    dialled: Instant,
    deadline: Instant,
}

impl Connecting {
    pub(super) fn start(cx: &Context, upgraded: Upgraded, info: Box<Admitted>, out: &mut Outbox) -> Phase {
        let deadline = cx.now + duration(cx.settings.limits.connect_timeout_ms);
        let remaining = Vec::new().into_iter();
        let (since, dialled) = (cx.now, cx.now);
        let under_tls = cx.settings.compute_tls.whole;
        let Some(port) = info.port_to_dial(under_tls) else {
            let reason = CloseReason::Refused(Refusal::NoPort { under_tls });
            return closing::close(cx, upgraded.tenant, None, reason, out);
        };
        let connecting = Self { upgraded, info, port, remaining, since, dialled, deadline };
        let host = &connecting.info.host;
        if let Ok(address) = host.parse() {
            // Needs nobody's help.
            return connecting.resolved(cx, vec![SocketAddr::new(address, port)], out);
        }
        out.push(Output::Ask(Question::Resolve { host: host.clone(), port }));
        Phase::Connecting(Box::new(connecting))
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Resolved(addresses) => self.resolved(cx, addresses, out),
            Input::Connected => self.connected(cx, out),
            Input::Failed(Failure::Connect(error)) => self.dial(cx, error, out),
            Input::Failed(Failure::Resolve(error)) => self.refuse(cx, Refusal::Resolve(error), out),
            Input::Failed(Failure::Overloaded(error)) => self.refuse(cx, Refusal::Overloaded(error), out),
            Input::Deadline => self.refuse(cx, Refusal::Unreachable(io::ErrorKind::TimedOut.into()), out),
            input => match waiting(&mut self.upgraded, input, out) {
                None => Phase::Connecting(Box::new(self)),
                Some(end) => end.close(cx, self.upgraded, None, out),
            },
        }
    }

    fn resolved(mut self, cx: &Context, mut addresses: Vec<SocketAddr>, out: &mut Outbox) -> Phase {
        addresses.truncate(size(cx.settings.limits.addresses_max));
        self.remaining = addresses.into_iter();
        self.dialled = cx.now;
        self.dial(cx, io::Error::from(io::ErrorKind::AddrNotAvailable), out)
    }

    /// Tries the next address. `last` is what the one before said, or that there is none at all. An address
    /// gets its share of the time that is left: one that swallows everything must not use up the others'.
    fn dial(mut self, cx: &Context, last: io::Error, out: &mut Outbox) -> Phase {
        let shares = u32::try_from(self.remaining.len()).unwrap_or(u32::MAX);
        let Some(address) = self.remaining.next() else {
            return self.refuse(cx, Refusal::Unreachable(last), out);
        };
        numbered!(info, cx, "connecting to: {}:{}", self.info.host.escape_debug(), self.port);
        let within = self.deadline.saturating_duration_since(cx.now) / shares.max(1);
        out.push(Output::Connect { address, within });
        Phase::Connecting(Box::new(self))
    }

    fn connected(self, cx: &Context, out: &mut Outbox) -> Phase {
        out.counters().backend_connect.observe(cx.now.saturating_duration_since(self.dialled));
        if cx.settings.compute_tls.whole {
            return Encrypting::start(cx, self.upgraded, self.info, out);
        }
        tunnel(cx, self.upgraded, Link::new(Side::Compute), self.info, out)
    }

    fn refuse(self, cx: &Context, refusal: Refusal, out: &mut Outbox) -> Phase {
        EarlyEnd::Reason(CloseReason::Refused(refusal)).close(cx, self.upgraded, None, out)
    }
}

/// The compute node is there: what `internal_access_path` asks for comes first.
pub(super) fn tunnel(
    cx: &Context,
    upgraded: Upgraded,
    compute: Link,
    info: Box<Admitted>,
    out: &mut Outbox,
) -> Phase {
    match &info.internal_access_path {
        Some(path) if !path.is_empty() => Tunnelling::start(cx, upgraded, compute, info, out),
        _ => secure(cx, upgraded, compute, info, Chunk::default(), out),
    }
}

/// The compute node is there, and has said `residue`: negotiate, or relay from the first byte on.
pub(super) fn secure(
    cx: &Context,
    upgraded: Upgraded,
    compute: Link,
    info: Box<Admitted>,
    residue: Chunk,
    out: &mut Outbox,
) -> Phase {
    let (tenant, early) = upgraded.into_parts();
    if tenant.link.has_ended() {
        return closing::close(cx, tenant, Some(compute), CloseReason::TenantEnded, out);
    }
    let residue = Residue { to_tenant: Some(residue), to_compute: early.bytes };
    let phase = match &cx.settings.security {
        Security::Rfb(schemes) => Securing::start(
            cx,
            tenant,
            compute,
            Negotiation::with_extras(schemes, cx.settings.vnc.extras()),
            info,
            residue,
            out,
        ),
        Security::None => Relay::start(cx, tenant, compute, info, residue, out),
    };
    match early.end {
        Some(stream_end) => phase.end_stream(cx, stream_end, out),
        None => phase,
    }
}
