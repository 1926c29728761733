//! One console session, composed from the machines of [`proto`](crate::proto). Still no I/O.
//!
//! # The drain contract
//!
//! Whoever drives a [`Session`] calls [`Session::start`] once, and then, for each thing that happens,
//! [`Session::handle`] with one [`Input`]. After each call it takes *all* outputs from the [`Outbox`], in
//! order, and carries them out; the last one is [`Output::Wait`], which says until when nothing more will happen
//! without an input, unless that is what the one before has said. Then the next call may follow. After
//! [`Output::Close`] the session is over: no further call is made, and whatever was still under way is cancelled.
//!
//! What an output promises about its input:
//!
//! * [`Output::Read`] is answered once, by `Received`, `Ended` or `Failed(Read)`; one is open per side.
//! * [`Output::SpliceIn`] counts as a read. It is answered by `Piped`, or, where the engine has no pipe to
//!   spare or the kernel refuses, as a read is.
//! * [`Output::Write`] is answered once, by `Written` (all of it) or `Failed(Write)`; one is open per side.
//! * [`Output::SpliceOut`] counts as a write and is answered by `Spliced` or `Failed(Write)`. It follows a
//!   `Piped`, and no further `SpliceIn` comes before its answer: a connection has one pipe.
//! * [`Output::Ask`] is answered once, or never if the session closes before; one is open.
//! * [`Output::Connect`] is answered by `Connected` or `Failed(Connect)`, in its time, and may then be repeated.
//! * [`Output::Offload`] is answered by `Offloaded`. An engine that knows no kernel TLS gives back what it got.
//! * [`Output::ShutdownWrite`] and [`Output::Tell`] are not answered.
//!
//! Bytes and time are the session's only view of the world: [`Context::now`] is the one clock, and buffers
//! move in and out as [`Chunk`]s, so a session at rest owns no heap.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::proto::Side;
use crate::proto::bytes::Chunk;
use crate::proto::ws::FrameHeader;
use crate::telemetry::counters::WorkerCounters;

mod admission;
mod bulk;
mod closing;
mod connecting;
mod control;
mod encrypting;
mod error;
mod fifo;
mod layers;
mod lifetime;
pub mod limits;
mod line;
mod link;
mod opening;
mod phase;
mod recording;
mod relay;
mod request;
mod responding;
mod secure;
mod securing;
mod settings;
mod tenant;
#[cfg(test)]
mod tests;
mod tunnelling;

pub use closing::{Farewell, farewell};
pub use control::{
    Addresses, Admitted, AuthorizeError, Authorizer, Crowd, FileEvent, FileHandle, Notice, Overloaded, Place,
    Question, RecordEvent, Reply, Traffic, TrafficReply, Workers,
};
pub use error::{CloseReason, ComputeTlsError, Failure, HttpEnd, Refusal};
use layers::Layers;
pub use limits::Limits;
use opening::{Opened, Opening};
pub use phase::PHASE_NAMES;
use phase::Phase;
pub use recording::RecordStream;
pub use secure::Handover;
pub use settings::{
    ComputeTlsSettings, InvalidNetwork, Network, Security, Settings, TlsSettings, VncSettings,
};

/// The logger name of Nova's session lines; log pipelines select on it.
pub const LOG_TARGET: &str = "nova.console.websocketproxy";

/// Everything that can happen to a session.
#[derive(Debug)]
pub enum Input {
    /// Bytes arrived; the buffer itself moves in. Never empty.
    Received {
        /// From which side
        from: Side,
        /// The bytes
        chunk: Chunk,
    },
    /// That side sent its FIN.
    Ended {
        /// Which side
        from: Side,
    },
    /// The whole chunk of the last [`Output::Write`] is with the kernel.
    Written {
        /// To which side
        to: Side,
    },
    /// So many bytes moved from that side's socket into the connection's pipe, and wait there.
    Piped {
        /// From which side
        from: Side,
        /// Number of bytes, never 0. May exceed the pipe's nominal size: a page can hold less than a page.
        len: u32,
    },
    /// The header and all piped bytes are with the kernel.
    Spliced {
        /// To which side
        to: Side,
    },
    /// The answer to [`Output::Offload`].
    Offloaded {
        /// Which side's
        side: Side,
        /// What came of it
        outcome: Offloaded,
    },
    /// The token is valid and leads here.
    Authorized(Box<Admitted>),
    /// The compute node's addresses, best first.
    Resolved(Addresses),
    /// Something of a web file.
    File(FileEvent),
    /// The compute node took the connection.
    Connected,
    /// An output could not be carried out.
    Failed(Failure),
    /// End now, for this reason: an operator, a limit, the end of the process.
    Kill(CloseReason),
    /// The time of the last [`Output::Wait`] has come.
    Deadline,
}

