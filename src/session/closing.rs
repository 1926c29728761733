//! The end of a session: what each side still gets.
//!
//! | who ended | to the tenant | to the compute node |
//! | --- | --- | --- |
//! | compute: FIN | what was read, Close 1000 "Target closed", FIN | FIN |
//! | compute: reset, while relaying | what was read, Close 1011, FIN | nothing |
//! | tenant: Close frame | what was read, the Close echoed, FIN | what was queued, FIN |
//! | tenant: FIN without Close | what was read, FIN | what was queued, FIN |
//! | tenant: reset | nothing | FIN; what was queued is void |
//! | tenant: broken frame | what was read, Close with the frame's code, FIN | what was queued, FIN |
//! | refused before the console | Close, empty (or explained), FIN | FIN if it was connected |
//! | RFB negotiation failed | its reason if RFB allows one, Close 1000, FIN | Nova's abort byte if due, FIN |
//! | a step took too long | Close, empty (or explained), FIN | FIN |
//! | the token expired and that is enforced | what was read, Close 1000 "Target closed", FIN | FIN |
//! | idle, too long, or an operator | what was read, Close 1000 with the reason, FIN | FIN |
//! | unanswered pings | Close 1008, FIN; no answer is awaited | FIN |
//! | this process ends | Close 1001, FIN | FIN |
//! | a web request was answered | the answer, FIN | nothing |
//!
//! A console stream has no useful half-open state: whoever ends, both end, but only after what was read
//! has been delivered. Each row has a test of its own in `session/tests/closing.rs`.
//!
//! After our last byte a side's remaining input is read and discarded until its FIN: closing a socket with
//! unread input makes the kernel send RST. On the tenant's side that destroys the Close frame in flight, and
//! browsers report 1006; on the compute side it voids what was typed last. Under TLS each FIN above is behind a
//! `close_notify`, and the end waits for it and for an alert that is on its way (`session/layers.rs`).

use std::time::Instant;

use super::error::{CloseReason, HttpEnd, Refusal, rfb_failure};
use super::limits::{duration, size};
use super::line::numbered;
use super::link::Link;
use super::phase::Phase;
use super::tenant::{StreamEnd, Tenant};
use super::{Context, Failure, Input, Outbox, Output, Side};
use crate::proto::ws::{self, StatusCode};

/// What the tenant gets last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// A Close frame with code and reason
    Close(StatusCode, &'static str),
    /// A Close frame without code
    CloseEmpty,
    /// The tenant's own Close, echoed
    Echo,
    /// Nothing but FIN
    Fin,
    /// Nothing: the connection is gone
    Nothing,
}

/// The table's middle column.
#[must_use]
pub fn farewell(reason: &CloseReason, explain_refusals: bool) -> Farewell {
    match reason {
        CloseReason::ComputeEnded => Farewell::Close(StatusCode::NORMAL, "Target closed"),
        CloseReason::ComputeFailed(_) => Farewell::Close(StatusCode::INTERNAL_ERROR, "Target failed"),
        CloseReason::TenantClosed(_) => Farewell::Echo,
        CloseReason::TenantEnded | CloseReason::Http(_) => Farewell::Fin,
        CloseReason::TenantFailed(_) => Farewell::Nothing,
        CloseReason::Violation(error) => Farewell::Close(error.close_code(), ""),
        CloseReason::Refused(refusal) if explain_refusals => {
            Farewell::Close(refusal.status_code(), "console session refused")
        }
        CloseReason::TimedOut(_) if explain_refusals => {
            Farewell::Close(StatusCode::POLICY_VIOLATION, "console session refused")
        }
        // A Close with a code breaks Tempest's `test_novnc_bad_token`.
        CloseReason::Refused(_) | CloseReason::TimedOut(_) => Farewell::CloseEmpty,
        CloseReason::Rfb(_) => Farewell::Close(StatusCode::NORMAL, ""),
        // Nova shuts the target's socket down, so that its relay ends as if the target had
        // (`nova/console/websocketproxy.py`, `_close_connection`).
        CloseReason::TokenExpired => Farewell::Close(StatusCode::NORMAL, "Target closed"),
        CloseReason::Idle => Farewell::Close(StatusCode::NORMAL, "Idle for too long"),
        CloseReason::TooLong => Farewell::Close(StatusCode::NORMAL, "Session too long"),
        CloseReason::Unanswered => Farewell::Close(StatusCode::POLICY_VIOLATION, "Pings not answered"),
        CloseReason::Stalled(_) => Farewell::Close(StatusCode::POLICY_VIOLATION, "Nothing was taken"),
        CloseReason::Killed => Farewell::Close(StatusCode::NORMAL, "Closed by the operator"),
        CloseReason::ShuttingDown => Farewell::Close(StatusCode::GOING_AWAY, "Going away"),
    }
}

