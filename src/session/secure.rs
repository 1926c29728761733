//! TLS between a side's socket and the phases: they see plain bytes, the engine sees wire bytes.
//!
//! What the phases wish for that socket is carried out on the wire, and what happens on the wire is
//! told to the phases, with two promises kept on both sides: one read and one write are open at a time, and
//! each is answered once. The layer's own bytes (handshake, tickets, alerts) leave through the same one write.

use std::io;
use std::time::Instant;

use super::fifo::Fifo;
use super::limits::duration;
use super::{CloseReason, Context, Failure, Input, LOG_TARGET, Outbox, Output, Side};
use crate::proto::bytes::Chunk;
use crate::proto::kernel_tls::{KernelCiphers, KernelKeys};
use crate::proto::tls::{TlsError, TlsLayer};

/// A side's connection under TLS.
#[derive(Debug)]
pub(super) struct Secure {
    side: Side,
    layer: Box<TlsLayer>,
    /// The handshake is neither over nor given up
    handshaking: bool,
    /// When the tenant's has to be over; the compute node's is part of a phase, whose time counts
    handshake_until: Option<Instant>,
    /// The last byte of each write has a record of its own. QEMU's serial port takes from a record as much as its FIFO
    /// has room for, and looks for the rest only when the socket is readable: what is pasted would hang in the middle
    /// until the next key. A record of one byte behind it keeps the socket readable until all of it is taken.
    last_byte_apart: bool,
    /// The phase waits for bytes, and a read is open on the wire unless the end is known
    read_wanted: bool,
    wire_reading: bool,
    /// The phase waits for its bytes to be written
    write_wanted: bool,
    wire_writing: bool,
    /// Wire bytes behind the write that is open
    outgoing: Fifo<Chunk>,
    /// The peer has said that nothing more comes
    ended: bool,
    /// The peer broke TLS behind what the phase has been told
    violated: Option<Box<TlsError>>,
    /// Bytes cannot be sent any more
    broken: Option<io::ErrorKind>,
    /// FIN is to follow what is outgoing
    shutdown_wanted: bool,
    /// FIN is behind everything: nothing may follow it
    shut: bool,
    /// How long the session's end waits for what is owed to the peer: an alert, or `close_notify` and FIN
    owed_until: Option<Instant>,
    /// Nothing more is opened: what the wire brings is discarded by the phase
    failed: bool,
    /// The kernel is to take over at the end of this step, if it can: a read waits until then
    kernel_wanted: bool,
    /// It could not
    kernel_refused: bool,
    /// What the phase has to be told
    pub(super) feed: Fifo<Input>,
}

/// A plain connection to a compute node that goes under TLS.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// The client's end
    pub(super) layer: Box<TlsLayer>,
    /// What of the compute node's TLS has come already
    pub(super) early: Chunk,
    /// What is to leave in the clear first
    pub(super) unsent: Option<Chunk>,
    /// Whether a write is open, for which the phase waits
    pub(super) writing: bool,
    /// Whether the last byte of each write goes into a record of its own
    pub(super) last_byte_apart: bool,
}

/// A connection under TLS for the kernel to go on with.
#[derive(Debug)]
pub struct Handover(pub(super) Box<Secure>);

impl Handover {
    /// What the kernel needs. There is no way back from here.
    ///
    /// # Errors
    ///
    /// rustls does not give the keys out.
    pub fn into_keys(self) -> Result<KernelKeys, TlsError> {
        self.0.layer.into_keys()
    }
}

impl Secure {
    /// A tenant's connection whose first wire bytes are about to come; the phase waits for bytes.
    pub(super) fn with_tenant(cx: &Context, layer: Box<TlsLayer>) -> Self {
        let until = cx.now + duration(cx.settings.limits.tls_handshake_timeout_ms);
        Self { handshake_until: Some(until), ..Self::new(Side::Tenant, layer, false) }
    }

    /// A compute node's connection, of which the phase waits for bytes. Our hello leaves at once.
    pub(super) fn with_compute(cx: &Context, upgrade: Upgrade, out: &mut Outbox) -> Self {
        let mut secure = Self::new(Side::Compute, upgrade.layer, upgrade.writing);
        secure.last_byte_apart = upgrade.last_byte_apart;
        upgrade.unsent.into_iter().for_each(|chunk| secure.outgoing.push(chunk));
        secure.send(Chunk::default(), out);
        if !upgrade.early.is_empty() {
            // The read that is open goes on: these bytes were not its answer.
            secure.received(cx, upgrade.early, out);
        }
        secure
    }

