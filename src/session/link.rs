//! What is under way on one side's socket: at most one read, one write, and one chunk waiting behind it.

use std::num::NonZeroU32;

use super::{Outbox, Output, Side};
use crate::proto::bytes::Chunk;
use crate::proto::ws::{FrameHeader, Opcode};

/// One side's reads and writes. Bounded by construction: whoever fills it asks for the next bytes only when
/// [`Link::is_flushed`], so what is queued is at most one read's bytes plus a few control frames.
#[derive(Debug)]
pub(super) struct Link {
    /// In a box, since little ever waits and each relay has two links
    queued: Option<Box<Chunk>>,
    /// Bytes that wait in the pipe, in front of what is queued
    piped: Option<NonZeroU32>,
    side: Side,
    input: InputState,
    writing: bool,
    broken: bool,
}

/// What comes from a side. With `ended` as a value of its own beside `reading`, a link would not fit the
/// sixteen bytes that each relay pays twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputState {
    Unasked,
    Reading,
    Ended,
}

impl Link {
    pub(super) fn new(side: Side) -> Self {
        let input = InputState::Unasked;
        Self { queued: None, piped: None, side, input, writing: false, broken: false }
    }

    /// Asks for bytes, unless that is under way already or the side has ended.
    pub(super) fn read(&mut self, out: &mut Outbox) {
        if self.asks() {
            out.push(Output::Read(self.side));
        }
    }

    /// As [`Link::read`], preferably into the pipe.
    pub(super) fn splice_in(&mut self, out: &mut Outbox) {
        if self.asks() {
            out.push(Output::SpliceIn { from: self.side });
        }
    }

    /// Whether a read is to be asked for; it is open then.
    fn asks(&mut self) -> bool {
        let asks = self.input == InputState::Unasked;
        if asks {
            self.input = InputState::Reading;
        }
        asks
    }

    /// The read has been answered.
    pub(super) fn read_done(&mut self) {
        debug_assert!(self.input == InputState::Reading, "an answer to no read");
        self.input = InputState::Unasked;
    }

    /// The side has sent its FIN, or its connection broke: nothing more comes from it.
    pub(super) fn set_ended(&mut self) {
        self.input = InputState::Ended;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.input == InputState::Ended
    }

    /// Writes the chunk, at once or behind what is under way.
    pub(super) fn write(&mut self, chunk: Chunk, out: &mut Outbox) {
        if chunk.is_empty() || self.broken {
            return;
        }
        if self.writing {
            match &mut self.queued {
                None => self.queued = Some(Box::new(chunk)),
                Some(first) => join(first, &chunk),
            }
        } else {
            self.writing = true;
            out.push(Output::Write { to: self.side, chunk });
        }
    }

    /// Writes what is in the pipe as one binary frame, at once or behind what is under way. Nothing but
    /// control frames can be under way or queued, since the pipe is filled only when all else is written;
    /// those that are queued may as well leave behind the frame.
    pub(super) fn splice_out(&mut self, len: u32, out: &mut Outbox) {
        debug_assert!(self.piped.is_none(), "a connection has one pipe");
        debug_assert!(
            self.queued.as_ref().is_none_or(|queued| queued.bytes().first().is_some_and(|b| b & 0x08 != 0)),
            "piped bytes would overtake copied ones"
        );
        if self.writing {
            self.piped = NonZeroU32::new(len);
        } else if !self.broken {
            self.writing = true;
            let header = FrameHeader::new(Opcode::Binary, true, len.into());
            out.push(Output::SpliceOut { to: self.side, header, len });
        }
    }

    /// The write has been answered: what waited behind it goes out now.
    pub(super) fn written(&mut self, out: &mut Outbox) {
        debug_assert!(self.writing, "an answer to no write");
        self.writing = false;
        if let Some(len) = self.piped.take() {
            self.splice_out(len.get(), out);
        } else if let Some(chunk) = self.queued.take() {
            self.write(*chunk, out);
        }
    }

    /// Nothing is being written or waits to be.
    pub(super) fn is_flushed(&self) -> bool {
        !self.writing
    }

    /// The write has been answered by a failure.
    pub(super) fn write_failed(&mut self) {
        debug_assert!(self.writing, "an answer to no write");
        self.writing = false;
        self.set_broken();
    }

    /// The connection broke: nothing more can be written. A read that is open is answered all the same.
    pub(super) fn set_broken(&mut self) {
        self.broken = true;
        self.forget_queued();
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes what waits behind the write that is under way, for somebody else to write.
    pub(super) fn take_queued(&mut self) -> Option<Chunk> {
        self.queued.take().map(|chunk| *chunk)
    }

    /// Drops what waits behind the write that is under way.
    pub(super) fn forget_queued(&mut self) {
        self.queued = None;
        self.piped = None;
    }
}

/// Puts the bytes of both into the first. Only control frames and handshake messages are joined, so this copies
/// little and seldom.
fn join(first: &mut Chunk, second: &Chunk) {
    if first.spare_mut().len() < second.len() {
        let mut larger = Chunk::with_capacity(first.len() + second.len());
        larger.append(first.bytes());
        *first = larger;
    }
    first.append(second.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_small() {
        assert!(size_of::<Link>() <= 16, "{} bytes", size_of::<Link>());
    }

    #[test]
    fn writes_leave_one_at_a_time_and_in_order() {
        let (mut link, mut out) = (Link::new(Side::Compute), Outbox::new());
        for bytes in [b"one".as_slice(), b"two", b"three"] {
            link.write(Chunk::copied_from(bytes), &mut out);
        }
        let mut sent = Vec::new();
        while !link.is_flushed() {
            let outputs: Vec<_> = out.drain().collect();
            assert_eq!(outputs.len(), 1, "one write is open at a time");
            for output in outputs {
                let Output::Write { to: Side::Compute, chunk } = output else { panic!("{output:?}") };
                sent.extend_from_slice(chunk.bytes());
            }
            link.written(&mut out);
        }
        assert_eq!(sent, b"onetwothree");
    }

    #[test]
    fn piped_bytes_wait_for_the_control_frame_under_way_and_the_close_waits_for_them() {
        let (mut link, mut out) = (Link::new(Side::Tenant), Outbox::new());
        link.write(Chunk::copied_from(b"\x8a\0"), &mut out);
        link.splice_out(70_000, &mut out);
        link.write(Chunk::copied_from(b"\x88\0"), &mut out);
        let mut order = Vec::new();
        while !link.is_flushed() {
            for output in out.drain() {
                order.push(match output {
                    Output::Write { chunk, .. } => format!("{:02x?}", chunk.bytes()),
                    Output::SpliceOut { len, .. } => len.to_string(),
                    other => panic!("{other:?}"),
                });
            }
            link.written(&mut out);
        }
        assert_eq!(order, ["[8a, 00]", "70000", "[88, 00]"]);
    }

    #[test]
    fn one_read_is_open_at_a_time_and_none_after_the_end() {
        let (mut link, mut out) = (Link::new(Side::Tenant), Outbox::new());
        link.read(&mut out);
        link.read(&mut out);
        assert_eq!(out.drain().count(), 1);
        link.set_ended();
        link.read(&mut out);
        assert_eq!(out.drain().count(), 0);
    }
}
