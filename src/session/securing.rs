//! RFB security negotiation with both sides (`nova/console/securityproxy/rfb.py`).

use std::time::{Duration, Instant};

use super::closing;
use super::control::Admitted;
use super::error::{CloseReason, Failure};
use super::limits::duration;
use super::link::Link;
use super::phase::Phase;
use super::relay::{Relay, Residue};
use super::secure::{Upgrade, is_of_tls};
use super::tenant::{StreamEnd, Tenant};
use super::{Context, Input, LOG_TARGET, Outbox, Side};

use crate::proto::bytes::Chunk;
use crate::proto::rfb::{Negotiation, Progress, RfbError, Step, Transmit};

/// The logger name of Nova's lines about the handshake.
const RFB_TARGET: &str = "nova.console.securityproxy.rfb";

/// A connected VNC console whose two sides have not agreed on security yet.
#[derive(Debug)]
pub(super) struct Securing {
    tenant: Tenant,
    compute: Link,
    negotiation: Negotiation,
    info: Box<Admitted>,
    since: Instant,
    /// Of the present step
    deadline: Instant,
    step_since: Instant,
    /// What the compute node had left, for all its steps together, when the present step began
    compute_left: Duration,
    /// TLS with the compute node has been agreed on, and not begun
    upgrade: Option<Upgrade>,
}