/// Everything a session may ask for.
#[derive(Debug)]
pub enum Output {
    /// A question to the control thread.
    Ask(Question),
    /// A notice of what others want to know; it is not answered.
    Tell(Notice),
    /// Connect to the compute node.
    Connect {
        /// One of its addresses
        address: SocketAddr,
        /// How long that may take, before it fails as `TimedOut`
        within: Duration,
    },
    /// Read from a side.
    Read(Side),
    /// Write all of the chunk to a side.
    Write {
        /// To which side
        to: Side,
        /// The bytes; the buffer moves out
        chunk: Chunk,
    },
    /// Read from a side, preferably by moving the bytes into a pipe without copying them.
    SpliceIn {
        /// From which side
        from: Side,
    },
    /// Write the frame header, then everything that waits in the pipe.
    SpliceOut {
        /// To which side
        to: Side,
        /// Goes first
        header: FrameHeader,
        /// Bytes in the pipe
        len: u32,
    },
    /// Let the kernel go on with a side's TLS. Nothing is under way on its socket, and nothing comes before the answer.
    Offload {
        /// Which side's
        side: Side,
        /// What it goes on with
        handover: Handover,
    },
    /// Take back the buffer of what was read: its bytes have been used.
    Recycle(Chunk),
    /// Send FIN to a side, behind everything written before; behind `close_notify` where the kernel does its TLS.
    ShutdownWrite(Side),
    /// The session is over: close both sockets, cancel what is under way.
    Close(CloseReason),
    /// All outputs are drained; nothing more happens until an input, or this time.
    Wait(Option<Instant>),
}

/// Who goes on with a side's TLS.
#[derive(Debug)]
pub enum Offloaded {
    /// The kernel: from now on plain bytes are read from the socket and written to it, or spliced
    Kernel,
    /// Nothing has happened
    Not(Handover),
    /// Nobody: the kernel failed with the keys in its hands, and the connection is cut
    Failed(std::io::Error),
}

/// The outputs of one call, and what its sessions count. It belongs to the worker, so a session at rest owns
/// no heap.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
    /// Room for what a phase above TLS wishes, while that is carried out
    wishes: Vec<Output>,
    counters: Arc<WorkerCounters>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All outputs since the last drain, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// What the sessions of this worker have counted.
    #[must_use]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Gives a buffer back to the engine, unless the session is over: nothing follows a Close.
    fn recycle(&mut self, chunk: Chunk) {
        if chunk.capacity() > 0 && !matches!(self.outputs.last(), Some(Output::Close(_))) {
            self.outputs.push(Output::Recycle(chunk));
        }
    }
}

/// What a session sees of its surroundings during one call.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The engine's clock
    pub now: Instant,
    /// Seconds since 1970, for `Date` headers
    pub unix_s: u64,
    /// What the operator decided
    pub settings: &'a Settings,
    /// The connection's number, as Nova's handler id: starts at 1, one per TCP connection
    pub number: u64,
    /// The tenant's address
    pub peer: SocketAddr,
    /// Whether the tenant's connection is under TLS
    pub tls: bool,
}

/// Settings, clock and identity that a session is driven with, less the time of the call.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// What stands between the tenant's socket and the phases; none for a plain connection
    transport: Option<Box<Transport>>,
    number: u64,
    peer: SocketAddr,
}

/// What stands between the tenant's socket and the phases.
#[derive(Debug)]
enum Transport {
    /// What that is, the first bytes will tell
    Opening(Opening),
    /// TLS, with one side or both
    Layers(Layers),
}

