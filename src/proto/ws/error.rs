//! What a tenant can do wrong in a frame, and the close code that answers it.

use super::{Opcode, StatusCode};

/// Why the connection was failed (RFC 6455 section 7.1.7).
///
/// Holds numbers of the offending header at most, never payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RSV1 to RSV3 without an extension that gives them a meaning
    #[error("tenant set reserved bits {bits:#04x} without an extension")]
    ReservedBits {
        /// The first byte of the frame, masked to bits 0x70
        bits: u8,
    },
    /// Opcode 0x3 to 0x7 or 0xB to 0xF
    #[error("tenant sent reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// MASK = 0
    #[error("tenant sent an unmasked {opcode} frame")]
    Unmasked {
        /// Of the offending frame
        opcode: Opcode,
    },
    /// A control frame with FIN = 0
    #[error("tenant sent a fragmented {opcode} frame")]
    FragmentedControl {
        /// Of the offending frame
        opcode: Opcode,
    },
    /// A control frame with a 16-bit or 64-bit length, whatever its value
    #[error("tenant sent a {opcode} frame of more than 125 bytes")]
    ControlTooLong {
        /// Of the offending frame
        opcode: Opcode,
    },
    /// A continuation with no message open
    #[error("tenant sent a continuation frame with no message to continue")]
    NothingToContinue,
    /// A text or binary frame while a message is open
    #[error("tenant began a {opcode} message inside an unfinished one")]
    MessageUnfinished {
        /// Of the offending frame
        opcode: Opcode,
    },
    /// A 16-bit length below 126 or a 64-bit length below 65,536
    #[error("tenant encoded payload length {len} in more bytes than it needs")]
    NonMinimalLength {
        /// The declared length in bytes
        len: u64,
    },
    /// A 64-bit length with the most significant bit set
    #[error("tenant declared a payload length above 2^63-1")]
    LengthOutOfRange,
    /// A close payload of one byte
    #[error("tenant sent a close payload of 1 byte")]
    CloseTruncated,
    /// A close code that may not travel
    #[error("tenant sent close code {0}, which may not appear in a frame")]
    CloseCode(u16),
    /// A close reason that is not UTF-8
    #[error("tenant sent a close reason that is not UTF-8")]
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8
    #[error("tenant sent a text message that is not UTF-8")]
    TextNotUtf8,
    /// A text frame under [`super::TextPolicy::Refuse`]
    #[error("tenant sent a text frame, only binary is served")]
    TextRefused,
    /// A frame above the operator's cap
    #[error("tenant declared a frame of {len} bytes, at most {max} are allowed")]
    FrameTooLong {
        /// The declared length in bytes
        len: u64,
        /// The cap in bytes
        max: u64,
    },
    /// More than [`super::EMPTY_FRAMES_MAX`] empty data frames in a row
    #[error("tenant sent more than {} empty data frames in a row", super::EMPTY_FRAMES_MAX)]
    EmptyFrames,
}

impl FrameError {
    /// The code for the Close frame that answers this error (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(&self) -> StatusCode {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpcode(_)
            | Self::Unmasked { .. }
            | Self::FragmentedControl { .. }
            | Self::ControlTooLong { .. }
            | Self::NothingToContinue
            | Self::MessageUnfinished { .. }
            | Self::NonMinimalLength { .. }
            | Self::LengthOutOfRange
            | Self::CloseTruncated
            | Self::CloseCode(_) => StatusCode::PROTOCOL_ERROR,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => StatusCode::INVALID_PAYLOAD,
            Self::TextRefused => StatusCode::UNSUPPORTED_DATA,
            Self::FrameTooLong { .. } => StatusCode::TOO_BIG,
            Self::EmptyFrames => StatusCode::POLICY_VIOLATION,
        }
    }
}
