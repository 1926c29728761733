//! Unmasking with AVX2, where the processor has it.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::mask::xor_words;

/// Below this the wider vectors gain nothing.
#[cfg(target_arch = "x86_64")]
const WIDE_FROM: usize = 512;

/// XORs `bytes` with the repeated `key`. False, and nothing is done, where that is no gain or cannot be.
#[cfg(target_arch = "x86_64")]
pub(super) fn xor(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if bytes.len() < WIDE_FROM || !is_x86_feature_detected!("avx2") {
        return false;
    }
    // SAFETY: this processor has AVX2.
    unsafe { wide(bytes, key) };
    true
}

/// The one body, as the compiler makes it of wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn wide(bytes: &mut [u8], key: [u8; 4]) {
    xor_words(bytes, key);
}

/// No such vectors on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn xor(_bytes: &mut [u8], _key: [u8; 4]) -> bool {
    false
}
