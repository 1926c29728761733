//! What the kernel needs in order to go on with a TLS connection in our place: the keys of both directions, at the
//! border between two records.

use std::fmt;

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// How records are sealed, as far as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelCipher {
    /// `AEAD_AES_128_GCM`
    Aes128Gcm,
    /// `AEAD_AES_256_GCM`
    Aes256Gcm,
    /// `AEAD_CHACHA20_POLY1305`
    Chacha20Poly1305,
}

impl KernelCipher {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// As logs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Chacha20Poly1305 => "ChaCha20-Poly1305",
        }
    }
}

/// The ciphers of the kernel that this process runs on; none without kernel TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCiphers(Vec<KernelCipher>);

impl KernelCiphers {
    /// Whether the kernel can seal with `cipher`.
    #[must_use]
    pub fn has(&self, cipher: KernelCipher) -> bool {
        self.0.contains(&cipher)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<KernelCipher> for KernelCiphers {
    fn from_iter<I: IntoIterator<Item = KernelCipher>>(ciphers: I) -> Self {
        Self(ciphers.into_iter().collect())
    }
}

impl fmt::Display for KernelCiphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|cipher| cipher.name()).collect();
        f.write_str(&names.join(", "))
    }
}

/// The keys of both directions of a TLS 1.3 connection, and how many records they have sealed.
pub struct KernelKeys(ExtractedSecrets);

/// The key of one direction.
pub struct KernelKey<'a> {
    /// What it is for
    pub cipher: KernelCipher,
    /// 16 bytes for AES-128-GCM, else 32
    pub key: &'a [u8],
    /// 12 bytes, of which each record's nonce is made (RFC 8446 section 5.3)
    pub iv: &'a [u8],
    /// Number of the next record
    pub sequence: u64,
}

impl KernelKeys {
    pub(super) fn new(secrets: ExtractedSecrets) -> Self {
        Self(secrets)
    }

    /// What is sent. None for a cipher that rustls learnt after this was written.
    #[must_use]
    pub fn send(&self) -> Option<KernelKey<'_>> {
        key(&self.0.tx)
    }

    /// What is received.
    #[must_use]
    pub fn receive(&self) -> Option<KernelKey<'_>> {
        key(&self.0.rx)
    }
}

fn key((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Option<KernelKey<'_>> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (KernelCipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (KernelCipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (KernelCipher::Chacha20Poly1305, key, iv),
        _ => return None,
    };
    Some(KernelKey { cipher, key: key.as_ref(), iv: iv.as_ref(), sequence: *sequence })
}

impl fmt::Debug for KernelKeys {
    /// Nothing of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelKeys(***)")
    }
}

/// Where wire bytes stand between records. rustls does not say whether it holds the beginning of one.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the next record's header that have come, of five
    header: u8,
    /// Bytes of the present record that have not come
    left: u16,
}

impl Records {
    /// Takes note of wire bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.header == 5 {
                let len = bytes.len().min(usize::from(self.left));
                bytes = &bytes[len..];
                self.left -= u16::try_from(len).unwrap_or(self.left);
            } else {
                // The length is the last two of them (RFC 8446 section 5.1).
                self.left = match self.header {
                    3 => u16::from(byte) << 8,
                    4 => self.left | u16::from(byte),
                    _ => 0,
                };
                self.header += 1;
                bytes = rest;
            }
            if self.header == 5 && self.left == 0 {
                self.header = 0;
            }
        }
    }

    /// Whether the last byte was the last one of a record.
    pub(super) fn is_between(&self) -> bool {
        self.header == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_between_records_is_found_however_they_are_cut() {
        let mut wire = Vec::new();
        let mut borders = vec![0];
        for len in [0_u16, 1, 2, 255, 256, 16_640] {
            wire.extend_from_slice(&[0x17, 3, 3]);
            wire.extend_from_slice(&len.to_be_bytes());
            wire.resize(wire.len() + usize::from(len), 0x17);
            borders.push(wire.len());
        }
        for step in [1, 2, 3, 7, 300, 20_000] {
            let mut records = Records::default();
            let mut at = 0;
            for piece in wire.chunks(step) {
                records.pass(piece);
                at += piece.len();
                assert_eq!(records.is_between(), borders.contains(&at), "at {at} in steps of {step}");
            }
        }
    }
}
