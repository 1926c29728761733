//! Copies of a session's messages on their way to its recording (`record`).
//!
//! What is recorded is what websockify records (`websockifyserver.py`, `send_frames` and `recv_frames`): each
//! data message as the tenant sent or got it, whole and without framing; no control frames. Time zero is the
//! upgrade, but nothing is handed over, and so no file made, before the token was accepted: recordings hold
//! passwords, and a stranger must not fill a disk.
//!
//! A session only hands copies over. How many may wait is [`RecordStream`]'s to know and the recorder's to
//! decide: a slow or full disk costs messages of the recording, never a session's time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::control::{Notice, RecordEvent};
use super::limits::size;
use super::{Context, LOG_TARGET, Outbox, Output, Side};

/// One recording as its session and the recorder share it.
pub struct RecordStream {
    /// The connection's number: ends the file's name
    pub number: u64,
    /// Time zero
    pub since: Instant,
    /// Bytes that wait for the recorder
    pub queued: AtomicU64,
    lost_messages: AtomicU64,
    lost_bytes: AtomicU64,
}

impl RecordStream {
    /// A recording of which nothing waits.
    #[must_use]
    pub fn new(number: u64, since: Instant) -> Self {
        let zero = AtomicU64::default;
        Self { number, since, queued: zero(), lost_messages: zero(), lost_bytes: zero() }
    }

    /// Counts a message of `len` bytes that could not be taken. True for the first since
    /// [`RecordStream::take_lost`]: a [`RecordEvent::Gap`] is due in its place.
    #[must_use]
    pub fn lose(&self, len: u64) -> bool {
        self.lost_bytes.fetch_add(len, Ordering::Relaxed);
        self.lost_messages.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Messages and bytes lost since the last call.
    #[must_use]
    pub fn take_lost(&self) -> Option<(u64, u64)> {
        let messages = self.lost_messages.swap(0, Ordering::Relaxed);
        (messages > 0).then(|| (messages, self.lost_bytes.swap(0, Ordering::Relaxed)))
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordStream({})", self.number)
    }
}

/// The session's end of its recording.
pub(super) struct Recording {
    stream: Arc<RecordStream>,
    /// What came before the token was accepted: one read's bytes at most. None from then on
    held: Option<Vec<Vec<u8>>>,
    /// The message that the tenant has not ended yet
    partial: Vec<u8>,
    /// Its length, which goes on where `partial` stops
    partial_len: usize,
    message_bytes_max: usize,
}

impl Recording {
    /// A recording of the session that is upgraded now, if the operator wants one.
    pub(super) fn wanted(cx: &Context) -> Option<Box<Self>> {
        cx.settings.record.as_ref()?;
        Some(Box::new(Self {
            stream: Arc::new(RecordStream::new(cx.number, cx.now)),
            held: Some(Vec::new()),
            partial: Vec::new(),
            partial_len: 0,
            message_bytes_max: size(cx.settings.limits.record_session_bytes),
        }))
    }

    /// The token was accepted: the file may be made.
    pub(super) fn open(&mut self, cx: &Context, out: &mut Outbox) {
        let Some(held) = self.held.take() else { return };
        if let Some(record) = &cx.settings.record {
            let path = record.display();
            tracing::info!(target: LOG_TARGET, client = %cx.peer.ip(), "opening record file: {path}.{}", cx.number);
        }
        self.tell(RecordEvent::Open, out);
        for bytes in held {
            self.tell(RecordEvent::Message { from: Side::Tenant, bytes }, out);
        }
    }

    /// A piece of a message came from the tenant.
    pub(super) fn received(&mut self, piece: &[u8], message_end: bool, out: &mut Outbox) {
        self.partial_len = self.partial_len.saturating_add(piece.len());
        let fits = self.partial_len <= self.message_bytes_max;
        if fits {
            self.partial.extend_from_slice(piece);
        } else {
            self.partial = Vec::new();
        }
        if !message_end {
            return;
        }
        let bytes = std::mem::take(&mut self.partial);
        let len = std::mem::take(&mut self.partial_len);
        match &mut self.held {
            _ if !fits => {
                let gap = self.stream.lose(len as u64);
                if gap && self.held.is_none() {
                    self.tell(RecordEvent::Gap, out);
                }
            }
            Some(held) => held.push(bytes),
            None => self.tell(RecordEvent::Message { from: Side::Tenant, bytes }, out),
        }
    }

    /// A message goes to the tenant.
    pub(super) fn sent(&mut self, payload: &[u8], out: &mut Outbox) {
        if self.held.is_none() {
            self.tell(RecordEvent::Message { from: Side::Compute, bytes: payload.to_vec() }, out);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(self, out: &mut Outbox) {
        if self.held.is_none() {
            self.tell(RecordEvent::End, out);
        }
    }

    fn tell(&self, event: RecordEvent, out: &mut Outbox) {
        out.push(Output::Tell(Notice::Record { stream: Arc::clone(&self.stream), event }));
    }
}

impl fmt::Debug for Recording {
    /// Without what was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({})", self.stream.number)
    }
}
