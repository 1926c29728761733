//! Close frames and status codes (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::{ControlPayload, FrameError};

/// The longest close reason in bytes: a control frame's payload less two bytes of code.
pub const REASON_LEN_MAX: usize = 123;

/// A close code that may travel in a frame: 1000 to 1003, 1007 to 1014 and 3000 to 4999.
///
/// The codes that only a local interface may report (1005, 1006, 1015) cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusCode(u16);

impl StatusCode {
    /// The purpose of the connection was fulfilled
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser left the page
    pub const GOING_AWAY: Self = Self(1001);
    /// A frame that breaks the protocol
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A type of data that is not served, here text
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Text that is not UTF-8
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// Anything else that is not wanted
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A frame above the cap
    pub const TOO_BIG: Self = Self(1009);
    /// The server, or what is behind it, failed
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts (IANA registry)
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded (IANA registry)
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The number on the wire.
    #[must_use]
    pub fn as_u16(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for StatusCode {
    type Error = FrameError;

    /// Takes a code off the wire.
    ///
    /// # Errors
    ///
    /// [`FrameError::CloseCode`] for a number that may not appear in a Close frame.
    fn try_from(code: u16) -> Result<Self, FrameError> {
        // 1004 is undefined, 1005, 1006 and 1015 are for local use, 1016 to 2999 are not assigned.
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(FrameError::CloseCode(code)),
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A valid Close frame from the tenant. Its payload is kept as it came, so the echo is exact.
#[derive(Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why the tenant closes; `None` when the Close was empty
    pub code: Option<StatusCode>,
    // INVARIANT: empty, or two bytes of code and a reason in UTF-8.
    payload: ControlPayload,
}

impl CloseFrame {
    /// The reason, at most 123 bytes, empty when there was none. It is the tenant's text: bound for a
    /// log only after escaping.
    #[must_use]
    pub fn reason(&self) -> &str {
        // Cannot fail by the invariant; an empty reason is the harmless answer if it did.
        self.payload.as_slice().get(2..).and_then(|reason| str::from_utf8(reason).ok()).unwrap_or_default()
    }

    /// The payload as it came: nothing, or two bytes of code and the reason.
    #[must_use]
    pub fn payload(&self) -> &ControlPayload {
        &self.payload
    }
}

impl TryFrom<ControlPayload> for CloseFrame {
    type Error = FrameError;

    /// Checks the unmasked payload of a Close frame.
    ///
    /// # Errors
    ///
    /// [`FrameError::CloseTruncated`], [`FrameError::CloseCode`] or [`FrameError::CloseReasonNotUtf8`].
    fn try_from(payload: ControlPayload) -> Result<Self, FrameError> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer
        let code = match payload.as_slice() {
            [] => None,
            [_] => return Err(FrameError::CloseTruncated),
            [high, low, reason @ ..] => {
                let code = StatusCode::try_from(u16::from_be_bytes([*high, *low]))?;
                str::from_utf8(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
                Some(code)
            }
        };
        Ok(Self { code, payload })
    }
}

impl fmt::Debug for CloseFrame {
    /// The code and the length of the reason: the reason is the tenant's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CloseFrame({:?}, reason of {} bytes)",
            self.code.map(StatusCode::as_u16),
            self.reason().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ws::close_echo;

    fn parse(payload: &[u8]) -> Result<CloseFrame, FrameError> {
        CloseFrame::try_from(ControlPayload::new(payload).unwrap())
    }

    #[test]
    fn codes_for_local_use_cannot_be_made() {
        let refused = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX];
        for code in refused {
            assert_eq!(StatusCode::try_from(code), Err(FrameError::CloseCode(code)));
        }
        assert_eq!((0..=u16::MAX).filter(|code| StatusCode::try_from(*code).is_ok()).count(), 4 + 8 + 2000);
    }

    #[test]
    fn close_payload_is_checked() {
        assert_eq!(parse(b"\x03"), Err(FrameError::CloseTruncated));
        assert_eq!(parse(b"\x03\xee"), Err(FrameError::CloseCode(1006)));
        assert_eq!(parse(b"\x03\xe8\xe9"), Err(FrameError::CloseReasonNotUtf8));
        let empty = parse(b"").unwrap();
        assert_eq!((empty.code, empty.reason()), (None, ""));
        let full = parse("\u{3}\u{fffd}".as_bytes());
        assert!(full.is_err(), "0x03ef is 1007, but the reason begins inside a character");
        let full = parse(b"\x0b\xb8bye \xc3\xa9").unwrap();
        assert_eq!((full.code.map(StatusCode::as_u16), full.reason()), (Some(3000), "bye é"));
    }

    #[test]
    fn echo_is_byte_exact() {
        for payload in [b"".as_slice(), b"\x03\xe8", b"\x13\x87reason"] {
            let frame = close_echo(&parse(payload).unwrap());
            assert_eq!(frame.as_slice()[0], 0x88);
            assert_eq!(usize::from(frame.as_slice()[1]), payload.len());
            assert_eq!(&frame.as_slice()[2..], payload);
        }
    }
}
