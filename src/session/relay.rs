//! The steady state: frames from the tenant become bytes for the compute node, and the other way round.
//!
//! Each direction holds at most one chunk: the next read is asked for when the last write is done, so a
//! side that does not read stops the other from being read (backpressure), and an idle relay holds nothing.

use std::time::Instant;

use super::bulk::Bulk;
use super::closing;
use super::control::{Admitted, Notice};
use super::error::{CloseReason, ComputeTlsError};
use super::lifetime::{Due, Lifetime};
use super::limits::duration;
use super::line::numbered;
use super::link::Link;
use super::phase::{Phase, Rest};
use super::tenant::{StreamEnd, Tenant};
use super::{Context, Failure, Input, LOG_TARGET, Outbox, Output, Side};

use crate::proto::bytes::Chunk;

/// A console being used.
#[derive(Debug)]
pub(super) struct Relay {
    tenant: Tenant,
    compute: Link,
    bulk: Bulk,
    lifetime: Lifetime,
    /// Console bytes from the tenant
    from_tenant: u64,
    /// Console bytes from the compute node
    from_compute: u64,
    /// Of those, the ones that were spliced
    spliced: u64,
}

/// Bytes that a phase read past its own end. They go first.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Residue {
    pub(super) to_tenant: Option<Chunk>,
    pub(super) to_compute: Option<Chunk>,
}

impl Relay {
    pub(super) fn start(
        cx: &Context,
        tenant: Tenant,
        compute: Link,
        info: Box<Admitted>,
        residue: Residue,
        out: &mut Outbox,
    ) -> Phase {
        let mut relay = Self {
            tenant,
            compute,
            bulk: Bulk::new(),
            lifetime: Lifetime::start(cx, info.expires),
            from_tenant: 0,
            from_compute: 0,
            spliced: 0,
        };
        tracing::info!(
            target: LOG_TARGET,
            request = cx.number,
            instance_uuid = info.instance_uuid,
            " {:2}: console relay started for {}",
            cx.number,
            cx.peer.ip()
        );
        out.push(Output::Tell(Notice::Relaying { number: cx.number, peer: cx.peer, info }));
        if let Some(chunk) = residue.to_tenant.filter(|chunk| !chunk.is_empty()) {
            relay.from_compute += chunk.len() as u64;
            out.counters().from_compute.add_alone(chunk.len() as u64);
            relay.tenant.send_chunk(chunk, out);
        }
        if let Some(chunk) = residue.to_compute.filter(|chunk| !chunk.is_empty()) {
            relay.from_tenant += chunk.len() as u64;
            out.counters().from_tenant.add_alone(chunk.len() as u64);
            relay.compute.write(chunk, out);
        }
        relay.read_tenant(out);
        relay.read_compute(out);
        Phase::Relaying(relay)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lifetime.deadline()
    }

    /// Takes what nearly all inputs are, bytes and the answers to writes, and leaves what may end the relay.
    pub(super) fn carry(&mut self, cx: &Context, input: Input, out: &mut Outbox) -> Option<Rest> {
        match input {
            Input::Received { from: Side::Tenant, mut chunk } => {
                self.tenant.link.read_done();
                self.lifetime.answered();
                let stream_end = self.tenant.deframe(&mut chunk, out);
                self.from_tenant += chunk.len() as u64;
                out.counters().from_tenant.add_alone(chunk.len() as u64);
                if chunk.is_empty() {
                    out.recycle(chunk);
                } else {
                    self.lifetime.active(cx.now, &cx.settings.limits);
                    self.compute.write(chunk, out);
                }
                if let Some(stream_end) = stream_end {
                    return Some(Rest::StreamEnd(stream_end));
                }
                self.read_tenant(out);
            }
            Input::Received { from: Side::Compute, chunk } => {
                self.compute.read_done();
                self.from_compute += chunk.len() as u64;
                out.counters().from_compute.add_alone(chunk.len() as u64);
                let (age, limits) = (self.lifetime.age(cx.now), &cx.settings.limits);
                self.lifetime.active(cx.now, limits);
                if !self.tenant.is_recorded() {
                    self.bulk.copied(age, chunk.len() as u64, limits);
                }
                self.tenant.send_chunk(chunk, out);
            }
            Input::Written { to: Side::Compute } => {
                self.lifetime.written(Side::Compute);
                self.compute.written(out);
                self.read_tenant(out);
            }
            Input::Piped { from: _, len } => {
                self.compute.read_done();
                self.from_compute += u64::from(len);
                self.spliced += u64::from(len);
                out.counters().spliced.add_alone(len.into());
                let (age, limits) = (self.lifetime.age(cx.now), &cx.settings.limits);
                self.lifetime.active(cx.now, limits);
                self.bulk.piped(age, len.into(), limits);
                self.tenant.link.splice_out(len, out);
            }
            Input::Written { to: Side::Tenant } | Input::Spliced { .. } => {
                self.lifetime.written(Side::Tenant);
                self.tenant.written(out);
                self.read_compute(out);
            }
            input => return Some(Rest::Input(input)),
        }
        None
    }

