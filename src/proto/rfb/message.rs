//! What the machine asks to be sent.

use crate::proto::Side;

/// One message to one side. To the tenant it travels as one WebSocket message by itself: clients such
/// as Tempest expect the version, the security types and the result each in a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Who it is for
    pub to: Side,
    /// The bytes
    pub message: Message,
}

/// The bytes of one handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Bytes);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bytes {
    /// Everything but reasons fits here: the longest is the version.
    Inline { bytes: [u8; Message::INLINE_BYTES_MAX], len: usize },
    /// A refusal: up to eight bytes, then a reason.
    Heap(Vec<u8>),
}

impl Message {
    /// The longest message kept without an allocation, in bytes.
    pub const INLINE_BYTES_MAX: usize = 12;

    /// Copies `bytes`.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; Self::INLINE_BYTES_MAX];
        match inline.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self(Bytes::Inline { bytes: inline, len: bytes.len() })
            }
            None => Self(Bytes::Heap(bytes.to_vec())),
        }
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { bytes, len } => &bytes[..*len],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_its_bytes_at_any_length() {
        for len in [0, 1, 11, 12, 13, 264] {
            let bytes = vec![0xa5; len];
            assert_eq!(Message::new(&bytes).as_bytes(), bytes);
        }
    }
}