/// A session that ends.
#[derive(Debug)]
pub(super) struct Closing {
    tenant: Link,
    compute: Option<Link>,
    tenant_stage: Stage,
    compute_stage: Stage,
    drained: usize,
    reason: CloseReason,
    flush_until: Instant,
    close_until: Instant,
}

/// How far one side's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What was read for this side is being written
    Flushing,
    /// FIN is sent, the side's own FIN is awaited
    Draining,
    Done,
}

/// Ends an upgraded session.
pub(super) fn close(
    cx: &Context,
    mut tenant: Tenant,
    compute: Option<Link>,
    reason: CloseReason,
    out: &mut Outbox,
) -> Phase {
    log(cx, &reason);
    let counters = out.counters();
    counters.sessions_ended.of(reason.end()).add_alone(1);
    if let CloseReason::Refused(refusal) = &reason {
        counters.rejected.of(refusal.rejection()).add_alone(1);
        if let Refusal::ComputeTls(error) = refusal {
            counters.compute_tls_failed.of(error.failure()).add_alone(1);
        }
    }
    if let CloseReason::Rfb(error) = &reason
        && let Some(failure) = rfb_failure(error)
    {
        counters.rfb_failed.of(failure).add_alone(1);
    }
    match farewell(&reason, cx.settings.explain_refusals) {
        Farewell::Close(code, text) => tenant.send_close(ws::close(code, text)),
        Farewell::CloseEmpty => tenant.send_close(ws::close_empty()),
        Farewell::Echo | Farewell::Fin | Farewell::Nothing => {}
    }
    let tenant = tenant.into_link(out);
    end(cx, tenant, compute, reason, out)
}

/// Ends a session whose tenant's stream of frames has ended; what it said before is with `compute`.
pub(super) fn close_stream(
    cx: &Context,
    mut tenant: Tenant,
    compute: Option<Link>,
    stream_end: StreamEnd,
    out: &mut Outbox,
) -> Phase {
    match stream_end {
        StreamEnd::Closed(frame) => {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
            //# When sending a Close frame in response, the endpoint typically echos the status code it received.
            tenant.send_close(ws::close_echo(&frame));
            close(cx, tenant, compute, CloseReason::TenantClosed(frame.code), out)
        }
        StreamEnd::Violated(error) => close(cx, tenant, compute, CloseReason::Violation(error), out),
    }
}

/// Ends a connection that was never upgraded.
pub(super) fn close_http(cx: &Context, tenant: Link, end_of_http: HttpEnd, out: &mut Outbox) -> Phase {
    end(cx, tenant, None, CloseReason::Http(end_of_http), out)
}

fn end(cx: &Context, tenant: Link, compute: Option<Link>, reason: CloseReason, out: &mut Outbox) -> Phase {
    let limits = &cx.settings.limits;
    let mut closing = Closing {
        compute_stage: match &compute {
            Some(compute) if !compute.is_broken() => Stage::Flushing,
            _ => Stage::Done,
        },
        compute,
        tenant_stage: if tenant.is_broken() { Stage::Done } else { Stage::Flushing },
        tenant,
        drained: 0,
        reason,
        flush_until: cx.now + duration(limits.flush_timeout_ms),
        // Set anew when draining begins.
        close_until: cx.now + duration(limits.close_timeout_ms),
    };
    match &closing.reason {
        CloseReason::TenantFailed(_) => {
            closing.tenant_stage = Stage::Done;
            // What the user typed last is void: nobody saw its effect.
            closing.forget_compute_queue();
        }
        CloseReason::ComputeFailed(_) => closing.compute_stage = Stage::Done,
        _ => {}
    }
    closing.advance(cx, out)
}

