//! Frame headers (RFC 6455 section 5.2), both ways: decoded from the tenant, encoded towards it.

use super::{CONTROL_PAYLOAD_LEN_MAX, FrameError, Opcode, ReservedOpcode};
use crate::proto::bytes::Reader;

/// The longest header a client sends: 2 bytes, a 64-bit length and a key.
pub(super) const CLIENT_HEADER_LEN_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASK: u8 = 0x80;
/// In place of a length below 126: a 16-bit length follows.
const LEN_16: u8 = 126;
/// In place of a length below 126: a 64-bit length follows.
const LEN_64: u8 = 127;

/// The header of a masked frame, as a client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHeader {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// At most 2^63-1
    pub(super) payload_len: u64,
    pub(super) key: [u8; 4],
}

impl ClientHeader {
    /// Decodes a header from the front of `bytes` and returns it with its own length, or `None` when
    /// bytes are missing.
    ///
    /// An error is reported with the first byte that decides it, whatever is still missing behind.
    /// `admit` is asked as soon as the opcode is known: it rules on what depends on earlier frames.
    pub(super) fn decode(
        bytes: &[u8],
        admit: impl FnOnce(Opcode) -> Result<(), FrameError>,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let mut reader = Reader::new(bytes);
        let Some(first) = reader.u8() else { return Ok(None) };
        let fin = first & FIN != 0;
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
        //# MUST be 0 unless an extension is negotiated that defines meanings for non-zero values.
        if first & RSV != 0 {
            return Err(FrameError::ReservedBits { bits: first & RSV });
        }
        let opcode = Opcode::try_from(first & OPCODE)
            .map_err(|ReservedOpcode(number)| FrameError::ReservedOpcode(number))?;
        if opcode.is_control() && !fin {
            return Err(FrameError::FragmentedControl { opcode });
        }
        admit(opcode)?;

        let Some(second) = reader.u8() else { return Ok(None) };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# The server MUST close the connection upon receiving a frame that is not masked.
        if second & MASK == 0 {
            return Err(FrameError::Unmasked { opcode });
        }
        let len_7 = second & !MASK;
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5
        //# All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.
        if opcode.is_control() && usize::from(len_7) > CONTROL_PAYLOAD_LEN_MAX {
            return Err(FrameError::ControlTooLong { opcode });
        }
        let (payload_len, least) = match len_7 {
            LEN_16 => (reader.u16().map(u64::from), 126),
            LEN_64 => (reader.take().map(u64::from_be_bytes), 1 << 16),
            len => (Some(u64::from(len)), 0),
        };
        let Some(payload_len) = payload_len else { return Ok(None) };
        if payload_len >> 63 != 0 {
            return Err(FrameError::LengthOutOfRange);
        }
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
        //# Note that in all cases, the minimal number of bytes MUST be used to encode the length
        if payload_len < least {
            return Err(FrameError::NonMinimalLength { len: payload_len });
        }
        let Some(key) = reader.take() else { return Ok(None) };
        Ok(Some((Self { fin, opcode, payload_len, key }, bytes.len() - reader.rest().len())))
    }
}

/// The header of an unmasked frame in its shortest form: 2, 4 or 10 bytes.
///
/// Made to be written in front of its payload with [`Chunk::prepend`](crate::proto::bytes::Chunk::prepend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; 10],
    len: u8,
}

impl FrameHeader {
    /// A header for `len` bytes of payload, at most 2^63-1 (125 for a control frame, which is also
    /// never a fragment: see [`ControlFrame`](super::ControlFrame)).
    #[must_use]
    pub fn new(opcode: Opcode, fin: bool, len: u64) -> Self {
        debug_assert!(len >> 63 == 0, "payload length above 2^63-1");
        let mut bytes = [0; 10];
        bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# A server MUST NOT mask any frames that it sends to the client.
        let len = match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len_7), _) if len_7 < LEN_16 => {
                bytes[1] = len_7;
                2
            }
            (_, Ok(len_16)) => {
                bytes[1] = LEN_16;
                bytes[2..4].copy_from_slice(&len_16.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = LEN_64;
                bytes[2..].copy_from_slice(&len.to_be_bytes());
                10
            }
        };
        Self { bytes, len }
    }

    /// The bytes to write in front of the payload.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<(ClientHeader, usize)>, FrameError> {
        ClientHeader::decode(bytes, |_| Ok(()))
    }

    #[test]
    fn server_header_uses_the_shortest_length() {
        let cases: [(u64, &[u8]); 8] = [
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (255, b"\x82\x7e\x00\xff"),
            (256, b"\x82\x7e\x01\x00"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            (i64::MAX.unsigned_abs(), b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (len, bytes) in cases {
            assert_eq!(FrameHeader::new(Opcode::Binary, true, len).as_slice(), bytes, "{len}");
        }
        assert_eq!(FrameHeader::new(Opcode::Continuation, false, 1).as_slice(), b"\x00\x01");
    }

    #[test]
    fn header_is_not_decoded_before_its_last_byte() {
        let header = b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00KEY!";
        for len in 0..header.len() {
            assert_eq!(decode(&header[..len]), Ok(None), "{len} bytes");
        }
        let (decoded, len) = decode(&[header.as_slice(), b"payload"].concat()).unwrap().unwrap();
        assert_eq!((decoded.payload_len, decoded.key, len), (65_536, *b"KEY!", header.len()));
    }

    #[test]
    fn errors_need_no_byte_behind_the_one_that_decides() {
        assert_eq!(decode(b"\xc2"), Err(FrameError::ReservedBits { bits: 0x40 }));
        assert_eq!(decode(b"\x83"), Err(FrameError::ReservedOpcode(3)));
        assert_eq!(decode(b"\x09"), Err(FrameError::FragmentedControl { opcode: Opcode::Ping }));
        assert_eq!(decode(b"\x82\x01"), Err(FrameError::Unmasked { opcode: Opcode::Binary }));
        assert_eq!(decode(b"\x8a\xfe"), Err(FrameError::ControlTooLong { opcode: Opcode::Pong }));
        assert_eq!(decode(b"\x82\xfe\x00\x7d"), Err(FrameError::NonMinimalLength { len: 125 }));
        let refuse = |_| Err(FrameError::NothingToContinue);
        assert_eq!(ClientHeader::decode(b"\x80", refuse), Err(FrameError::NothingToContinue));
    }
}