    fn new(side: Side, layer: Box<TlsLayer>, writing: bool) -> Self {
        Self {
            side,
            layer,
            handshaking: true,
            handshake_until: None,
            last_byte_apart: false,
            read_wanted: true,
            wire_reading: true,
            write_wanted: writing,
            wire_writing: writing,
            outgoing: Fifo::new(),
            ended: false,
            violated: None,
            broken: None,
            shutdown_wanted: false,
            shut: false,
            owed_until: None,
            failed: false,
            kernel_wanted: false,
            kernel_refused: false,
            feed: Fifo::new(),
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Whether what comes from the peer is computed with, not just opened.
    pub(super) fn is_handshaking(&self) -> bool {
        self.handshaking && !self.failed
    }

    /// The handshake's deadline, which stands in for the phase's.
    pub(super) fn handshake_until(&self) -> Option<Instant> {
        self.handshake_until
    }

    /// Until when the session's end has to wait, because what is owed to the peer is still being written.
    pub(super) fn owes_until(&self, now: Instant) -> Option<Instant> {
        let owes = self.wire_writing && self.broken.is_none();
        self.owed_until.filter(|until| owes && now < *until)
    }

    /// Something is owed to the peer, which has as much time to take it as to answer a Close.
    fn owe(&mut self, cx: &Context) {
        self.owed_until.get_or_insert(cx.now + duration(cx.settings.limits.close_timeout_ms));
    }

    /// Takes what happened on the wire; what it means to the phase is in `feed` afterwards. True when that
    /// ended the handshake.
    pub(super) fn happened(&mut self, cx: &Context, input: Input, out: &mut Outbox) -> bool {
        match input {
            Input::Received { from, chunk } if from == self.side => {
                self.wire_reading = false;
                return self.received(cx, chunk, out);
            }
            Input::Ended { from } if from == self.side => {
                self.wire_reading = false;
                if self.is_tenants_handshake() {
                    // What Nova logs, in OpenSSL's words.
                    tracing::info!(target: LOG_TARGET, "{}: EOF occurred in violation of protocol", cx.peer.ip());
                }
                self.ended = true;
                self.tell_end();
            }
            Input::Failed(Failure::Read { from, source }) if from == self.side => {
                self.wire_reading = false;
                if self.is_tenants_handshake() {
                    tracing::info!(target: LOG_TARGET, "handler exception: {source} (from {})", cx.peer.ip());
                }
                if std::mem::take(&mut self.read_wanted) {
                    self.feed.push(Input::Failed(Failure::Read { from, source }));
                } else {
                    self.ended = true;
                }
            }
            Input::Written { to } if to == self.side => {
                self.wire_writing = false;
                self.flush(out);
            }
            Input::Failed(Failure::Write { to, source }) if to == self.side => {
                self.wire_writing = false;
                self.outgoing.clear();
                self.broken = Some(source.kind());
                self.fail_write();
            }
            Input::Deadline if self.handshake_until.is_some() => {
                if self.handshake_until.is_some_and(|until| until <= cx.now) {
                    tracing::debug!(target: LOG_TARGET, "{:3}: the TLS handshake took too long", cx.number);
                    self.give_up();
                }
            }
            Input::Kill(reason) => {
                if self.handshake_until.take().is_some() {
                    // The closing phase's time counts from here, and nothing is sent behind its FIN.
                    self.failed = true;
                }
                self.feed.push(Input::Kill(reason));
            }
            other => self.feed.push(other),
        }
        false
    }

    fn received(&mut self, cx: &Context, chunk: Chunk, out: &mut Outbox) -> bool {
        if self.failed {
            // What nobody waits for is discarded here already.
            if std::mem::take(&mut self.read_wanted) {
                self.feed.push(Input::Received { from: self.side, chunk });
            }
            return false;
        }
        let opened = self.layer.open(chunk);
        self.send(Chunk::default(), out);
        let over = self.handshaking && !self.layer.is_handshaking();
        if over {
            self.handshaking = false;
            self.handshake_until = None;
            let (number, side) = (cx.number, self.side);
            tracing::debug!(target: LOG_TARGET, "{number:3}: {side}: {}", self.layer.describe());
        }
        self.ended |= opened.ended;
        if !opened.plain.is_empty() && self.read_wanted {
            self.read_wanted = false;
            self.feed.push(Input::Received { from: self.side, chunk: opened.plain });
        }
        match opened.error {
            None => {
                self.tell_end();
                self.read(out);
            }
            Some(error) => self.violated(cx, error, out),
        }
        over
    }

    /// Whether this is a tenant that has neither ended its handshake nor been given up: Nova has a line for it.
    fn is_tenants_handshake(&self) -> bool {
        self.side == Side::Tenant && self.is_handshaking()
    }

    /// The peer broke TLS. Our alert is on the way.
    fn violated(&mut self, cx: &Context, error: TlsError, out: &mut Outbox) {
        self.failed = true;
        self.owe(cx);
        if self.side == Side::Tenant {
            // What Nova logs, less OpenSSL's wording. Of a compute node the phase says more.
            tracing::info!(target: LOG_TARGET, "handler exception: {error} (from {})", cx.peer.ip());
        }
        if self.handshake_until.is_some() {
            self.give_up();
            self.read(out);
        } else {
            self.violated = Some(Box::new(error));
            self.tell_violation();
        }
    }

    /// No request can come any more: the phase ends the connection, still waiting for its read.
    fn give_up(&mut self) {
        self.handshaking = false;
        self.handshake_until = None;
        self.failed = true;
        self.feed.push(Input::Kill(CloseReason::Http(super::HttpEnd::Idle)));
    }

    /// Carries out a wish of the phase's; what can be answered at once is in `feed` afterwards.
    pub(super) fn wish(&mut self, cx: &Context, output: Output, out: &mut Outbox) {
        match output {
            Output::Read(_) => {
                self.read_wanted = true;
                self.tell_violation();
                self.tell_end();
                self.read(out);
            }
            Output::Write { chunk, .. } => {
                self.write_wanted = true;
                if self.broken.is_some() {
                    return self.fail_write();
                }
                // Before the handshake is over nothing can be sent, and nothing but the end of the
                // connection is ever written then.
                if !self.layer.is_handshaking() {
                    self.seal(chunk.bytes());
                }
                self.send(chunk, out);
                self.tell_written();
            }
            Output::ShutdownWrite(_) => {
                // A handshake will not come to an end, and must not be answered behind the FIN; nor must anything else,
                // and what a relay would get is discarded now.
                self.failed = true;
                if !self.layer.is_handshaking() {
                    self.owe(cx);
                }
                self.layer.send_close_notify();
                self.shutdown_wanted = true;
                self.send(Chunk::default(), out);
                self.flush(out);
            }
            other => out.push(other),
        }
    }

    fn seal(&mut self, plain: &[u8]) {
        match plain.split_last_chunk::<1>() {
            Some((most, last)) if self.last_byte_apart && !most.is_empty() => {
                self.layer.seal(most);
                self.layer.seal(last);
            }
            _ => self.layer.seal(plain),
        }
    }

    /// Wants the kernel to take over at the end of this step.
    pub(super) fn want_kernel(&mut self) {
        self.kernel_wanted = !self.kernel_refused;
    }

    /// The kernel did not take over.
    pub(super) fn refuse_kernel(&mut self) {
        self.kernel_refused = true;
    }

    /// At the end of the step: true when the kernel can take over, and the phase's read with it; otherwise that read is
    /// open.
    pub(super) fn yields(&mut self, ciphers: &KernelCiphers, out: &mut Outbox) -> bool {
        if !std::mem::take(&mut self.kernel_wanted) {
            return false;
        }
        let reads = self.read_wanted && !self.wire_reading;
        let writes = self.wire_writing || !self.outgoing.is_empty() || self.shutdown_wanted || self.shut;
        let is_over = self.ended || self.failed || self.violated.is_some() || self.broken.is_some();
        let cipher = self.layer.kernel_cipher().filter(|cipher| ciphers.has(*cipher));
        if reads && !writes && !is_over && cipher.is_some() && self.feed.is_empty() {
            // Should it come back, it will be asked for again.
            self.read_wanted = false;
            return true;
        }
        self.read(out);
        false
    }

    fn read(&mut self, out: &mut Outbox) {
        if self.read_wanted && !self.wire_reading && !self.ended && !self.kernel_wanted {
            self.wire_reading = true;
            out.push(Output::Read(self.side));
        }
    }

    fn tell_violation(&mut self) {
        if self.read_wanted
            && let Some(error) = self.violated.take()
        {
            self.read_wanted = false;
            let source = io::Error::new(io::ErrorKind::InvalidData, *error);
            self.feed.push(Input::Failed(Failure::Read { from: self.side, source }));
        }
    }

    fn tell_end(&mut self) {
        if self.ended && self.read_wanted {
            self.read_wanted = false;
            self.feed.push(Input::Ended { from: self.side });
        }
    }

    /// Takes what the layer has to send, `sealed` being the bytes just sealed.
    fn send(&mut self, sealed: Chunk, out: &mut Outbox) {
        if let Some(wire) = self.layer.take_wire(sealed)
            && self.broken.is_none()
            && !self.shut
        {
            self.outgoing.push(wire);
        }
        if !self.wire_writing
            && let Some(chunk) = self.outgoing.pop()
        {
            self.wire_writing = true;
            out.push(Output::Write { to: self.side, chunk });
        }
    }

    /// A write is over: what waits behind it leaves, and behind all of it the FIN.
    fn flush(&mut self, out: &mut Outbox) {
        self.send(Chunk::default(), out);
        if self.wire_writing {
            return;
        }
        self.tell_written();
        if std::mem::take(&mut self.shutdown_wanted) {
            self.shut = true;
            out.push(Output::ShutdownWrite(self.side));
        }
    }

    fn tell_written(&mut self) {
        if self.write_wanted && !self.wire_writing {
            self.write_wanted = false;
            self.feed.push(Input::Written { to: self.side });
        }
    }

    fn fail_write(&mut self) {
        if let Some(kind) = self.broken
            && self.write_wanted
        {
            self.write_wanted = false;
            self.feed.push(Input::Failed(Failure::Write { to: self.side, source: kind.into() }));
        }
    }
}

/// Whether what the peer sent was no TLS, or was not to be trusted.
pub(super) fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TlsError>())
}
