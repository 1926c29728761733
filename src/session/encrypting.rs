//! TLS with a compute node from its first byte on (`serial_tls`, `spice_tls`), before anything is relayed.
//!
//! The 101 is long sent, as Nova does it: a handshake that fails is a refusal, like a connection that fails.

use std::time::Instant;

use super::admission::waiting;
use super::closing;
use super::connecting::tunnel;
use super::control::Admitted;
use super::error::{CloseReason, ComputeTlsError, Failure, Refusal};
use super::limits::duration;
use super::link::Link;
use super::phase::Phase;
use super::secure::{Upgrade, is_of_tls};
use super::tenant::Upgraded;
use super::{Context, Input, Outbox, Side};
use crate::proto::bytes::Chunk;

/// A connected compute node whose TLS handshake is not over yet.
#[derive(Debug)]
pub(super) struct Encrypting {
    upgraded: Upgraded,
    compute: Link,
    info: Box<Admitted>,
    since: Instant,
    deadline: Instant,
    /// What puts the connection under TLS, until it is taken
    upgrade: Option<Upgrade>,
}

impl Encrypting {
    pub(super) fn start(cx: &Context, upgraded: Upgraded, info: Box<Admitted>, out: &mut Outbox) -> Phase {
        let mut compute = Link::new(Side::Compute);
        match cx.settings.compute_tls.connect(&info.host) {
            Ok(layer) => {
                // It stays open under TLS, and is answered by what comes out of that.
                compute.read(out);
                let deadline = cx.now + duration(cx.settings.limits.compute_tls_timeout_ms);
                let upgrade = Some(Upgrade {
                    layer: Box::new(layer),
                    early: Chunk::default(),
                    unsent: None,
                    writing: false,
                    last_byte_apart: true,
                });
                Phase::Encrypting(Box::new(Self {
                    upgraded,
                    compute,
                    info,
                    since: cx.now,
                    deadline,
                    upgrade,
                }))
            }
            Err(error) => refuse(cx, upgraded, compute, ComputeTlsError::Failed(error.to_string()), out),
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// The handshake is over, and what follows is inside it.
    pub(super) fn secured(self, cx: &Context, out: &mut Outbox) -> Phase {
        tunnel(cx, self.upgraded, self.compute, self.info, out)
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        let error = match input {
            Input::Ended { from: Side::Compute } => {
                self.compute.set_ended();
                ComputeTlsError::Closed
            }
            Input::Failed(Failure::Read { from: Side::Compute, source }) if is_of_tls(&source) => {
                // Its connection is whole, and takes our alert.
                self.compute.read_done();
                ComputeTlsError::Failed(source.to_string())
            }
            Input::Failed(Failure::Read { from: Side::Compute, .. }) => {
                self.compute.set_broken();
                self.compute.set_ended();
                ComputeTlsError::Closed
            }
            Input::Deadline => ComputeTlsError::TimedOut,
            input => {
                return match waiting(&mut self.upgraded, input, out) {
                    None => Phase::Encrypting(Box::new(self)),
                    Some(end) => end.close(cx, self.upgraded, Some(self.compute), out),
                };
            }
        };
        refuse(cx, self.upgraded, self.compute, error, out)
    }
}

fn refuse(
    cx: &Context,
    upgraded: Upgraded,
    compute: Link,
    error: ComputeTlsError,
    out: &mut Outbox,
) -> Phase {
    let reason = CloseReason::Refused(Refusal::ComputeTls(error));
    closing::close(cx, upgraded.tenant, Some(compute), reason, out)
}
