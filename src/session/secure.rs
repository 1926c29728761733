//! TLS between the tenant's socket and the phases: they see plain bytes, the engine sees wire bytes.
//!
//! What the phases wish for the tenant's socket is carried out on the wire, and what happens on the wire is
//! told to the phases, with two promises kept on both sides: one read and one write are open at a time, and
//! each is answered once. The layer's own bytes (handshake, tickets, alerts) leave through the same one write.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use super::limits::duration;
use super::{CloseReason, Context, Failure, Input, LOG_TARGET, Outbox, Output, Side};
use crate::proto::bytes::Chunk;
use crate::proto::tls::{TlsError, TlsLayer};

/// A tenant's connection under TLS.
#[derive(Debug)]
pub(super) struct Secure {
    layer: Box<TlsLayer>,
    /// Until the handshake is over: when it has to be
    handshake_until: Option<Instant>,
    /// The phase waits for bytes, and a read is open on the wire unless the end is known
    read_wanted: bool,
    wire_reading: bool,
    /// The phase waits for its bytes to be written
    write_wanted: bool,
    wire_writing: bool,
    /// Wire bytes behind the write that is open
    outgoing: VecDeque<Chunk>,
    /// The peer has said that nothing more comes
    ended: bool,
    /// Bytes cannot be sent any more
    broken: Option<io::ErrorKind>,
    /// FIN is to follow what is outgoing
    shutdown_wanted: bool,
    /// Nothing more is opened: what the wire brings is discarded by the phase
    failed: bool,
    /// What the phase has to be told
    pub(super) feed: VecDeque<Input>,
    /// Where the phase's wishes are taken from
    pub(super) wishes: Vec<Output>,
}

impl Secure {
    /// A connection whose first wire bytes are about to come; the phase waits for bytes.
    pub(super) fn new(cx: &Context, layer: Box<TlsLayer>) -> Self {
        Self {
            layer,
            handshake_until: Some(cx.now + duration(cx.settings.limits.tls_handshake_timeout_ms)),
            read_wanted: true,
            wire_reading: true,
            write_wanted: false,
            wire_writing: false,
            outgoing: VecDeque::new(),
            ended: false,
            broken: None,
            shutdown_wanted: false,
            failed: false,
            feed: VecDeque::new(),
            wishes: Vec::new(),
        }
    }

    /// The handshake's deadline, which stands in for the phase's.
    pub(super) fn handshake_until(&self) -> Option<Instant> {
        self.handshake_until
    }

    /// Takes what happened on the wire; what it means to the phase is in `feed` afterwards. True when that
    /// ended the handshake.
    pub(super) fn happened(&mut self, cx: &Context, input: Input, out: &mut Outbox) -> bool {
        match input {
            Input::Received { from: Side::Tenant, chunk } => return self.received(cx, chunk, out),
            Input::Ended { from: Side::Tenant } => {
                self.wire_reading = false;
                self.ended = true;
                self.tell_end();
            }
            Input::Failed(Failure::Read { from: Side::Tenant, source }) => {
                self.wire_reading = false;
                self.read_wanted = false;
                self.feed.push_back(Input::Failed(Failure::Read { from: Side::Tenant, source }));
            }
            Input::Written { to: Side::Tenant } => {
                self.wire_writing = false;
                self.flush(out);
            }
            Input::Failed(Failure::Write { to: Side::Tenant, source }) => {
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
                self.feed.push_back(Input::Kill(reason));
            }
            other => self.feed.push_back(other),
        }
        false
    }

    fn received(&mut self, cx: &Context, chunk: Chunk, out: &mut Outbox) -> bool {
        self.wire_reading = false;
        if self.failed {
            self.read_wanted = false;
            self.feed.push_back(Input::Received { from: Side::Tenant, chunk });
            return false;
        }
        let opened = self.layer.open(&chunk);
        self.send(0, out);
        let over = self.handshake_until.is_some() && !self.layer.is_handshaking();
        if over {
            self.handshake_until = None;
            tracing::debug!(target: LOG_TARGET, "{:3}: {}", cx.number, self.layer.describe());
        }
        match opened {
            Ok(opened) => {
                self.ended |= opened.ended;
                if !opened.plain.is_empty() && self.read_wanted {
                    self.read_wanted = false;
                    self.feed.push_back(Input::Received { from: Side::Tenant, chunk: opened.plain });
                }
                self.tell_end();
                self.read(out);
            }
            Err(error) => self.broke(cx, &error, out),
        }
        over
    }

