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
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use super::control::{Notice, RecordEvent};
use super::{Context, LOG_TARGET, Outbox, Output, Side};

/// One recording as its session and the recorder share it.
pub struct RecordStream {
    /// The connection's number: ends the file's name
    pub number: u64,
    /// Time zero
    pub since: Instant,
    /// Bytes that wait for the recorder
    pub queued: AtomicU64,
    /// Messages that were not taken since somebody asked
    lost: AtomicU64,
    /// What became of the first pieces of the tenant's present message
    message: AtomicU8,
}

/// No piece has come.
const NONE: u8 = 0;
/// All were taken.
const TAKEN: u8 = 1;
/// One was not, so the others are not either.
const LOST: u8 = 2;

impl RecordStream {
    /// A recording of which nothing waits.
    #[must_use]
    pub fn new(number: u64, since: Instant) -> Self {
        let (queued, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { number, since, queued, lost, message: AtomicU8::new(NONE) }
    }

    /// Whether this piece belongs to a message of which another one was not taken.
    #[must_use]
    pub fn skips(&self, from: Side, more: bool) -> bool {
        let skips = from == Side::Tenant && self.message.load(Ordering::Relaxed) == LOST;
        if skips && !more {
            self.message.store(NONE, Ordering::Relaxed);
        }
        skips
    }

    /// A message, or this piece of one, was taken.
    pub fn took(&self, from: Side, more: bool) {
        if from == Side::Tenant {
            self.message.store(if more { TAKEN } else { NONE }, Ordering::Relaxed);
        }
    }

    /// It could not be taken. True when the recorder has to be told in its place: for the first one since
    /// [`RecordStream::take_lost`], and for one of which it has pieces.
    #[must_use]
    pub fn lost(&self, from: Side, more: bool) -> bool {
        let is_first = self.lost.fetch_add(1, Ordering::Relaxed) == 0;
        let is_begun = from == Side::Tenant
            && self.message.swap(if more { LOST } else { NONE }, Ordering::Relaxed) == TAKEN;
        is_first || is_begun
    }

    /// Messages lost since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordStream({})", self.number)
    }
}

/// The session's end of its recording. It keeps nothing of what it hands over, a message of many pieces
/// included: only the recorder knows how much memory all sessions together have left.
pub(super) struct Recording {
    stream: Arc<RecordStream>,
    /// What came before the token was accepted: one read's bytes at most. None from then on
    held: Option<Vec<RecordEvent>>,
}

impl Recording {
    /// A recording of the session that is upgraded now, if the operator wants one.
    pub(super) fn wanted(cx: &Context) -> Option<Box<Self>> {
        cx.settings.record.as_ref()?;
        let stream = Arc::new(RecordStream::new(cx.number, cx.now));
        Some(Box::new(Self { stream, held: Some(Vec::new()) }))
    }

    /// The token was accepted: the file may be made.
    pub(super) fn open(&mut self, cx: &Context, out: &mut Outbox) {
        let Some(held) = self.held.take() else { return };
        if let Some(record) = &cx.settings.record {
            let path = record.display();
            tracing::info!(target: LOG_TARGET, client = %cx.peer.ip(), "opening record file: {path}.{}", cx.number);
        }
        self.tell(RecordEvent::Open, out);
        for event in held {
            self.tell(event, out);
        }
    }

    /// A piece of a message came from the tenant.
    pub(super) fn received(&mut self, piece: &[u8], message_end: bool, out: &mut Outbox) {
        let event = RecordEvent::Message { from: Side::Tenant, bytes: piece.to_vec(), more: !message_end };
        match &mut self.held {
            Some(held) => held.push(event),
            None => self.tell(event, out),
        }
    }

    /// A message goes to the tenant.
    pub(super) fn sent(&mut self, payload: &[u8], out: &mut Outbox) {
        if self.held.is_none() {
            self.tell(
                RecordEvent::Message { from: Side::Compute, bytes: payload.to_vec(), more: false },
                out,
            );
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