    /// Takes an input that [`Relay::carry`] has left.
    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Ended { from: Side::Compute } => {
                self.compute.set_ended();
                self.suspect_our_certificate(cx, out);
                return self.close(cx, CloseReason::ComputeEnded, out);
            }
            Input::Ended { from: Side::Tenant } => {
                self.tenant.link.set_ended();
                return self.close(cx, CloseReason::TenantEnded, out);
            }
            Input::Failed(Failure::Read { from: side, source } | Failure::Write { to: side, source }) => {
                if side == Side::Compute {
                    self.suspect_our_certificate(cx, out);
                }
                return self.close(cx, CloseReason::of_side(side, source), out);
            }
            Input::Kill(reason) => return self.close(cx, reason, out),
            Input::Deadline => {
                match self.lifetime.due(cx, [&self.tenant.link, &self.compute].map(|link| !link.is_flushed()))
                {
                    Due::Nothing => {}
                    Due::Ping => self.ping(out),
                    Due::End(reason) => return self.close(cx, reason, out),
                }
            }
            // What has been carried, and answers that belong to the phases before.
            _ => {}
        }
        Phase::Relaying(self)
    }

    /// A compute node has left. One that does so right behind the TLS handshake, and without a word, has refused
    /// our certificate: QEMU completes the handshake first. To the tenant it is a console that has ended.
    fn suspect_our_certificate(&self, cx: &Context, out: &mut Outbox) {
        let at_once = self.lifetime.age(cx.now) <= duration(cx.settings.limits.compute_tls_timeout_ms);
        if cx.settings.compute_tls.whole && self.from_compute == 0 && at_once {
            let error = ComputeTlsError::ClosedAfterTls;
            out.counters().compute_tls_failed.of(error.failure()).add_alone(1);
            numbered!(error, cx, "{error}");
        }
    }

    /// The tenant is read only when what it said before is with the compute node.
    fn read_tenant(&mut self, out: &mut Outbox) {
        if self.compute.is_flushed() {
            self.tenant.link.read(out);
        }
    }

    /// The compute node is read only when what it said before is with the tenant.
    fn read_compute(&mut self, out: &mut Outbox) {
        if !self.tenant.link.is_flushed() {
            return;
        }
        // Nothing is queued, in flight or in the pipe: the one place where the mode may change without
        // bytes overtaking others.
        if self.bulk.is_spliced() {
            self.compute.splice_in(out);
        } else {
            self.compute.read(out);
        }
    }

    /// Keeps load balancers from cutting an idle console. The payload is empty: the naive parsers of
    /// Tempest and of scripts skip an empty frame but take a ping's payload for console data.
    fn ping(&mut self, out: &mut Outbox) {
        if self.tenant.ping(out) && self.compute.is_flushed() {
            // An answer would be read.
            self.lifetime.pinged();
        }
    }

    /// Console bytes so far: from the tenant, from the compute node.
    pub(super) fn relayed_bytes(&self) -> (u64, u64) {
        (self.from_tenant, self.from_compute)
    }

    fn close(self, cx: &Context, reason: CloseReason, out: &mut Outbox) -> Phase {
        self.end(cx, &reason.to_string(), out);
        closing::close(cx, self.tenant, Some(self.compute), reason, out)
    }

    pub(super) fn close_stream(self, cx: &Context, stream_end: StreamEnd, out: &mut Outbox) -> Phase {
        self.end(cx, &stream_end.to_string(), out);
        closing::close_stream(cx, self.tenant, Some(self.compute), stream_end, out)
    }

    fn end(&self, cx: &Context, reason: &str, out: &mut Outbox) {
        out.push(Output::Tell(Notice::Ended { number: cx.number }));
        let age = self.lifetime.age(cx.now);
        let counters = out.counters();
        counters.session_duration.observe(age);
        counters.path_switches.add_alone(self.bulk.switches().into());
        numbered!(
            info,
            cx,
            "console relay ended after {:.3} s: {reason}; {} bytes from the tenant, {} from the compute node ({} spliced, {} switches)",
            age.as_secs_f64(),
            self.from_tenant,
            self.from_compute,
            self.spliced,
            self.bulk.switches(),
        );
    }
}