    /// The tenant broke TLS. Its alert is on the way.
    fn broke(&mut self, cx: &Context, error: &TlsError, out: &mut Outbox) {
        self.failed = true;
        // What Nova logs, less OpenSSL's wording.
        tracing::info!(target: LOG_TARGET, "handler exception: {error} (from {})", cx.peer.ip());
        if self.handshake_until.is_some() {
            self.give_up();
            self.read(out);
        } else {
            self.read_wanted = false;
            let source = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
            self.feed.push_back(Input::Failed(Failure::Read { from: Side::Tenant, source }));
        }
    }

    /// No request can come any more: the phase ends the connection, still waiting for its read.
    fn give_up(&mut self) {
        self.handshake_until = None;
        self.failed = true;
        self.feed.push_back(Input::Kill(CloseReason::Http(super::HttpEnd::Idle)));
    }

    /// Carries out a wish of the phase's; what can be answered at once is in `feed` afterwards.
    pub(super) fn wish(&mut self, output: Output, out: &mut Outbox) {
        match output {
            Output::Read(Side::Tenant) => {
                self.read_wanted = true;
                self.tell_end();
                self.read(out);
            }
            Output::Write { to: Side::Tenant, chunk } => {
                self.write_wanted = true;
                if self.broken.is_some() {
                    return self.fail_write();
                }
                // Before the handshake is over nothing can be sent, and nothing but the end of the
                // connection is ever written then.
                if !self.layer.is_handshaking() {
                    self.layer.seal(chunk.bytes());
                }
                self.send(chunk.len(), out);
                self.tell_written();
            }
            // Spliced bytes would not be sealed.
            Output::SpliceIn { from } => out.push(Output::Read(from)),
            Output::ShutdownWrite(Side::Tenant) => {
                self.layer.send_close_notify();
                self.shutdown_wanted = true;
                self.send(0, out);
                self.flush(out);
            }
            other => out.push(other),
        }
    }

    fn read(&mut self, out: &mut Outbox) {
        if self.read_wanted && !self.wire_reading && !self.ended {
            self.wire_reading = true;
            out.push(Output::Read(Side::Tenant));
        }
    }

    fn tell_end(&mut self) {
        if self.ended && self.read_wanted {
            self.read_wanted = false;
            self.feed.push_back(Input::Ended { from: Side::Tenant });
        }
    }

    /// Takes what the layer has to send, `sealed` being the bytes just sealed.
    fn send(&mut self, sealed: usize, out: &mut Outbox) {
        if let Some(wire) = self.layer.take_wire(sealed)
            && self.broken.is_none()
        {
            self.outgoing.push_back(wire);
        }
        if !self.wire_writing
            && let Some(chunk) = self.outgoing.pop_front()
        {
            self.wire_writing = true;
            out.push(Output::Write { to: Side::Tenant, chunk });
        }
    }

    /// A write is over: what waits behind it leaves, and behind all of it the FIN.
    fn flush(&mut self, out: &mut Outbox) {
        self.send(0, out);
        if self.wire_writing {
            return;
        }
        self.tell_written();
        if std::mem::take(&mut self.shutdown_wanted) {
            out.push(Output::ShutdownWrite(Side::Tenant));
        }
    }

    fn tell_written(&mut self) {
        if self.write_wanted && !self.wire_writing {
            self.write_wanted = false;
            self.feed.push_back(Input::Written { to: Side::Tenant });
        }
    }

    fn fail_write(&mut self) {
        if let Some(kind) = self.broken
            && self.write_wanted
        {
            self.write_wanted = false;
            self.feed.push_back(Input::Failed(Failure::Write { to: Side::Tenant, source: kind.into() }));
        }
    }
}
