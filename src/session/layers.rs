//! The TLS layers of a session, one per side that is under TLS, between the engine and the phases.
//!
//! An input goes to the layer of its side, and what that makes of it to the phase; an output of the phase's goes
//! to the layer of its side, and what that makes of it to the engine.

use std::time::Instant;

use super::secure::{Handover, Secure, Upgrade};
use super::{CloseReason, Context, Failure, Input, LOG_TARGET, Offloaded, Outbox, Output, Side};
use crate::proto::tls::TlsLayer;

/// At least one side is under TLS.
#[derive(Debug, Default)]
pub(super) struct Layers {
    tenant: Option<Box<Secure>>,
    compute: Option<Box<Secure>>,
    /// What the phase wishes for the tenant's side while it is not known whether the kernel takes over
    held: Option<Vec<Output>>,
    /// What happened to a side without a layer
    passed: Option<Input>,
    /// The phases are over, and the end waits for what is owed to a peer
    closing: Option<Box<CloseReason>>,
}

impl Layers {
    /// The tenant's connection begins with TLS.
    pub(super) fn with_tenant(cx: &Context, layer: Box<TlsLayer>) -> Self {
        Self { tenant: Some(Box::new(Secure::with_tenant(cx, layer))), ..Self::default() }
    }

    /// The compute node's connection goes under TLS.
    pub(super) fn add_compute(&mut self, cx: &Context, upgrade: Upgrade, out: &mut Outbox) {
        self.compute = Some(Box::new(Secure::with_compute(cx, upgrade, out)));
    }

    /// Whether the tenant's side is under TLS.
    pub(super) fn has_tenant(&self) -> bool {
        self.tenant.is_some()
    }

    /// Whether nothing is under TLS any more.
    pub(super) fn is_empty(&self) -> bool {
        self.tenant.is_none() && self.compute.is_none() && self.held.is_none() && self.passed.is_none()
    }

    /// Wants the kernel to go on with the tenant's TLS, as far as it has the cipher. At the end of each step
    /// [`Layers::hand_over`] has to follow.
    pub(super) fn want_kernel(&mut self, cx: &Context) {
        if !cx.settings.tls.kernel.is_empty()
            && let Some(tenant) = &mut self.tenant
        {
            tenant.want_kernel();
        }
    }

    /// Hands the tenant's TLS over to the kernel, where that is wanted and nothing is under way.
    pub(super) fn hand_over(&mut self, cx: &Context, out: &mut Outbox) {
        if self.tenant.as_mut().is_some_and(|tenant| tenant.yields(&cx.settings.tls.kernel, out))
            && let Some(tenant) = self.tenant.take()
        {
            self.held = Some(vec![Output::Read(Side::Tenant)]);
            out.push(Output::Offload { side: Side::Tenant, handover: Handover(tenant) });
        }
    }

    /// The kernel has the tenant's TLS now, or not.
    fn handed_over(&mut self, cx: &Context, outcome: Offloaded, out: &mut Outbox) {
        let held = self.held.take().unwrap_or_default();
        match outcome {
            Offloaded::Kernel => {
                tracing::debug!(target: LOG_TARGET, "{:3}: the kernel goes on with the tenant's TLS", cx.number);
                out.counters().kernel_tls.add_alone(1);
            }
            Offloaded::Not(mut handover) => {
                handover.0.refuse_kernel();
                self.tenant = Some(handover.0);
            }
            Offloaded::Failed(source) => {
                // Nothing can be read or written any more.
                self.passed = Some(Input::Failed(Failure::Read { from: Side::Tenant, source }));
                return;
            }
        }
        for output in held {
            self.wish(cx, output, out);
        }
    }

    /// Whether the handshake with a side is under way.
    pub(super) fn is_handshaking(&self, with: Side) -> bool {
        let layer = if with == Side::Tenant { &self.tenant } else { &self.compute };
        layer.as_ref().is_some_and(|secure| secure.is_handshaking())
    }

    /// When the tenant's handshake has to be over, if it is not.
    pub(super) fn handshake_until(&self) -> Option<Instant> {
        self.tenant.as_ref().and_then(|tenant| tenant.handshake_until())
    }

