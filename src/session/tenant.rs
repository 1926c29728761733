//! The tenant after its upgrade: frames on the wire, bytes towards the phases.

use std::fmt;

use super::link::Link;
use super::recording::Recording;
use super::{Context, Outbox};
use crate::proto::bytes::Chunk;
use crate::proto::ws::{CloseFrame, ControlFrame, Deframer, Event, FrameError, Outgoing, TextPolicy};

/// Pings of one read that are answered one by one. Behind them, and while a write is under way, only the
/// latest is (RFC 6455 section 5.5.3), which bounds what a ping flood can hold.
const PONGS_PER_READ: usize = 16;

/// The WebSocket end of a session.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) link: Link,
    deframer: Deframer,
    outgoing: Outgoing,
    recording: Option<Box<Recording>>,
}

/// How the tenant's stream of frames ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// A Close frame; what follows it is discarded.
    Closed(Box<CloseFrame>),
    /// A broken frame; nothing behind it can be trusted.
    Violated(FrameError),
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("the tenant closed"),
            Self::Violated(error) => error.fmt(f),
        }
    }
}

impl Tenant {
    pub(super) fn new(link: Link, text: TextPolicy) -> Self {
        Self { link, deframer: Deframer::new(text), outgoing: Outgoing::default(), recording: None }
    }

    /// Records from now on, if the operator wants that.
    pub(super) fn recorded(self, cx: &Context) -> Self {
        Self { recording: Recording::wanted(cx), ..self }
    }

    /// Whether each byte has to be seen.
    pub(super) fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// The token was accepted: a recording may become a file.
    pub(super) fn admitted(&mut self, cx: &Context, out: &mut Outbox) {
        if let Some(recording) = &mut self.recording {
            recording.open(cx, out);
        }
    }

    /// Turns received wire bytes into console bytes, in place: payload is unmasked where it lies, and what is
    /// behind the first piece moves up to it, over the headers. Pings are answered on the way.
    pub(super) fn deframe(&mut self, chunk: &mut Chunk, out: &mut Outbox) -> Option<StreamEnd> {
        let bytes = chunk.bytes_mut();
        let (mut read, mut kept) = (0, 0..0);
        let mut pongs = Vec::new();
        let mut end = None;
        while read < bytes.len() {
            let (consumed, event) = match self.deframer.next(&mut bytes[read..]) {
                Ok(progress) => progress,
                Err(error) => {
                    end = Some(StreamEnd::Violated(error));
                    break;
                }
            };
            match event {
                Some(Event::Data { range, message_end, .. }) => {
                    let piece = read + range.start..read + range.end;
                    if let Some(recording) = &mut self.recording {
                        recording.received(&bytes[piece.clone()], message_end, out);
                    }
                    if kept.is_empty() {
                        // The first piece, mostly the only one, stays where it is.
                        kept = piece;
                    } else {
                        let end = kept.end + piece.len();
                        bytes.copy_within(piece, kept.end);
                        kept.end = end;
                    }
                }
                Some(Event::Ping(payload)) => {
                    self.outgoing.queue_pong(payload);
                    if self.link.is_flushed() && pongs.len() < PONGS_PER_READ {
                        pongs.extend(self.outgoing.next_control());
                    }
                }
                Some(Event::Close(frame)) => {
                    end = Some(StreamEnd::Closed(frame));
                    break;
                }
                Some(Event::Pong(_)) | None => {}
            }
            read += consumed;
        }
        chunk.truncate(kept.end);
        chunk.advance(kept.start);
        for pong in pongs {
            self.write_control(&pong, out);
        }
        self.send_owed(out);
        end
    }

    /// The write has been answered: queued frames leave first, then the control frame that is owed.
    pub(super) fn written(&mut self, out: &mut Outbox) {
        self.link.written(out);
        self.send_owed(out);
    }

    /// Sends console bytes as one binary frame. The header goes into the chunk's headroom.
    pub(super) fn send_chunk(&mut self, mut chunk: Chunk, out: &mut Outbox) {
        let Some(header) = self.outgoing.data_header(chunk.len() as u64) else { return };
        if let Some(recording) = &mut self.recording {
            recording.sent(chunk.bytes(), out);
        }
        if !chunk.prepend(header.as_slice()) {
            // Somebody used the headroom: a copy has its own.
            chunk = Chunk::copied_from(chunk.bytes());
            let _ = chunk.prepend(header.as_slice());
        }
        self.link.write(chunk, out);
    }

    /// Sends one binary frame of a few bytes, as the RFB handshake does.
    pub(super) fn send(&mut self, payload: &[u8], out: &mut Outbox) {
        if !payload.is_empty() {
            self.send_chunk(Chunk::copied_from(payload), out);
        }
    }

    /// Sends an empty ping, unless a write is under way: then the connection is not idle. Says whether it did.
    pub(super) fn ping(&mut self, out: &mut Outbox) -> bool {
        let idle = self.link.is_flushed();
        if idle {
            self.write_control(&crate::proto::ws::ping(), out);
        }
        idle
    }

