//! [`Deframer`]: the tenant's bytes to frames, streaming.

use std::mem;
use std::ops::Range;

use super::header::{CLIENT_HEADER_LEN_MAX, ClientHeader};
use super::message::Message;
use super::{CONTROL_PAYLOAD_LEN_MAX, CloseFrame, ControlPayload, FrameError, Mask, Opcode, TextPolicy};

/// What the tenant sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of a message, as much as has arrived of one frame
    Data {
        /// Where the unmasked payload lies in the input of the call. Empty only for an empty frame
        /// that begins or ends a message
        range: Range<usize>,
        /// Of the message, not of the frame: text or binary
        opcode: Opcode,
        /// Whether this is the first piece of the message
        first: bool,
        /// Whether this is the last piece of the message
        message_end: bool,
    },
    /// To be answered with a pong of the same payload
    Ping(Box<ControlPayload>),
    /// An answer to our ping, or unasked for; nothing is due
    Pong(Box<ControlPayload>),
    /// The tenant closes: the deframer has ended
    Close(Box<CloseFrame>),
}

/// Decodes the frames of one connection, server side.
///
/// Call [`Deframer::next`] with what was read until everything is consumed:
///
/// ```
/// use consolegate::proto::ws::{Deframer, Event, TextPolicy};
///
/// let mut deframer = Deframer::new(TextPolicy::Refuse);
/// let mut input = *b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
/// let (consumed, event) = deframer.next(&mut input)?;
/// let Some(Event::Data { range, message_end: true, .. }) = event else { unreachable!() };
/// assert_eq!((consumed, &input[range]), (11, b"Hello".as_slice()));
/// # Ok::<(), consolegate::proto::ws::FrameError>(())
/// ```
///
/// The result does not depend on how the input was cut: joined pieces, events, and the byte at which an
/// error is found are the same. What is kept between calls is bounded: part of a header or part of a
/// control payload (in a box of its own), never data payload. Between frames it owns no heap.
#[derive(Debug)]
pub struct Deframer {
    state: State,
    message: Message,
    /// The operator's cap on a data frame's payload, in bytes
    frame_len_max: u64,
}

impl Deframer {
    /// The most that [`Deframer::retained_len`] ever reports: a control payload short of one byte.
    pub const RETAINED_LEN_MAX: usize = CONTROL_PAYLOAD_LEN_MAX - 1;

    /// A deframer at the first byte behind the opening handshake.
    #[must_use]
    pub fn new(text: TextPolicy) -> Self {
        Self { state: State::BETWEEN_FRAMES, message: Message::new(text), frame_len_max: u64::MAX }
    }

    /// Refuses data frames of more than `len` payload bytes with 1009, at their header. Frames are
    /// streamed, so this saves no memory; the default is no cap.
    #[must_use]
    pub fn with_frame_len_max(self, len: u64) -> Self {
        Self { frame_len_max: len, ..self }
    }

    /// Takes bytes from the front of `input`, up to the end of the next event.
    ///
    /// Returns the number of bytes taken and the event, whose range points into `input`: the payload
    /// there is unmasked in place, no other byte is changed. `(input.len(), None)` means that more
    /// bytes are needed. Behind a Close or an error every call returns `(0, None)` and changes nothing:
    /// ask [`Deframer::is_ended`].
    ///
    /// # Errors
    ///
    /// The first rule that the tenant broke, found with the first byte that shows it. Every payload
    /// byte before that one has been handed out. What `input` holds is then unspecified.
    pub fn next(&mut self, input: &mut [u8]) -> Result<(usize, Option<Event>), FrameError> {
        let mut consumed = 0;
        loop {
            let rest = &mut input[consumed..];
            // An arm that does not say how it goes on, by an error above all, ends the deframer.
            match mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok((consumed, None)),
                State::Header(mut partial) => {
                    let (taken, header) = partial.take(rest, |opcode| self.message.admit(opcode))?;
                    consumed += taken;
                    let Some(header) = header else {
                        self.state = State::Header(partial);
                        return Ok((consumed, None));
                    };
                    self.state = self.begin_frame(&header)?;
                }
                State::Data(mut frame) => {
                    let range = consumed..consumed + frame.take(rest, &mut self.message)?;
                    consumed = range.end;
                    let frame_end = frame.remaining == 0;
                    let message_end = frame_end && frame.fin;
                    self.state = if frame_end { State::BETWEEN_FRAMES } else { State::Data(frame) };
                    if !range.is_empty() || (frame_end && self.message.begins_or_ends(message_end)) {
                        let (opcode, first) = self.message.hand_out(message_end);
                        return Ok((consumed, Some(Event::Data { range, opcode, first, message_end })));
                    }
                    if !frame_end {
                        return Ok((consumed, None));
                    }
                }
                State::Control(mut frame) => {
                    consumed += frame.collect(rest);
                    if frame.remaining > 0 {
                        self.state = State::Control(frame);
                        return Ok((consumed, None));
                    }
                    let event = frame.finish()?;
                    if !matches!(event, Event::Close(_)) {
                        self.state = State::BETWEEN_FRAMES;
                    }
                    return Ok((consumed, Some(event)));
                }
            }
        }
    }

    /// Whether a Close was received or an error found. Further input is to be discarded.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the input so far ends with a complete frame. If the TCP stream ends elsewhere, the
    /// tenant was cut off.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header(PartialHeader { len: 0, .. }))
    }

    /// Bytes of input held back for a later call: part of a header or of a control payload.
    #[must_use]
    pub fn retained_len(&self) -> usize {
        match &self.state {
            State::Header(partial) => usize::from(partial.len),
            State::Control(frame) => frame.payload.as_slice().len(),
            State::Data(_) | State::Ended => 0,
        }
    }

    fn begin_frame(&mut self, header: &ClientHeader) -> Result<State, FrameError> {
        let ClientHeader { fin, opcode, payload_len: remaining, key } = *header;
        let mask = Mask::new(key);
        if opcode.is_control() {
            let payload = Box::new(ControlPayload::empty());
            return Ok(State::Control(PartialControl { opcode, mask, remaining, payload }));
        }
        if remaining > self.frame_len_max {
            return Err(FrameError::FrameTooLong { len: remaining, max: self.frame_len_max });
        }
        self.message.begin_frame(opcode, remaining)?;
        Ok(State::Data(DataFrame { fin, mask, remaining }))
    }
}

