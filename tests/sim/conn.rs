//! One tenant's connection as the engine holds it: two sockets, what is open on them, what was reported.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use consolegate::engine::SessionId;
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::session::{CloseReason, Failure, Input};

use crate::compute::Compute;
use crate::coverage::Fault;
use crate::plan::{Dial, Plan};
use crate::prng::Prng;
use crate::splice::{Pipe, Splices};
use crate::tcp::Socket;
use crate::tenant::Tenant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not accepted yet
    Waiting,
    Live,
    /// Closed; its last operation comes back then
    Closed(Duration),
    Released,
}

/// What is open on one side's socket.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) read: Read,
    /// More than one only when a bug is planted
    pub(crate) writes: VecDeque<Write>,
    pub(crate) write_open: bool,
    pub(crate) shut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Read {
    #[default]
    None,
    Open,
    /// Open, and the bytes may stay in the kernel
    Splice,
    /// Done, but not reported yet
    Done,
}

pub(crate) struct Write {
    pub(crate) chunk: Chunk,
    /// Reported as written before it was: a planted bug
    pub(crate) reported: bool,
    /// A header and what was in the pipe
    pub(crate) spliced: bool,
}

impl Write {
    /// What the session is told when it is done.
    pub(crate) fn done(&self, to: Side) -> Input {
        if self.spliced { Input::Spliced { to } } else { Input::Written { to } }
    }
}

/// What the session has been told and has asked for, as far as the oracle needs it.
#[derive(Default)]
pub(crate) struct Facts {
    /// Wire bytes read from the tenant before the end
    pub(crate) tenant_read: usize,
    /// And after it
    pub(crate) drained: usize,
    /// Bytes read from the compute node before the end
    pub(crate) compute_read: usize,
    /// Console bytes given to writes to the tenant, and all bytes given to writes to the compute node
    pub(crate) to_tenant: usize,
    pub(crate) to_compute: usize,
    pub(crate) tenant_ended: bool,
    pub(crate) compute_ended: bool,
    pub(crate) tenant_failed: Option<Duration>,
    pub(crate) compute_failed: bool,
    pub(crate) relayed: bool,
    pub(crate) closing_since: Option<Duration>,
    pub(crate) killed: bool,
    pub(crate) reason: Option<CloseReason>,
    pub(crate) closed_at: Option<Duration>,
    /// How much of what the tenant and the compute node received has been compared
    pub(crate) tenant_checked: usize,
    pub(crate) compute_checked: usize,
    pub(crate) faults: Vec<Fault>,
}

pub(crate) struct Conn {
    pub(crate) index: usize,
    pub(crate) state: State,
    pub(crate) start_at: Duration,
    pub(crate) id: SessionId,
    /// Counts from 1 in the order of acceptance
    pub(crate) number: u64,
    pub(crate) phase: &'static str,
    pub(crate) phase_since: Duration,
    pub(crate) tenant: Tenant,
    pub(crate) tenant_socket: Socket,
    pub(crate) compute: Compute,
    pub(crate) compute_socket: Option<Socket>,
    pub(crate) operations: [Operations; 2],
    pub(crate) pipe: Option<Pipe>,
    pub(crate) splices: Splices,
    pub(crate) dials: VecDeque<Dial>,
    pub(crate) dialing: Option<Dial>,
    /// Completions that were not reported yet, and when they may be
    pub(crate) ready: Vec<(Duration, Input)>,
    pub(crate) fault: Option<(&'static str, Fault)>,
    pub(crate) short_io: usize,
    pub(crate) late: usize,
    pub(crate) tunnel: bool,
    pub(crate) files: Vec<usize>,
    pub(crate) chooses_none: bool,
    pub(crate) facts: Facts,
}

impl Conn {
    pub(crate) fn new(index: usize, plan: Plan, rng: &mut Prng) -> Self {
        Self {
            index,
            state: State::Waiting,
            start_at: plan.start_at,
            id: SessionId { index: 0, generation: 0 },
            number: 0,
            phase: "",
            phase_since: Duration::ZERO,
            tenant: plan.tenant,
            tenant_socket: Socket::new(rng),
            compute: plan.compute,
            compute_socket: None,
            operations: Default::default(),
            pipe: None,
            splices: Splices::default(),
            dials: plan.dials.into(),
            dialing: None,
            ready: Vec::new(),
            fault: plan.fault,
            short_io: 0,
            late: 0,
            tunnel: plan.tunnel,
            files: plan.files,
            chooses_none: plan.chooses_none,
            facts: Facts::default(),
        }
    }