impl Session {
    /// A session for a connection that was just accepted. `number` is process-wide and starts at 1.
    #[must_use]
    pub fn new(number: u64, peer: SocketAddr) -> Self {
        Self { phase: Phase::Taken, transport: None, number, peer }
    }

    /// Asks for the first bytes. Called once, before any [`Session::handle`].
    pub fn start(&mut self, now: Instant, unix_s: u64, settings: &Settings, out: &mut Outbox) {
        let cx = self.context(now, unix_s, settings);
        self.transport = Some(Box::new(Transport::Opening(Opening::new(&cx))));
        self.phase = request::Request::start(&cx, out);
        out.push(Output::Wait(self.deadline(now)));
    }

    /// Takes one input and appends what follows from it to `out`.
    pub fn handle(&mut self, now: Instant, unix_s: u64, settings: &Settings, input: Input, out: &mut Outbox) {
        let cx = self.context(now, unix_s, settings);
        match self.transport.take() {
            None => {
                let Some(rest) = self.phase.carry(&cx, input, out) else {
                    // What a relay carries moves no deadline.
                    return;
                };
                self.change(&cx, out, |phase, out| phase.step(&cx, rest, out));
                self.take_upgrade(&cx, out);
            }
            Some(mut transport) => {
                let goes_on = match &mut *transport {
                    Transport::Opening(opening) => self.open(cx, opening, input, out),
                    Transport::Layers(layers) => {
                        self.step_layers(&cx, layers, input, out);
                        !layers.is_empty()
                    }
                };
                if goes_on {
                    self.transport = Some(transport);
                }
            }
        }
        out.push(Output::Wait(self.deadline(now)));
    }