#[derive(Debug)]
enum State {
    /// Between frames, or inside a header
    Header(PartialHeader),
    /// Inside the payload of a text, binary or continuation frame
    Data(DataFrame),
    /// Inside the payload of a control frame
    Control(PartialControl),
    /// Behind a Close or an error
    Ended,
}

impl State {
    const BETWEEN_FRAMES: Self = Self::Header(PartialHeader { bytes: [0; CLIENT_HEADER_LEN_MAX], len: 0 });
}

/// The bytes of a header that have arrived.
#[derive(Debug)]
struct PartialHeader {
    // INVARIANT: len < bytes.len(), since a header of full length is complete.
    bytes: [u8; CLIENT_HEADER_LEN_MAX],
    len: u8,
}

impl PartialHeader {
    /// Takes header bytes from the front of `input`: all that are left of the header, or all of it.
    fn take(
        &mut self,
        input: &[u8],
        admit: impl FnOnce(Opcode) -> Result<(), FrameError>,
    ) -> Result<(usize, Option<ClientHeader>), FrameError> {
        let held = usize::from(self.len);
        let mut len = self.len;
        for (slot, byte) in self.bytes[held..].iter_mut().zip(input) {
            *slot = *byte;
            len += 1;
        }
        match ClientHeader::decode(&self.bytes[..usize::from(len)], admit)? {
            // The bytes held were not a whole header, so the header is longer than they are.
            Some((header, header_len)) => Ok((header_len - held, Some(header))),
            None => {
                self.len = len;
                Ok((usize::from(len) - held, None))
            }
        }
    }
}

/// What is left of a data frame.
#[derive(Debug)]
struct DataFrame {
    fin: bool,
    mask: Mask,
    /// Payload bytes still to come
    remaining: u64,
}

impl DataFrame {
    /// Unmasks what `input` holds of the payload and returns how many bytes that is.
    ///
    /// Stops in front of a byte that breaks the message; an error is for such a byte at the very front.
    fn take(&mut self, input: &mut [u8], message: &mut Message) -> Result<usize, FrameError> {
        let available = len_at_hand(self.remaining, input);
        let payload = &mut input[..available];
        let mut mask = self.mask;
        mask.apply(payload);
        let message_end = self.fin && self.remaining == available as u64;
        let taken = message.check(payload, message_end)?;
        self.mask.advance(taken);
        self.remaining -= taken as u64;
        // Masking what was not taken once more leaves it as it came, for the next call.
        let mut mask = self.mask;
        mask.apply(&mut payload[taken..]);
        Ok(taken)
    }
}

/// A control frame whose payload is being collected.
#[derive(Debug)]
struct PartialControl {
    opcode: Opcode,
    mask: Mask,
    /// Payload bytes still to come, at most 125
    remaining: u64,
    /// In a box, since most connections never see one
    payload: Box<ControlPayload>,
}

impl PartialControl {
    /// Copies what `input` holds of the payload and returns how many bytes that is.
    fn collect(&mut self, input: &[u8]) -> usize {
        let payload = self.payload.append(&input[..len_at_hand(self.remaining, input)]);
        self.mask.apply(payload);
        self.remaining -= payload.len() as u64;
        payload.len()
    }

    fn finish(self) -> Result<Event, FrameError> {
        Ok(match self.opcode {
            Opcode::Ping => Event::Ping(self.payload),
            Opcode::Pong => Event::Pong(self.payload),
            _ => Event::Close(Box::new(CloseFrame::try_from(*self.payload)?)),
        })
    }
}

/// How many of `remaining` payload bytes `input` holds.
fn len_at_hand(remaining: u64, input: &[u8]) -> usize {
    usize::try_from(remaining).map_or(input.len(), |remaining| remaining.min(input.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour is tested through the public API in tests/websocket.rs.

    #[test]
    fn a_deframer_is_small() {
        assert!(size_of::<Deframer>() <= 40, "{} bytes", size_of::<Deframer>());
        assert!(size_of::<Event>() <= 24, "{} bytes", size_of::<Event>());
    }
}