    /// The step that the session is in: its phase, or the TLS handshake that is part of it.
    pub(crate) fn step(&self) -> &'static str {
        match self.phase {
            "request" if self.tenant.actor.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) => "TLS",
            "securing" if self.compute.is_handshaking() => "VeNCrypt",
            phase => phase,
        }
    }

    /// How many bytes of what a side has said the session has read before its end.
    pub(crate) fn read_from(&self, side: Side) -> usize {
        match side {
            Side::Tenant => self.tenant.actor.said_within(self.facts.tenant_read),
            Side::Compute => self.compute.actor.said_within(self.facts.compute_read),
        }
    }

    pub(crate) fn tenant_ended(&self) -> bool {
        self.facts.tenant_ended || self.tenant.actor.says_end_within(self.facts.tenant_read)
    }

    pub(crate) fn compute_ended(&self) -> bool {
        self.facts.compute_ended || self.compute.actor.says_end_within(self.facts.compute_read)
    }

    /// Its connection failed, or it broke TLS.
    pub(crate) fn tenant_failed(&self) -> bool {
        self.facts.tenant_failed.is_some() || self.tenant.actor.breaks_tls_within(self.facts.tenant_read)
    }

    pub(crate) fn compute_failed(&self) -> bool {
        self.facts.compute_failed || self.compute.actor.breaks_tls_within(self.facts.compute_read)
    }

    pub(crate) fn socket(&mut self, side: Side) -> Option<&mut Socket> {
        match side {
            Side::Tenant => Some(&mut self.tenant_socket),
            Side::Compute => self.compute_socket.as_mut(),
        }
    }

    pub(crate) fn can_read(&self, side: Side) -> bool {
        let socket = match side {
            Side::Tenant => Some(&self.tenant_socket),
            Side::Compute => self.compute_socket.as_ref(),
        };
        matches!(self.operations[side as usize].read, Read::Open | Read::Splice)
            && socket.is_some_and(|s| s.to_proxy.arrived() > 0 || s.to_proxy.at_end() || s.peer_reset)
    }

    pub(crate) fn can_write(&self, side: Side) -> bool {
        let socket = match side {
            Side::Tenant => Some(&self.tenant_socket),
            Side::Compute => self.compute_socket.as_ref(),
        };
        !self.operations[side as usize].writes.is_empty()
            && socket.is_some_and(|s| s.to_peer.room() > 0 || s.to_peer.is_finished() || s.peer_reset)
    }

    /// Carries on with the open read, which [`Conn::can_read`].
    pub(crate) fn read(&mut self, side: Side, now: Duration, read_bytes: usize, rng: &mut Prng) {
        let short_io = self.is_short();
        let splice = self.operations[side as usize].read == Read::Splice;
        let Some(socket) = self.socket(side) else { return };
        let arrived = socket.to_proxy.arrived();
        let piped = if splice && arrived > 0 { self.fill_pipe(rng) } else { None };
        let Some(socket) = self.socket(side) else { return };
        let input = if let Some(len) = piped {
            Input::Piped { from: side, len }
        } else if arrived > 0 {
            let most = read_bytes.min(if short_io { 3 } else { arrived });
            let len = if rng.one_in(4) { rng.between(1..=most) } else { most };
            let mut chunk = Chunk::with_capacity(read_bytes);
            chunk.append(&socket.to_proxy.read(len));
            Input::Received { from: side, chunk }
        } else if socket.peer_reset {
            Input::Failed(Failure::Read { from: side, source: io::ErrorKind::ConnectionReset.into() })
        } else {
            Input::Ended { from: side }
        };
        self.operations[side as usize].read = Read::Done;
        self.complete(input, now, rng);
    }

    /// Carries on with the oldest write, which [`Conn::can_write`].
    pub(crate) fn write(&mut self, side: Side, now: Duration, rng: &mut Prng) {
        let short_io = self.is_short();
        let Some(mut write) = self.operations[side as usize].writes.pop_front() else { return };
        let Some(socket) = self.socket(side) else { return };
        let input = if socket.peer_reset || socket.to_peer.is_finished() {
            Input::Failed(Failure::Write { to: side, source: io::ErrorKind::BrokenPipe.into() })
        } else {
            let most = write.chunk.len().min(if short_io { 3 } else { usize::MAX });
            let len = if rng.one_in(4) { rng.between(1..=most) } else { most };
            let len = socket.to_peer.write(&write.chunk.bytes()[..len]);
            write.chunk.advance(len);
            if !write.chunk.is_empty() {
                self.operations[side as usize].writes.push_front(write);
                return;
            }
            write.done(side)
        };
        if !write.reported {
            self.complete(input, now, rng);
        }
    }

    fn is_short(&mut self) -> bool {
        let short = self.short_io > 0;
        self.short_io = self.short_io.saturating_sub(1);
        short
    }

    /// Notes a completion; it is reported then or later.
    pub(crate) fn complete(&mut self, input: Input, now: Duration, rng: &mut Prng) {
        let delay = if self.late > 0 {
            self.late -= 1;
            rng.millis(1..=40)
        } else {
            Duration::ZERO
        };
        self.ready.push((now + delay, input));
    }

    /// The input is being reported: the operation is over, and the session knows.
    pub(crate) fn reported(&mut self, input: &Input, now: Duration) {
        let closing = self.phase == "closing";
        match input {
            Input::Received { from, chunk } => {
                self.operations[*from as usize].read = Read::None;
                let read = match (from, closing) {
                    (Side::Tenant, false) => &mut self.facts.tenant_read,
                    (Side::Tenant, true) => &mut self.facts.drained,
                    (Side::Compute, false) => &mut self.facts.compute_read,
                    (Side::Compute, true) => return,
                };
                *read += chunk.len();
            }
            Input::Ended { from } => {
                self.operations[*from as usize].read = Read::None;
                match from {
                    Side::Tenant => self.facts.tenant_ended = true,
                    Side::Compute => self.facts.compute_ended = true,
                }
            }
            Input::Piped { from, len } => {
                self.operations[*from as usize].read = Read::None;
                self.tell_of_pipe(closing);
                if !closing {
                    self.facts.compute_read += *len as usize;
                }
            }
            Input::Written { to } => self.operations[*to as usize].write_open = false,
            Input::Spliced { to } => {
                self.operations[*to as usize].write_open = false;
                self.drop_pipe();
            }
            Input::Failed(Failure::Read { from: side, .. } | Failure::Write { to: side, .. }) => {
                match input {
                    Input::Failed(Failure::Read { .. }) => self.operations[*side as usize].read = Read::None,
                    _ => self.operations[*side as usize].write_open = false,
                }
                match side {
                    Side::Tenant => self.facts.tenant_failed = self.facts.tenant_failed.or(Some(now)),
                    Side::Compute => self.facts.compute_failed = true,
                }
            }
            _ => {}
        }
    }

    /// close(2) on both sockets; what is open is cancelled.
    pub(crate) fn close(&mut self) {
        self.tenant_socket.close_by_proxy();
        if let Some(socket) = &mut self.compute_socket {
            socket.close_by_proxy();
        }
        self.operations = Default::default();
        self.discard_pipe();
        self.ready.clear();
        self.dialing = None;
    }

    /// What a proxy could still do to this tenant has been seen by it.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        let tenant_done = self.tenant_socket.peer_reset
            || self.tenant.seen.fin
            || self.tenant.seen.reset
            || self.tenant.actor.is_stalled(now);
        let compute_done = self.compute_socket.as_ref().is_none_or(|socket| socket.peer_reset)
            || self.compute.seen_fin
            || self.compute.seen_reset
            || self.compute.actor.is_stalled(now);
        self.state == State::Released && tenant_done && compute_done
    }
}
