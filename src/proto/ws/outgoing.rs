//! The sending half: which frames may go to the tenant, and in which order.

use super::{ControlFrame, ControlPayload, FrameHeader, Opcode, pong};

/// What is owed to the tenant in control frames, bounded however little it reads.
///
/// Ask for [`Outgoing::next_control`] at every frame boundary, before the next data frame. The pong
/// stands in front of the Close, and behind the Close nothing goes out any more:
///
/// ```
/// use consolegate::proto::ws::{Outgoing, StatusCode, close};
///
/// let mut outgoing = Outgoing::default();
/// assert_eq!(outgoing.data_header(300).unwrap().as_slice(), b"\x82\x7e\x01\x2c");
/// outgoing.queue_close(close(StatusCode::NORMAL, ""));
/// assert!(outgoing.data_header(300).is_none());
/// assert_eq!(outgoing.next_control().unwrap().as_slice(), b"\x88\x02\x03\xe8");
/// assert!(outgoing.next_control().is_none());
/// ```
///
/// Small at rest, since every relay has one: what is owed stands in one box, which the Close leaves behind.
#[derive(Debug, Default)]
pub struct Outgoing {
    owed: Option<Box<Owed>>,
}

#[derive(Debug, Default)]
struct Owed {
    pong: Option<Box<ControlPayload>>,
    close: Option<ControlFrame>,
    closing: Closing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    Open,
    Owed,
    Sent,
}

impl Outgoing {
    /// Owes a Pong with the payload of a received Ping, in place of any pong still owed.
    pub fn queue_pong(&mut self, payload: Box<ControlPayload>) {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3
        //# If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response to
        //# previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only the most
        //# recently processed Ping frame.
        if self.closing() == Closing::Open {
            self.owed.get_or_insert_default().pong = Some(payload);
        }
    }

    /// Owes a Close. The first one counts; a later one is dropped.
    pub fn queue_close(&mut self, frame: ControlFrame) {
        if self.closing() == Closing::Open {
            let owed = self.owed.get_or_insert_default();
            (owed.close, owed.closing) = (Some(frame), Closing::Owed);
        }
    }

    /// The next control frame to write, at a frame boundary.
    pub fn next_control(&mut self) -> Option<ControlFrame> {
        let owed = self.owed.as_mut()?;
        if let Some(payload) = owed.pong.take() {
            if owed.closing == Closing::Open {
                self.owed = None;
            }
            return Some(pong(&payload));
        }
        owed.closing = Closing::Sent;
        owed.close.take()
    }

    /// The header for a binary message of `len` bytes, or `None` once a Close is owed or sent.
    #[must_use]
    pub fn data_header(&self, len: u64) -> Option<FrameHeader> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# The application MUST NOT send any more data frames after sending a Close frame.
        (self.closing() == Closing::Open).then(|| FrameHeader::new(Opcode::Binary, true, len))
    }

    /// Whether the Close was taken for writing: what follows it is the end of the TCP stream.
    #[must_use]
    pub fn is_close_sent(&self) -> bool {
        self.closing() == Closing::Sent
    }

    fn closing(&self) -> Closing {
        self.owed.as_ref().map_or(Closing::Open, |owed| owed.closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ws::{StatusCode, close, close_empty};

    fn payload(bytes: &[u8]) -> Box<ControlPayload> {
        Box::new(ControlPayload::new(bytes).unwrap())
    }

    #[test]
    fn any_number_of_pings_leaves_one_pong() {
        let mut outgoing = Outgoing::default();
        for number in 0..10_000_u32 {
            outgoing.queue_pong(payload(&number.to_be_bytes()));
        }
        assert_eq!(outgoing.next_control().unwrap().as_slice(), b"\x8a\x04\x00\x00\x27\x0f");
        assert!(outgoing.next_control().is_none());
        assert!(size_of::<Outgoing>() <= 8, "{}", size_of::<Outgoing>());
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut outgoing = Outgoing::default();
        outgoing.queue_pong(payload(b"p"));
        outgoing.queue_close(close(StatusCode::NORMAL, "first"));
        outgoing.queue_close(close_empty());
        outgoing.queue_pong(payload(b"late"));
        assert!(outgoing.data_header(1).is_none());
        assert_eq!(outgoing.next_control().unwrap().as_slice(), b"\x8a\x01p");
        assert!(!outgoing.is_close_sent());
        assert_eq!(outgoing.next_control().unwrap().as_slice(), b"\x88\x07\x03\xe8first");
        assert!(outgoing.is_close_sent());
        outgoing.queue_pong(payload(b"later"));
        outgoing.queue_close(close_empty());
        assert!(outgoing.next_control().is_none() && outgoing.data_header(1).is_none());
    }
}