    /// The last frame. Nothing is sent behind it.
    pub(super) fn send_close(&mut self, frame: ControlFrame) {
        self.outgoing.queue_close(frame);
    }

    /// The tenant's socket, for what is left to do with it: everything owed is queued, in order.
    pub(super) fn into_link(mut self, out: &mut Outbox) -> Link {
        if let Some(recording) = self.recording.take() {
            recording.end(out);
        }
        while let Some(frame) = self.outgoing.next_control() {
            self.write_control(&frame, out);
        }
        self.link
    }

    /// A control frame may stand between frames only, and what is being written may end inside one.
    fn send_owed(&mut self, out: &mut Outbox) {
        if self.link.is_flushed()
            && let Some(frame) = self.outgoing.next_control()
        {
            self.write_control(&frame, out);
        }
    }

    fn write_control(&mut self, frame: &ControlFrame, out: &mut Outbox) {
        self.link.write(Chunk::copied_from(frame.as_slice()), out);
    }
}

/// An upgraded tenant whose console is not connected yet, and what it has said so far.
///
/// `websocat` and scripts send as soon as they see the 101. One read's worth is held, then reading stops
/// until the console can take it: the kernel holds the rest.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) tenant: Tenant,
    early: Early,
}

/// What a tenant said before its console was there.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Console bytes
    pub(super) bytes: Option<Chunk>,
    /// How the stream ended behind them. A script that sends a file and closes at once must get its file
    /// delivered, so the end waits for its turn.
    pub(super) end: Option<StreamEnd>,
}

impl Upgraded {
    pub(super) fn new(tenant: Tenant) -> Self {
        Self { tenant, early: Early::default() }
    }

    /// Takes wire bytes that arrived early. Returns the end of the stream unless bytes stand before it.
    pub(super) fn received(&mut self, mut chunk: Chunk, out: &mut Outbox) -> Option<StreamEnd> {
        let end = self.tenant.deframe(&mut chunk, out);
        if !chunk.is_empty() {
            // A buffer of the right size: this one may wait for a minute.
            self.early = Early { bytes: Some(Chunk::copied_from(chunk.bytes())), end };
            out.recycle(chunk);
            return None;
        }
        out.recycle(chunk);
        if end.is_none() {
            self.read(out);
        }
        end
    }

    /// Reads on while nothing is held; also how the tenant's end is noticed.
    pub(super) fn read(&mut self, out: &mut Outbox) {
        if self.early.bytes.is_none() {
            self.tenant.link.read(out);
        }
    }

    /// The console can take bytes now: here is the tenant, and what it said.
    pub(super) fn into_parts(self) -> (Tenant, Early) {
        (self.tenant, self.early)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;

    fn masked(header: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = header.to_vec();
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload.iter().zip([1u8, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn several_frames_of_one_read_become_one_run_of_bytes() {
        let mut tenant = Tenant::new(Link::new(Side::Tenant), TextPolicy::Refuse);
        let mut wire = masked(&[0x82, 0x83], b"abc");
        wire.extend(masked(&[0x89, 0x81], b"p"));
        wire.extend(masked(&[0x82, 0x82], b"de"));
        let (mut chunk, mut out) = (Chunk::copied_from(&wire), Outbox::new());
        assert!(tenant.deframe(&mut chunk, &mut out).is_none());
        assert_eq!(chunk.bytes(), b"abcde");
        let outputs: Vec<_> = out.drain().collect();
        assert!(
            matches!(&outputs[..], [super::super::Output::Write { chunk, .. }] if chunk.bytes() == b"\x8a\x01p"),
            "{outputs:?}"
        );
    }

    #[test]
    fn pings_of_one_read_are_answered_one_by_one_and_a_flood_by_its_latest() {
        let mut tenant = Tenant::new(Link::new(Side::Tenant), TextPolicy::Refuse);
        let wire: Vec<u8> = (0..100).flat_map(|number| masked(&[0x89, 0x81], &[number])).collect();
        let (mut chunk, mut out) = (Chunk::copied_from(&wire), Outbox::new());
        assert!(tenant.deframe(&mut chunk, &mut out).is_none());
        let mut sent = Vec::new();
        while !tenant.link.is_flushed() {
            for output in out.drain() {
                let super::super::Output::Write { chunk, .. } = output else { panic!("{output:?}") };
                sent.extend_from_slice(chunk.bytes());
            }
            tenant.written(&mut out);
        }
        let expected: Vec<u8> = (0..16).chain([99]).flat_map(|number| [0x8a, 1, number]).collect();
        assert_eq!(sent, expected);
    }

    #[test]
    fn bytes_before_a_violation_are_kept() {
        let mut tenant = Tenant::new(Link::new(Side::Tenant), TextPolicy::Refuse);
        let mut wire = masked(&[0x82, 0x83], b"abc");
        wire.extend([0x82, 0x01, b'x']);
        let mut chunk = Chunk::copied_from(&wire);
        assert!(matches!(tenant.deframe(&mut chunk, &mut Outbox::new()), Some(StreamEnd::Violated(_))));
        assert_eq!(chunk.bytes(), b"abc");
    }
}