    fn context<'a>(&self, now: Instant, unix_s: u64, settings: &'a Settings) -> Context<'a> {
        let tls = matches!(self.transport.as_deref(), Some(Transport::Layers(layers)) if layers.has_tenant());
        Context { now, unix_s, settings, number: self.number, peer: self.peer, tls }
    }

    fn step(&mut self, cx: &Context, input: Input, out: &mut Outbox) {
        if let Some(rest) = self.phase.carry(cx, input, out) {
            self.change(cx, out, |phase, out| phase.step(cx, rest, out));
        }
    }

    /// Lets the phase become what it leads to.
    fn change(&mut self, cx: &Context, out: &mut Outbox, lead: impl FnOnce(Phase, &mut Outbox) -> Phase) {
        let phase = std::mem::replace(&mut self.phase, Phase::Taken);
        let (before, begun) = (phase.name(), phase.begun());
        self.phase = lead(phase, out);
        if self.phase.name() != before {
            if let Some((handshake, since)) = begun {
                out.counters.handshake.of(handshake).observe(cx.now.saturating_duration_since(since));
            }
            tracing::trace!(target: LOG_TARGET, "{:3}: {before} -> {}", self.number, self.phase.name());
        }
    }

    /// Takes an input while the first bytes are awaited. False when they are, or nobody awaits them any more.
    fn open(&mut self, mut cx: Context, opening: &mut Opening, input: Input, out: &mut Outbox) -> bool {
        let Input::Received { from: Side::Tenant, chunk } = input else {
            self.step(&cx, input, out);
            return true;
        };
        if matches!(self.phase, Phase::Closing(_)) {
            // Too late: our FIN is behind everything, and no handshake's answer may follow it.
            self.step(&cx, Input::Received { from: Side::Tenant, chunk }, out);
            return false;
        }
        let opened = opening.received(&cx, chunk);
        self.peer = opening.peer();
        cx.peer = self.peer;
        match opened {
            Opened::NotYet => {
                // The phase's read goes on.
                out.push(Output::Read(Side::Tenant));
                return true;
            }
            Opened::Announced => {
                self.phase.announced(&cx);
                out.push(Output::Read(Side::Tenant));
                return true;
            }
            Opened::Plain(chunk) => self.step(&cx, Input::Received { from: Side::Tenant, chunk }, out),
            Opened::Tls(layer, chunk) => {
                cx.tls = true;
                let mut layers = Layers::with_tenant(&cx, layer);
                self.step_layers(&cx, &mut layers, Input::Received { from: Side::Tenant, chunk }, out);
                self.transport = Some(Box::new(Transport::Layers(layers)));
            }
            Opened::Refused => {
                out.push(Output::Read(Side::Tenant));
                self.step(&cx, Input::Kill(CloseReason::Http(HttpEnd::Idle)), out);
            }
        }
        false
    }

    /// Takes an input through the TLS layers, and lets them carry out what the phase wishes.
    fn step_layers(&mut self, cx: &Context, layers: &mut Layers, input: Input, out: &mut Outbox) {
        if layers.is_closing() {
            return layers.happened_at_the_end(cx, input, out);
        }
        if let Some(side) = layers.happened(cx, input, out) {
            self.lead_above(cx, layers, out, |session, out| {
                session.change(cx, out, |phase, out| phase.secured(cx, side, out));
            });
        }
        while let Some(input) = layers.next() {
            self.lead_above(cx, layers, out, |session, out| session.step(cx, input, out));
        }
        if !matches!(self.phase, Phase::Taken) {
            layers.hand_over(cx, out);
        }
    }

    /// Leads the phase on, with the layers carrying out what it wishes.
    fn lead_above(
        &mut self,
        cx: &Context,
        layers: &mut Layers,
        out: &mut Outbox,
        lead: impl FnOnce(&mut Self, &mut Outbox),
    ) {
        let before = out.outputs.len();
        lead(self, out);
        if matches!(self.phase, Phase::Relaying(_)) {
            // Not earlier: most connections are short requests, and the handshake's tickets have left by now.
            layers.want_kernel(cx);
        }
        let mut wishes = std::mem::take(&mut out.wishes);
        wishes.extend(out.outputs.drain(before..));
        for output in wishes.drain(..) {
            layers.wish(cx, output, out);
        }
        out.wishes = wishes;
        if let Some(upgrade) = self.phase.take_upgrade() {
            layers.add_compute(cx, upgrade, out);
        }
    }

    /// Puts the compute node's connection under TLS, if the phase has agreed on that with it, where nothing was
    /// under TLS before.
    fn take_upgrade(&mut self, cx: &Context, out: &mut Outbox) {
        if let Some(upgrade) = self.phase.take_upgrade() {
            let mut layers = Layers::default();
            layers.add_compute(cx, upgrade, out);
            self.transport = Some(Box::new(Transport::Layers(layers)));
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.transport.as_deref() {
            Some(Transport::Layers(layers)) if layers.is_closing() => layers.owes_until(now),
            // A handshake may have been cut short by the session's end.
            _ if matches!(self.phase, Phase::Taken) => None,
            Some(Transport::Layers(layers)) => layers.handshake_until().or_else(|| self.phase.deadline()),
            Some(Transport::Opening(_)) | None => self.phase.deadline(),
        }
    }

    /// The phase's name, for logs, metrics and tests.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        match self.transport.as_deref() {
            Some(Transport::Layers(layers)) if layers.is_closing() => "closing",
            _ => self.phase.name(),
        }
    }

    /// Whether `input` is a step of a TLS handshake: computing for which all the other sessions of a worker wait. It
    /// may be handed over later, as a read may end later.
    #[must_use]
    pub fn shakes_hands(&self, input: &Input) -> bool {
        match (self.transport.as_deref(), input) {
            (Some(Transport::Opening(opening)), Input::Received { from: Side::Tenant, chunk }) => {
                opening.may_be_tls(chunk.bytes())
            }
            (Some(Transport::Layers(layers)), Input::Received { from, .. }) => layers.is_handshaking(*from),
            _ => false,
        }
    }

    /// Process-wide number of the connection.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Console bytes relayed so far, from the tenant and from the compute node; none while nothing is relayed.
    #[must_use]
    pub fn relayed_bytes(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Relaying(relay) => Some(relay.relayed_bytes()),
            _ => None,
        }
    }

    /// Whether the connection was upgraded: probes and web requests are no console sessions.
    #[must_use]
    pub fn is_console(&self) -> bool {
        self.phase.is_console()
    }
}
