//! The tenant after its upgrade: frames on the wire, bytes towards the phases.

use std::fmt;

use super::Outbox;
use super::link::Link;
use crate::proto::bytes::Chunk;
use crate::proto::ws::{
    self, CloseFrame, ControlPayload, Deframer, Event, FrameError, FrameHeader, Opcode, TextPolicy,
};

/// The WebSocket end of a session.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) link: Link,
    deframer: Deframer,
    // The answer to the latest ping, while a write is under way. One is enough: RFC 6455 section 5.5.3
    // lets an endpoint answer only the most recent ping, which also bounds what a ping flood can hold.
    pong: Option<Box<ControlPayload>>,
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
        Self { link, deframer: Deframer::new(text), pong: None }
    }

    /// Turns received wire bytes into console bytes, in place: payload is unmasked where it lies and moved
    /// to the front over the headers. Pings are remembered for [`Tenant::answer_ping`].
    pub(super) fn deframe(&mut self, chunk: &mut Chunk) -> Option<StreamEnd> {
        let bytes = chunk.bytes_mut();
        let (mut read, mut kept) = (0, 0);
        let mut end = None;
        while read < bytes.len() {
            match self.deframer.next(&mut bytes[read..]) {
                Ok((consumed, event)) => {
                    match event {
                        Some(Event::Data { range, .. }) => {
                            let len = range.len();
                            bytes.copy_within(read + range.start..read + range.end, kept);
                            kept += len;
                        }
                        Some(Event::Ping(payload)) => self.pong = Some(payload),
                        Some(Event::Close(frame)) => {
                            end = Some(StreamEnd::Closed(frame));
                            break;
                        }
                        Some(Event::Pong(_)) | None => {}
                    }
                    if consumed == 0 {
                        break;
                    }
                    read += consumed;
                }
                Err(error) => {
                    end = Some(StreamEnd::Violated(error));
                    break;
                }
            }
        }
        chunk.truncate(kept);
        end
    }

    /// Sends the owed pong, unless a write is under way: a control frame may stand between frames only, and
    /// what is being written may end inside one.
    pub(super) fn answer_ping(&mut self, out: &mut Outbox) {
        if self.pong.is_some()
            && self.link.is_flushed()
            && let Some(payload) = self.pong.take()
        {
            self.link.write(Chunk::copied_from(ws::pong(&payload).as_slice()), out);
        }
    }

    /// The write has been answered; queued frames leave first, then the pong that is owed.
    pub(super) fn written(&mut self, out: &mut Outbox) {
        self.link.written(out);
        self.answer_ping(out);
    }

    /// Sends console bytes as one binary frame. The header goes into the chunk's headroom.
    pub(super) fn send_chunk(&mut self, mut chunk: Chunk, out: &mut Outbox) {
        let header = FrameHeader::new(Opcode::Binary, true, chunk.len() as u64);
        if !chunk.prepend(header.as_slice()) {
            let mut copy = Chunk::copied_from(chunk.bytes());
            let _ = copy.prepend(header.as_slice());
            chunk = copy;
        }
        self.link.write(chunk, out);
    }

    /// Sends one binary frame of a few bytes, as the RFB handshake does.
    pub(super) fn send(&mut self, payload: &[u8], out: &mut Outbox) {
        if !payload.is_empty() {
            self.send_chunk(Chunk::copied_from(payload), out);
        }
    }

    /// Sends a complete control frame.
    pub(super) fn send_control(&mut self, frame: &[u8], out: &mut Outbox) {
        self.link.write(Chunk::copied_from(frame), out);
    }

    /// Console bytes that arrive while the session cannot take them yet.
    pub(super) fn into_link(self) -> Link {
        self.link
    }
}

/// An upgraded tenant whose console is not connected yet, and what it has said so far.
///
/// `websocat` and scripts send as soon as they see the 101. One read's worth is held, then reading stops
/// until the console can take it: the kernel holds the rest.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) tenant: Tenant,
    early: Option<Chunk>,
}

impl Upgraded {
    pub(super) fn new(tenant: Tenant) -> Self {
        Self { tenant, early: None }
    }

    /// Takes wire bytes that arrived early.
    pub(super) fn received(&mut self, mut chunk: Chunk, out: &mut Outbox) -> Option<StreamEnd> {
        let end = self.tenant.deframe(&mut chunk);
        if !chunk.is_empty() {
            // A buffer of the right size: this one may wait for a minute.
            self.early = Some(Chunk::copied_from(chunk.bytes()));
        }
        self.tenant.answer_ping(out);
        if end.is_none() {
            self.read(out);
        }
        end
    }

    /// Reads on while nothing is held; also how the tenant's end is noticed.
    pub(super) fn read(&mut self, out: &mut Outbox) {
        if self.early.is_none() {
            self.tenant.link.read(out);
        }
    }

    /// The console can take bytes now: here is the tenant, and what it said.
    pub(super) fn into_parts(self) -> (Tenant, Option<Chunk>) {
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
        let mut chunk = Chunk::copied_from(&wire);
        assert!(tenant.deframe(&mut chunk).is_none());
        assert_eq!(chunk.bytes(), b"abcde");
        let mut out = Outbox::new();
        tenant.answer_ping(&mut out);
        let outputs: Vec<_> = out.drain().collect();
        assert!(
            matches!(&outputs[..], [super::super::Output::Write { chunk, .. }] if chunk.bytes() == b"\x8a\x01p"),
            "{outputs:?}"
        );
    }

    #[test]
    fn bytes_before_a_violation_are_kept() {
        let mut tenant = Tenant::new(Link::new(Side::Tenant), TextPolicy::Refuse);
        let mut wire = masked(&[0x82, 0x83], b"abc");
        wire.extend([0x82, 0x01, b'x']);
        let mut chunk = Chunk::copied_from(&wire);
        assert!(matches!(tenant.deframe(&mut chunk), Some(StreamEnd::Violated(_))));
        assert_eq!(chunk.bytes(), b"abc");
    }
}
