//! Frame opcodes (RFC 6455 section 5.2).

use std::fmt;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the open message
    Continuation = 0x0,
    /// A text message or its first fragment
    Text = 0x1,
    /// A binary message or its first fragment
    Binary = 0x2,
    /// Start or end of the closing handshake
    Close = 0x8,
    /// A question that a [`Opcode::Pong`] answers
    Ping = 0x9,
    /// An answer to a [`Opcode::Ping`], or an unasked-for sign of life
    Pong = 0xA,
}

impl Opcode {
    /// Whether this is a control frame, which may come between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5
        //# Control frames are identified by opcodes where the most significant bit of the opcode is 1.
        self as u8 & 0x8 != 0
    }
}

/// An opcode that RFC 6455 reserves (0x3 to 0x7 and 0xB to 0xF), or a number above 0xF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedOpcode(pub u8);

impl TryFrom<u8> for Opcode {
    type Error = ReservedOpcode;

    /// Reads the low four bits of a frame's first byte.
    fn try_from(byte: u8) -> Result<Self, ReservedOpcode> {
        Ok(match byte {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            reserved => return Err(ReservedOpcode(reserved)),
        })
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_numbers_are_opcodes() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|byte| Opcode::try_from(*byte).is_ok()).collect();
        assert_eq!(known, [0x0, 0x1, 0x2, 0x8, 0x9, 0xA]);
        for byte in known {
            let opcode = Opcode::try_from(byte).unwrap();
            assert_eq!((opcode as u8, opcode.is_control()), (byte, byte >= 8));
        }
    }
}