impl Securing {
    pub(super) fn start(
        cx: &Context,
        tenant: Tenant,
        compute: Link,
        negotiation: Negotiation,
        info: Box<Admitted>,
        residue: Residue,
        out: &mut Outbox,
    ) -> Phase {
        let compute_left = duration(cx.settings.limits.compute_security_timeout_ms);
        let mut securing = Self {
            tenant,
            compute,
            negotiation,
            info,
            since: cx.now,
            deadline: cx.now + compute_left,
            step_since: cx.now,
            compute_left,
            upgrade: None,
        };
        securing.tenant.link.read(out);
        securing.compute.read(out);
        let from_compute = residue.to_tenant.unwrap_or_default();
        match residue.to_compute {
            None => securing.negotiate(cx, Side::Compute, from_compute.bytes(), out),
            Some(early) => match securing.negotiate(cx, Side::Compute, from_compute.bytes(), out) {
                Phase::Securing(securing) => securing.negotiate(cx, Side::Tenant, early.bytes(), out),
                phase => phase,
            },
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sets the deadline of the step that is due, if it is another than `before`. The tenant's time does
    /// not count as the compute node's: a user may take long, and then the result still needs a moment.
    fn stepped(&mut self, cx: &Context, before: Option<Step>) {
        let due = self.negotiation.waiting_for();
        if due == before {
            return;
        }
        if before.map(Step::side) == Some(Side::Compute) {
            let taken = cx.now.saturating_duration_since(self.step_since);
            self.compute_left = self.compute_left.saturating_sub(taken);
        }
        self.step_since = cx.now;
        self.deadline = cx.now
            + match due.map(Step::side) {
                Some(Side::Tenant) => duration(cx.settings.limits.tenant_step_timeout_ms),
                Some(Side::Compute) | None => self.compute_left,
            };
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Received { from: Side::Tenant, mut chunk } => {
                self.tenant.link.read_done();
                let stream_end = self.tenant.deframe(&mut chunk, out);
                if stream_end.is_none() {
                    self.tenant.link.read(out);
                }
                let phase = self.negotiate(cx, Side::Tenant, chunk.bytes(), out);
                out.recycle(chunk);
                match stream_end {
                    None => phase,
                    Some(end) => phase.end_stream(cx, end, out),
                }
            }
            Input::Received { from: Side::Compute, chunk } => {
                self.compute.read_done();
                self.compute.read(out);
                let phase = self.negotiate(cx, Side::Compute, chunk.bytes(), out);
                out.recycle(chunk);
                phase
            }
            Input::Written { to: Side::Tenant } => {
                self.tenant.written(out);
                Phase::Securing(Box::new(self))
            }
            Input::Written { to: Side::Compute } => {
                self.compute.written(out);
                Phase::Securing(Box::new(self))
            }
            Input::Ended { from: Side::Compute } => self.compute_ended(cx, out),
            // Its connection is whole, and takes our alert.
            Input::Failed(Failure::Read { from: Side::Compute, source }) if is_of_tls(&source) => {
                self.compute.read_done();
                self.tls_failed(cx, source.to_string(), out)
            }
            // QEMU's refusals arrive with a reset behind them when it left something of ours unread.
            Input::Failed(Failure::Read { from: Side::Compute, .. }) => {
                self.compute.set_broken();
                self.compute_ended(cx, out)
            }
            // What it said before may be here still, and the read that is open will tell.
            Input::Failed(Failure::Write { to: Side::Compute, .. }) => {
                self.compute.write_failed();
                Phase::Securing(Box::new(self))
            }
            Input::Ended { from: Side::Tenant } => {
                self.tenant.link.set_ended();
                self.close(cx, CloseReason::TenantEnded, out)
            }
            Input::Failed(
                Failure::Read { from: Side::Tenant, source } | Failure::Write { to: Side::Tenant, source },
            ) => self.close(cx, CloseReason::TenantFailed(source), out),
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
        for note in self.negotiation.take_notes() {
            tracing::debug!(target: RFB_TARGET, request = cx.number, "{note}");
        }
        self.transmit(&transmits, out);
        match progress {
            Ok(Progress::Continue) => {
                self.stepped(cx, waited_for);
                Phase::Securing(Box::new(self))
            }
            Ok(Progress::StartTls(early)) => {
                self.stepped(cx, waited_for);
                match cx.settings.compute_tls.connect(&self.info.host) {
                    Ok(layer) => {
                        self.upgrade = Some(Upgrade {
                            layer: Box::new(layer),
                            early: Chunk::copied_from(&early),
                            unsent: self.compute.take_queued(),
                            writing: !self.compute.is_flushed(),
                            last_byte_apart: false,
                        });
                        Phase::Securing(Box::new(self))
                    }
                    Err(error) => self.tls_failed(cx, error.to_string(), out),
                }
            }
            Ok(Progress::Established(residue)) => {
                tracing::info!(
                    target: RFB_TARGET,
                    request = cx.number,
                    "Finished security handshake, resuming normal proxy mode using secured socket"
                );
                let residue = Residue {
                    to_tenant: Some(Chunk::copied_from(&residue.to_tenant)),
                    to_compute: Some(Chunk::copied_from(&residue.to_compute)),
                };
                Relay::start(cx, self.tenant, self.compute, self.info, residue, out)
            }
            Err(error) => self.fail(cx, error, out),
        }
    }

    /// TLS with the compute node is established.
    pub(super) fn secured(&mut self, cx: &Context) {
        let waited_for = self.negotiation.waiting_for();
        self.negotiation.secured();
        self.stepped(cx, waited_for);
    }

    pub(super) fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    fn tls_failed(mut self, cx: &Context, reason: String, out: &mut Outbox) -> Phase {
        let mut transmits = Vec::new();
        let error = self.negotiation.tls_failed(reason, &mut transmits);
        self.transmit(&transmits, out);
        self.fail(cx, error, out)
    }

    /// No more comes from the compute node; the tenant may still have to be told why.
    fn compute_ended(mut self, cx: &Context, out: &mut Outbox) -> Phase {
        self.compute.set_ended();
        let waited_for = self.negotiation.waiting_for();
        let mut transmits = Vec::new();
        let result = self.negotiation.ended(Side::Compute, &mut transmits);
        self.transmit(&transmits, out);
        match result {
            Ok(()) => {
                self.stepped(cx, waited_for);
                Phase::Securing(Box::new(self))
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
            request = cx.number,
            exception = %CloseReason::Rfb(error.clone()),
            "Unable to perform security proxying, shutting down connection"
        );
        self.close(cx, CloseReason::Rfb(error), out)
    }

    pub(super) fn close_stream(self, cx: &Context, stream_end: StreamEnd, out: &mut Outbox) -> Phase {
        closing::close_stream(cx, self.tenant, Some(self.compute), stream_end, out)
    }

    fn close(self, cx: &Context, reason: CloseReason, out: &mut Outbox) -> Phase {
        closing::close(cx, self.tenant, Some(self.compute), reason, out)
    }
}