impl Closing {
    fn forget_compute_queue(&mut self) {
        if let Some(compute) = &mut self.compute {
            compute.forget_queued();
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        // A side that has done its part does not wake the session any more.
        let tenant = match self.tenant_stage {
            Stage::Flushing => Some(self.flush_until),
            Stage::Draining => Some(self.close_until),
            Stage::Done => None,
        };
        let compute = (self.compute_stage != Stage::Done).then_some(self.flush_until);
        [tenant, compute].into_iter().flatten().min().unwrap_or(self.close_until)
    }

    /// Whether the connection had been upgraded.
    pub(super) fn is_console(&self) -> bool {
        !matches!(self.reason, CloseReason::Http(_))
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Written { to: Side::Tenant } | Input::Spliced { .. } => self.tenant.written(out),
            Input::Written { to: Side::Compute } => {
                if let Some(compute) = &mut self.compute {
                    compute.written(out);
                }
            }
            Input::Received { from: Side::Tenant, chunk } => {
                self.tenant.read_done();
                self.drained = self.drained.saturating_add(chunk.len());
                out.recycle(chunk);
                if self.tenant_stage == Stage::Draining {
                    if self.drained > size(cx.settings.limits.close_drain_bytes) {
                        self.tenant_stage = Stage::Done;
                    } else {
                        self.tenant.read(out);
                    }
                }
            }
            Input::Received { from: Side::Compute, .. } | Input::Piped { .. } => {
                if let Some(compute) = &mut self.compute {
                    compute.read_done();
                    if self.compute_stage == Stage::Draining {
                        compute.read(out);
                    }
                }
            }
            Input::Ended { from: Side::Compute } => {
                if let Some(compute) = &mut self.compute {
                    compute.set_ended();
                }
                if self.compute_stage == Stage::Draining {
                    self.compute_stage = Stage::Done;
                }
            }
            Input::Ended { from: Side::Tenant } => {
                self.tenant.set_ended();
                if self.tenant_stage == Stage::Draining {
                    self.tenant_stage = Stage::Done;
                }
            }
            Input::Failed(
                Failure::Read { from: Side::Tenant, .. } | Failure::Write { to: Side::Tenant, .. },
            ) => {
                self.tenant_stage = Stage::Done;
            }
            Input::Failed(
                Failure::Read { from: Side::Compute, .. } | Failure::Write { to: Side::Compute, .. },
            ) => {
                self.compute_stage = Stage::Done;
            }
            Input::Deadline => {
                if cx.now >= self.flush_until {
                    self.compute_stage = Stage::Done;
                    if self.tenant_stage == Stage::Flushing {
                        self.tenant_stage = Stage::Done;
                    }
                }
                if self.tenant_stage == Stage::Draining && cx.now >= self.close_until {
                    self.tenant_stage = Stage::Done;
                }
            }
            // The session ends already, and soon: cutting it short could send RST behind its Close frame.
            Input::Kill(_)
            // Answers to what was asked before the end.
            | Input::Authorized(_)
            | Input::Resolved(_)
            | Input::File(_)
            | Input::Connected
            | Input::Offloaded { .. }
            | Input::Failed(_) => {}
        }
        self.advance(cx, out)
    }

    fn advance(mut self, cx: &Context, out: &mut Outbox) -> Phase {
        if self.compute_stage == Stage::Flushing
            && let Some(compute) = &mut self.compute
            && compute.is_flushed()
        {
            out.push(Output::ShutdownWrite(Side::Compute));
            if compute.has_ended() || matches!(self.reason, CloseReason::TenantFailed(_)) {
                self.compute_stage = Stage::Done;
            } else {
                self.compute_stage = Stage::Draining;
                compute.read(out);
            }
        }
        if self.tenant_stage == Stage::Flushing && self.tenant.is_flushed() {
            out.push(Output::ShutdownWrite(Side::Tenant));
            if self.tenant.has_ended() {
                self.tenant_stage = Stage::Done;
            } else {
                self.tenant_stage = Stage::Draining;
                self.close_until = cx.now + duration(cx.settings.limits.close_timeout_ms);
                self.tenant.read(out);
            }
        }
        if self.tenant_stage == Stage::Done && self.compute_stage == Stage::Done {
            out.push(Output::Close(self.reason));
            return Phase::Taken;
        }
        Phase::Closing(Box::new(self))
    }
}

/// One line says how a console session ended. Web requests and probes leave none.
fn log(cx: &Context, reason: &CloseReason) {
    let number = cx.number;
    match reason {
        CloseReason::Refused(_) | CloseReason::Rfb(_) | CloseReason::TimedOut(_) => {
            // Nova's server logs this, which knows no connection's number.
            tracing::info!(target: super::LOG_TARGET, request = number, "handler exception: {reason}");
        }
        _ => numbered!(debug, cx, "session ends: {reason}"),
    }
}
