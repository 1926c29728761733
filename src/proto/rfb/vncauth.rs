//! VNC authentication, security type 2 and what `VeNCrypt`'s X509Vnc has inside TLS (RFC 6143 section 7.2.2): the
//! compute node sends 16 bytes, and gets them back encrypted with the password.
//!
//! It is DES with a key of 56 bits: whoever sees a challenge and its answer finds the password in hours.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};

use crate::secret::{Secret, wipe};

/// Length of a challenge and of its answer.
pub(super) const CHALLENGE_LEN: usize = 16;

/// A password of compute nodes, as it encrypts challenges.
pub struct VncPassword(Secret);

impl VncPassword {
    /// How much of a password counts, in bytes.
    pub const BYTES_MAX: usize = 8;

    /// The password in these bytes, of which the first [`Self::BYTES_MAX`] count. None of none.
    #[must_use]
    pub fn new(password: &[u8]) -> Option<Self> {
        if password.is_empty() {
            return None;
        }
        let counted = &password[..password.len().min(Self::BYTES_MAX)];
        // The first implementation read each byte of the key from its other end, and all others do since.
        // With room from the start on: a key that moved would leave a copy behind.
        let mut key = Vec::with_capacity(Self::BYTES_MAX);
        key.extend(counted.iter().map(|byte| byte.reverse_bits()));
        key.resize(Self::BYTES_MAX, 0);
        Some(Self(Secret::new(key)))
    }

    /// What `challenge` is answered with.
    #[must_use]
    pub fn answer(&self, challenge: [u8; CHALLENGE_LEN]) -> [u8; CHALLENGE_LEN] {
        let answer = encrypted(self.0.expose(), challenge);
        // The cipher wipes itself, but not where it was on its way there: the same call fills those places again.
        std::hint::black_box(encrypted(&[0; Self::BYTES_MAX], challenge));
        answer
    }
}

#[inline(never)]
fn encrypted(key: &[u8], mut blocks: [u8; CHALLENGE_LEN]) -> [u8; CHALLENGE_LEN] {
    let mut copy = Array::default();
    copy.copy_from_slice(key);
    let des = Des::new(&copy);
    wipe(&mut copy);
    for block in blocks.as_chunks_mut::<8>().0 {
        let mut encrypted = Array::from(*block);
        des.encrypt_block(&mut encrypted);
        *block = encrypted.into();
    }
    blocks
}

impl fmt::Debug for VncPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VncPassword(***)")
    }
}

/// The password in use. The control thread replaces it when its file changes; sessions that have begun keep the one
/// they began with.
#[derive(Debug, Default)]
pub struct VncPasswordSlot(RwLock<Option<Arc<VncPassword>>>);

impl VncPasswordSlot {
    /// Replaces the password for later sessions. `None`: there is none.
    pub fn replace(&self, password: Option<VncPassword>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = password.map(Arc::new);
    }

    /// The password, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<Arc<VncPassword>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> [u8; CHALLENGE_LEN] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn answers_are_those_that_qemu_has_accepted() {
        // From tests/data/rfb: two clients, whose password QEMU took, and one whose password it did not.
        for (password, challenge, answer) in [
            ("secretpw", "c6fc0beed48657c3ccedfdc88795cec5", "3e1adba4d6134a8b5c3981b32eebe45d"),
            (
                "secretpw, and what does not count",
                "88fe3d873044e9b79bc7136cca479d15",
                "33625b8e59e409396e49b06585f5149b",
            ),
            ("wrongpwd", "cac5a896849606a7d0c4a3250ea6c5f1", "506f084cf76f7851b7ca5c5189ee217b"),
        ] {
            let password = VncPassword::new(password.as_bytes()).unwrap();
            assert_eq!(password.answer(bytes(challenge)), bytes(answer), "{challenge}");
        }
    }

    #[test]
    fn short_passwords_are_padded_and_an_empty_one_is_none() {
        assert!(VncPassword::new(b"").is_none());
        let (short, padded) = (VncPassword::new(b"abc").unwrap(), VncPassword::new(b"abc\0\0").unwrap());
        assert_eq!(short.answer([7; 16]), padded.answer([7; 16]));
        assert_eq!(format!("{short:?}"), "VncPassword(***)");
    }
}
