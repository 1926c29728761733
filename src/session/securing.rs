//! RFB security negotiation with both sides (`nova/console/securityproxy/rfb.py`).

use std::time::Instant;

use super::closing;
use super::error::{CloseReason, Failure};
use super::limits::duration;
use super::link::Link;
use super::phase::Phase;
use super::relay::{Relay, Residue};
use super::tenant::Tenant;
use super::{Context, Input, LOG_TARGET, Outbox, Side};
use crate::proto::bytes::Chunk;
use crate::proto::rfb::{AuthScheme, Negotiation, Progress, RfbError, Step, Transmit};

/// A connected VNC console whose two sides have not agreed on security yet.
#[derive(Debug)]
pub(super) struct Securing {
    tenant: Tenant,
    compute: Link,
    negotiation: Negotiation,
    /// For all steps of the compute node together; the tenant's steps put it off
    compute_until: Instant,
    /// When the present step began
    step_since: Instant,
    /// For the tenant's present step
    tenant_until: Instant,
}

impl Securing {
    pub(super) fn start(
        cx: &Context,
        tenant: Tenant,
        compute: Link,
        schemes: &[AuthScheme],
        early: Option<Chunk>,
        residue: &Chunk,
        out: &mut Outbox,
    ) -> Phase {
        let limits = &cx.settings.limits;
        let mut securing = Self {
            tenant,
            compute,
            negotiation: Negotiation::new(schemes),
            compute_until: cx.now + duration(limits.compute_security_timeout_ms),
            step_since: cx.now,
            tenant_until: cx.now + duration(limits.tenant_step_timeout_ms),
        };
        securing.tenant.link.read(out);
        securing.compute.read(out);
        match early {
            None => securing.negotiate(cx, Side::Compute, residue.bytes(), out),
            Some(early) => match securing.negotiate(cx, Side::Compute, residue.bytes(), out) {
                Phase::Securing(securing) => securing.negotiate(cx, Side::Tenant, early.bytes(), out),
                phase => phase,
            },
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.negotiation.waiting_for().map(Step::side) {
            Some(Side::Compute) | None => self.compute_until,
            Some(Side::Tenant) => self.tenant_until,
        }
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Received { from: Side::Tenant, mut chunk } => {
                self.tenant.link.read_done();
                let stream_end = self.tenant.deframe(&mut chunk);
                self.tenant.answer_ping(out);
                if let Some(stream_end) = stream_end {
                    return closing::close_stream(cx, self.tenant, Some(self.compute), stream_end, out);
                }
                self.tenant.link.read(out);
                self.negotiate(cx, Side::Tenant, chunk.bytes(), out)
            }
            Input::Received { from: Side::Compute, chunk } => {
                self.compute.read_done();
                self.compute.read(out);
                self.negotiate(cx, Side::Compute, chunk.bytes(), out)
            }
            Input::Written { to: Side::Tenant } => {
                self.tenant.written(out);
                Phase::Securing(Box::new(self))
            }
            Input::Written { to: Side::Compute } => {
                self.compute.written(out);
                Phase::Securing(Box::new(self))
            }
            Input::Ended { from: Side::Compute } => {
                self.compute.set_ended();
                let mut transmits = Vec::new();
                let result = self.negotiation.ended(Side::Compute, &mut transmits);
                self.transmit(&transmits, out);
                match result {
                    Ok(()) => Phase::Securing(Box::new(self)),
                    Err(error) => self.fail(cx, error, out),
                }
            }
            Input::Ended { from: Side::Tenant } => {
                self.tenant.link.set_ended();
                self.close(cx, CloseReason::TenantEnded, out)
            }
            Input::Failed(Failure::Read { from: side, source } | Failure::Write { to: side, source }) => {
                self.close(cx, CloseReason::of_side(side, source), out)
            }
            Input::Deadline => {
                let mut transmits = Vec::new();
                let error = self.negotiation.timed_out(&mut transmits);
                self.transmit(&transmits, out);
                self.fail(cx, error, out)
            }
            Input::Kill(reason) => self.close(cx, reason, out),
            _ => Phase::Securing(Box::new(self)),
        }
    }

    fn negotiate(mut self, cx: &Context, from: Side, bytes: &[u8], out: &mut Outbox) -> Phase {
        let waited_for = self.negotiation.waiting_for();
        let mut transmits = Vec::new();
        let progress = self.negotiation.receive(from, bytes, &mut transmits);
        self.transmit(&transmits, out);
        match progress {
            Ok(Progress::Continue) => {
                if self.negotiation.waiting_for() != waited_for {
                    // A browser that is slow, as it may be, must not use up the compute node's time.
                    if waited_for.map(Step::side) == Some(Side::Tenant) {
                        self.compute_until += cx.now.saturating_duration_since(self.step_since);
                    }
                    self.step_since = cx.now;
                    self.tenant_until = cx.now + duration(cx.settings.limits.tenant_step_timeout_ms);
                }
                Phase::Securing(Box::new(self))
            }
            Ok(Progress::Established(residue)) => {
                tracing::info!(
                    target: "nova.console.securityproxy.rfb",
                    "{:3}: Finished security handshake, resuming normal proxy mode using secured socket",
                    cx.number
                );
                let residue = Residue {
                    to_tenant: Some(Chunk::copied_from(&residue.to_tenant)),
                    to_compute: Some(Chunk::copied_from(&residue.to_compute)),
                };
                Relay::start(cx, self.tenant, self.compute, residue, out)
            }
            Err(error) => self.fail(cx, error, out),
        }
    }

    /// Each message to the tenant is a frame of its own: Tempest reads them one by one.
    fn transmit(&mut self, transmits: &[Transmit], out: &mut Outbox) {
        for transmit in transmits {
            let bytes = transmit.message.as_bytes();
            match transmit.to {
                Side::Tenant => self.tenant.send(bytes, out),
                Side::Compute => self.compute.write(Chunk::copied_from(bytes), out),
            }
        }
    }

    fn fail(self, cx: &Context, error: RfbError, out: &mut Outbox) -> Phase {
        tracing::error!(
            target: LOG_TARGET,
            "{:3}: Unable to perform security proxying, shutting down connection",
            cx.number
        );
        self.close(cx, CloseReason::Rfb(error), out)
    }

    fn close(self, cx: &Context, reason: CloseReason, out: &mut Outbox) -> Phase {
        closing::close(cx, self.tenant, Some(self.compute), reason, out)
    }
}
