//! Payload masking (RFC 6455 section 5.3).

use super::mask_avx2;

/// The masking key of one frame, turned so that its first byte belongs to the next payload byte.
///
/// Turning the key is what makes the phase that of the *frame* without an index beside it: pieces of
/// any length may be passed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    key: [u8; 4],
}

impl Mask {
    /// The mask at the start of a frame's payload.
    #[must_use]
    pub fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks or unmasks the next `bytes` of the payload in place, and moves the phase past them.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
        //# Octet i of the transformed data ("transformed-octet-i") is the XOR of octet i of the
        //# original data ("original-octet-i") with octet at index i modulo 4 of the masking key
        xor(bytes, self.key);
        self.advance(bytes.len());
    }

    /// Moves the phase past `len` payload bytes without touching any.
    pub(super) fn advance(&mut self, len: usize) {
        self.key.rotate_left(len % 4);
    }
}

/// XORs `bytes` with the repeated `key`.
fn xor(bytes: &mut [u8], key: [u8; 4]) {
    if !mask_avx2::xor(bytes, key) {
        xor_words(bytes, key);
    }
}

/// Eight bytes at a time, which the compiler turns into vectors.
#[inline(always)]
pub(super) fn xor_words(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word_key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// The definition, one byte at a time.
    fn masked_by_definition(bytes: &[u8], phase: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ KEY[(phase + i) % 4]).collect()
    }

    #[test]
    fn rfc_example_is_unmasked() {
        let mut payload = *b"\x7f\x9f\x4d\x51\x58";
        Mask::new(KEY).apply(&mut payload);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn words_agree_with_the_definition_at_every_alignment_and_length() {
        let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(1_100).collect();
        for alignment in 0..64 {
            // The longer ones take the wider vectors.
            for len in (0..=300).chain([511, 512, 513, 640, 1_000]) {
                let mut buffer = pattern.clone();
                Mask::new(KEY).apply(&mut buffer[alignment..alignment + len]);
                let range = alignment..alignment + len;
                assert_eq!(buffer[range.clone()], masked_by_definition(&pattern[range.clone()], 0));
                assert_eq!(buffer[..alignment], pattern[..alignment]);
                assert_eq!(buffer[range.end..], pattern[range.end..]);
            }
        }
    }

    #[test]
    fn phase_survives_every_split() {
        let whole: Vec<u8> = (0..64).collect();
        let expected = masked_by_definition(&whole, 0);
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let (mut mask, mut bytes) = (Mask::new(KEY), whole.clone());
                mask.apply(&mut bytes[..first]);
                mask.apply(&mut bytes[first..second]);
                mask.apply(&mut bytes[second..]);
                assert_eq!(bytes, expected, "split at {first} and {second}");
            }
        }
    }
}