    /// Whether only the end is left, and waits.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// How long the end still waits.
    pub(super) fn owes_until(&self, now: Instant) -> Option<Instant> {
        [&self.tenant, &self.compute].into_iter().flatten().filter_map(|secure| secure.owes_until(now)).max()
    }

    /// Takes what happened once only the end is left, which comes when nothing is owed any more.
    pub(super) fn happened_at_the_end(&mut self, cx: &Context, input: Input, out: &mut Outbox) {
        self.happened(cx, input, out);
        while self.next().is_some() {}
        if self.owes_until(cx.now).is_none()
            && let Some(reason) = self.closing.take()
        {
            out.push(Output::Close(*reason));
        }
    }

    /// Takes what happened; what it means to the phase is to be taken with [`Layers::next`]. The side whose
    /// handshake that ended, if it did.
    pub(super) fn happened(&mut self, cx: &Context, input: Input, out: &mut Outbox) -> Option<Side> {
        let input = match input {
            Input::Offloaded { outcome, .. } => {
                self.handed_over(cx, outcome, out);
                return None;
            }
            input => input,
        };
        // Deadlines and the like have no side. The tenant's layer has a deadline of its own.
        let (side, other) = match side_of_input(&input) {
            Some(Side::Compute) => (&mut self.compute, &mut self.tenant),
            Some(Side::Tenant) | None => (&mut self.tenant, &mut self.compute),
        };
        let Some(secure) = side.as_mut().or(other.as_mut()) else {
            self.passed = Some(input);
            return None;
        };
        secure.happened(cx, input, out).then(|| secure.side())
    }

    /// The next thing that the phase has to be told.
    pub(super) fn next(&mut self) -> Option<Input> {
        let mut both = [&mut self.tenant, &mut self.compute].into_iter().flatten();
        self.passed.take().or_else(|| both.find_map(|secure| secure.feed.pop()))
    }

    /// Carries out a wish of the phase's.
    pub(super) fn wish(&mut self, cx: &Context, output: Output, out: &mut Outbox) {
        let output = match output {
            // Closing cancels what is being written. A peer is owed the alert that says why, or the `close_notify`
            // without which it has to take what it got for cut off (RFC 8446 section 6.1).
            Output::Close(reason) if self.owes_until(cx.now).is_some() => {
                self.closing = Some(Box::new(reason));
                return;
            }
            // What is spliced would not be sealed, or has not been opened.
            Output::SpliceIn { from } if !self.is_empty() => Output::Read(from),
            output => output,
        };
        if let Some(held) = &mut self.held
            && side_of_output(&output) == Some(Side::Tenant)
        {
            held.push(output);
            return;
        }
        let secure = match side_of_output(&output) {
            Some(Side::Tenant) => &mut self.tenant,
            Some(Side::Compute) => &mut self.compute,
            None => &mut None,
        };
        match secure {
            Some(secure) => secure.wish(cx, output, out),
            None => out.push(output),
        }
    }
}

fn side_of_input(input: &Input) -> Option<Side> {
    match input {
        Input::Received { from: side, .. }
        | Input::Ended { from: side }
        | Input::Piped { from: side, .. }
        | Input::Written { to: side }
        | Input::Spliced { to: side }
        | Input::Offloaded { side, .. }
        | Input::Failed(Failure::Read { from: side, .. } | Failure::Write { to: side, .. }) => Some(*side),
        Input::Authorized(_)
        | Input::Resolved(_)
        | Input::File(_)
        | Input::Connected
        | Input::Failed(_)
        | Input::Kill(_)
        | Input::Deadline => None,
    }
}

fn side_of_output(output: &Output) -> Option<Side> {
    match output {
        Output::Read(side)
        | Output::SpliceIn { from: side }
        | Output::Write { to: side, .. }
        | Output::SpliceOut { to: side, .. }
        | Output::Offload { side, .. }
        | Output::ShutdownWrite(side) => Some(*side),
        Output::Ask(_)
        | Output::Tell(_)
        | Output::Connect { .. }
        | Output::Recycle(_)
        | Output::Close(_)
        | Output::Wait(_) => None,
    }
}
