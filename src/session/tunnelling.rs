//! The CONNECT preamble that `internal_access_path` asks for (XenServer's consoles).

use std::time::Instant;

use super::admission::waiting;
use super::closing;
use super::connecting::secure;
use super::control::Admitted;
use super::error::{CloseReason, Failure, Refusal};
use super::limits::duration;
use super::link::Link;
use super::phase::Phase;
use super::tenant::Upgraded;
use super::{Context, Input, Outbox, Side};

use crate::proto::bytes::Chunk;
use crate::proto::http::connect::{self, ConnectError, ConnectPreamble};

/// A connected compute node that has not answered our CONNECT yet.
#[derive(Debug)]
pub(super) struct Tunnelling {
    upgraded: Upgraded,
    compute: Link,
    preamble: ConnectPreamble,
    info: Box<Admitted>,
    since: Instant,
    deadline: Instant,
}

impl Tunnelling {
    pub(super) fn start(
        cx: &Context,
        upgraded: Upgraded,
        mut compute: Link,
        info: Box<Admitted>,
        out: &mut Outbox,
    ) -> Phase {
        match connect::request(info.internal_access_path.as_deref().unwrap_or_default()) {
            Ok(request) => {
                compute.write(Chunk::copied_from(&request), out);
                compute.read(out);
                let deadline = cx.now + duration(cx.settings.limits.tunnel_timeout_ms);
                let preamble = ConnectPreamble::new();
                Phase::Tunnelling(Box::new(Self {
                    upgraded,
                    compute,
                    preamble,
                    info,
                    since: cx.now,
                    deadline,
                }))
            }
            Err(error) => refuse(cx, upgraded, compute, error, out),
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Received { from: Side::Compute, mut chunk } => {
                self.compute.read_done();
                match self.preamble.feed(chunk.bytes()) {
                    Ok(None) => {
                        out.recycle(chunk);
                        self.compute.read(out);
                        Phase::Tunnelling(Box::new(self))
                    }
                    Ok(Some(head_len)) => {
                        chunk.advance(head_len);
                        secure(cx, self.upgraded, self.compute, self.info, chunk, out)
                    }
                    Err(error) => refuse(cx, self.upgraded, self.compute, error, out),
                }
            }
            Input::Written { to: Side::Compute } => {
                self.compute.written(out);
                Phase::Tunnelling(Box::new(self))
            }
            // What it said before may be here still, and the read that is open will tell.
            Input::Failed(Failure::Write { to: Side::Compute, .. }) => {
                self.compute.write_failed();
                Phase::Tunnelling(Box::new(self))
            }
            input @ (Input::Ended { from: Side::Compute }
            | Input::Failed(Failure::Read { from: Side::Compute, .. })) => {
                if matches!(input, Input::Failed(_)) {
                    self.compute.set_broken();
                }
                self.compute.set_ended();
                let error = self.preamble.ended();
                refuse(cx, self.upgraded, self.compute, error, out)
            }
            Input::Deadline => {
                let reason = CloseReason::TimedOut("waiting for the answer to CONNECT");
                closing::close(cx, self.upgraded.tenant, Some(self.compute), reason, out)
            }
            input => match waiting(&mut self.upgraded, input, out) {
                None => Phase::Tunnelling(Box::new(self)),
                Some(end) => end.close(cx, self.upgraded, Some(self.compute), out),
            },
        }
    }
}

fn refuse(cx: &Context, upgraded: Upgraded, compute: Link, error: ConnectError, out: &mut Outbox) -> Phase {
    let reason = CloseReason::Refused(Refusal::Tunnel(error));
    closing::close(cx, upgraded.tenant, Some(compute), reason, out)
}
