//! Control frames (RFC 6455 section 5.5): their payload as received, and whole frames to send.

use std::fmt;

use super::{CloseFrame, FrameHeader, Opcode, REASON_LEN_MAX, StatusCode};

/// The most payload a control frame may carry.
pub const CONTROL_PAYLOAD_LEN_MAX: usize = 125;

/// The payload of a control frame: at most 125 bytes, held inline.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlPayload {
    // INVARIANT: len <= bytes.len(), and the bytes from len on are zero (equality compares them all).
    bytes: [u8; CONTROL_PAYLOAD_LEN_MAX],
    len: u8,
}

impl ControlPayload {
    /// An empty payload.
    #[must_use]
    pub const fn empty() -> Self {
        Self { bytes: [0; CONTROL_PAYLOAD_LEN_MAX], len: 0 }
    }

    /// A copy of `bytes`, or `None` when they are more than 125.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut payload = Self::empty();
        (payload.append(bytes).len() == bytes.len()).then_some(payload)
    }

    /// Appends what fits of `bytes` and returns the appended part, to be unmasked where it lies.
    pub(super) fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = usize::from(self.len);
        for (slot, byte) in self.bytes[start..].iter_mut().zip(bytes) {
            *slot = *byte;
            self.len += 1;
        }
        &mut self.bytes[start..usize::from(self.len)]
    }

    /// The payload.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ControlPayload {
    /// The length only: payload never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlPayload({} bytes)", self.len)
    }
}

/// A complete, unmasked control frame of at most 127 bytes, ready to be written.
#[derive(Clone)]
pub struct ControlFrame {
    // INVARIANT: len <= bytes.len().
    bytes: [u8; 2 + CONTROL_PAYLOAD_LEN_MAX],
    len: u8,
}

impl ControlFrame {
    fn new(opcode: Opcode, payload: &ControlPayload) -> Self {
        let payload = payload.as_slice();
        let header = FrameHeader::new(opcode, true, payload.len() as u64);
        let mut frame = Self { bytes: [0; 2 + CONTROL_PAYLOAD_LEN_MAX], len: 0 };
        for (slot, byte) in frame.bytes.iter_mut().zip(header.as_slice().iter().chain(payload)) {
            *slot = *byte;
            frame.len += 1;
        }
        frame
    }

    /// Header and payload.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ControlFrame {
    /// The length only: payload never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlFrame({} bytes)", self.len)
    }
}

/// A Ping without payload.
///
/// Empty on purpose: clients with a naive parser (Tempest's, the one in Nova's contributor guide) skip
/// a frame whose second byte is 0, and take any other ping for console data.
#[must_use]
pub fn ping() -> ControlFrame {
    ControlFrame::new(Opcode::Ping, &ControlPayload::empty())
}

/// The Pong that answers a Ping which carried `payload`.
#[must_use]
pub fn pong(payload: &ControlPayload) -> ControlFrame {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3
    //# A Pong frame sent in response to a Ping frame must have identical "Application data" as found
    //# in the message body of the Ping frame being replied to.
    ControlFrame::new(Opcode::Pong, payload)
}

/// A Close with `code` and `reason`, which is cut to 123 bytes at a character boundary.
#[must_use]
pub fn close(code: StatusCode, reason: &str) -> ControlFrame {
    let reason = &reason[..reason.floor_char_boundary(REASON_LEN_MAX)];
    let mut payload = ControlPayload::empty();
    payload.append(&code.as_u16().to_be_bytes());
    payload.append(reason.as_bytes());
    ControlFrame::new(Opcode::Close, &payload)
}

/// The answer to a received Close: the same payload, byte for byte.
#[must_use]
pub fn close_echo(received: &CloseFrame) -> ControlFrame {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
    //# When sending a Close frame in response, the endpoint typically echos the status code it received.
    ControlFrame::new(Opcode::Close, received.payload())
}

/// A Close without code or reason: `88 00`.
#[must_use]
pub fn close_empty() -> ControlFrame {
    ControlFrame::new(Opcode::Close, &ControlPayload::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_holds_125_bytes_and_no_more() {
        assert_eq!(ControlPayload::new(&[7; 125]).unwrap().as_slice(), [7; 125]);
        assert_eq!(ControlPayload::new(&[7; 126]), None);
    }

    #[test]
    fn frames_are_unmasked_and_complete() {
        assert_eq!(ping().as_slice(), b"\x89\x00");
        assert_eq!(pong(&ControlPayload::new(b"hi").unwrap()).as_slice(), b"\x8a\x02hi");
        assert_eq!(pong(&ControlPayload::new(&[7; 125]).unwrap()).as_slice().len(), 127);
        assert_eq!(close_empty().as_slice(), b"\x88\x00");
        assert_eq!(close(StatusCode::NORMAL, "bye").as_slice(), b"\x88\x05\x03\xe8bye");
    }

    #[test]
    fn reason_is_cut_at_a_character_boundary() {
        let frame = close(StatusCode::GOING_AWAY, &"é".repeat(100));
        assert_eq!(frame.as_slice()[1], 124, "two bytes of code and 61 whole characters");
        assert_eq!(std::str::from_utf8(&frame.as_slice()[4..]), Ok("é".repeat(61).as_str()));
    }

    #[test]
    fn debug_shows_lengths_only() {
        let payload = ControlPayload::new(b"secret").unwrap();
        assert_eq!(
            format!("{payload:?} {:?}", pong(&payload)),
            "ControlPayload(6 bytes) ControlFrame(8 bytes)"
        );
    }
}
