//! What is remembered from one data frame to the next.

use super::{FrameError, Opcode, Utf8Checker};

/// The longest run of empty data frames that is put up with.
///
/// They are legal, and no client sends them in numbers. Each costs its sender six bytes and moves
/// nothing, so without a bound a peer could keep a worker busy with them for ever.
pub const EMPTY_FRAMES_MAX: u16 = 1000;

/// What to do with text messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPolicy {
    /// Fail the connection with 1003, at the frame's first byte
    Refuse,
    /// Hand the payload out like binary, checked as UTF-8 while it arrives
    Accept,
}

/// The open message, if any, and the rules that reach over several frames.
#[derive(Debug)]
pub(super) struct Message {
    text: TextPolicy,
    /// Text or binary while a message is open
    open: Option<Opcode>,
    /// Whether a piece of the open message was handed out
    begun: bool,
    utf8: Utf8Checker,
    /// Empty data frames in a row
    empty_frames: u16,
}

impl Message {
    pub(super) fn new(text: TextPolicy) -> Self {
        Self { text, open: None, begun: false, utf8: Utf8Checker::default(), empty_frames: 0 }
    }

    /// Whether a frame with `opcode` may come now.
    pub(super) fn admit(&self, opcode: Opcode) -> Result<(), FrameError> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        //# The fragments of one message MUST NOT be interleaved between the fragments of another
        //# message unless an extension has been negotiated that can interpret the interleaving.
        match (opcode, self.open) {
            (Opcode::Continuation, None) => Err(FrameError::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(FrameError::MessageUnfinished { opcode }),
            (Opcode::Text, None) if self.text == TextPolicy::Refuse => Err(FrameError::TextRefused),
            _ => Ok(()),
        }
    }

    /// Begins an admitted data frame of `payload_len` bytes.
    pub(super) fn begin_frame(&mut self, opcode: Opcode, payload_len: u64) -> Result<(), FrameError> {
        self.empty_frames = if payload_len == 0 { self.empty_frames + 1 } else { 0 };
        if self.empty_frames > EMPTY_FRAMES_MAX {
            return Err(FrameError::EmptyFrames);
        }
        if opcode != Opcode::Continuation {
            self.open = Some(opcode);
            self.begun = false;
        }
        Ok(())
    }

    /// How many bytes at the front of the next unmasked `payload` are good.
    ///
    /// All of them unless this is text. An error when the first byte is bad already, or when text
    /// ends inside a character with nothing left to blame.
    pub(super) fn check(&mut self, payload: &[u8], message_end: bool) -> Result<usize, FrameError> {
        if self.open != Some(Opcode::Text) {
            return Ok(payload.len());
        }
        //= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
        //# When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is
        //# not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_.
        match self.utf8.check(payload, message_end) {
            Ok(()) => Ok(payload.len()),
            Err(0) => Err(FrameError::TextNotUtf8),
            Err(good) => Ok(good),
        }
    }

    /// Whether an empty frame is worth an event: it begins or ends the message.
    pub(super) fn begins_or_ends(&self, message_end: bool) -> bool {
        message_end || !self.begun
    }

    /// Counts a piece as handed out; returns the message's opcode and whether this is the first piece.
    pub(super) fn hand_out(&mut self, message_end: bool) -> (Opcode, bool) {
        let first = !std::mem::replace(&mut self.begun, true);
        // A message is always open here; binary claims the least about its content.
        let opcode = self.open.unwrap_or(Opcode::Binary);
        if message_end {
            self.open = None;
        }
        (opcode, first)
    }
}
