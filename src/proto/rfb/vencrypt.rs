//! `VeNCrypt` 0.2 (rfbproto.rst, "VeNCrypt"): what is read and sent between security type 19 and TLS.
//!
//! ```text
//! compute: 00 02               its highest version     ours: 00 02
//! compute: 00                  0 is yes
//! compute: n, n x u32          the sub-types           ours: u32, one of them
//! compute: 01                  1 is yes: the other way round than the answer to the version
//! TLS, in which all the rest follows
//! ```
//!
//! Nothing is sent behind the sub-type: QEMU would take it, in the clear, for the first bytes inside TLS.

use std::fmt;

use super::error::RfbError;
use super::inbox::Inbox;
use super::message::{Message, Transmit};
use super::security::write_cut;
use crate::proto::Side;

/// The one version that is spoken. 0.1 has sub-types of one byte, and nobody runs it.
const VERSION: [u8; 2] = [0, 2];

/// The answer that accepts the version.
const VERSION_ACCEPTED: u8 = 0;

/// The answer that refuses the sub-type. Everything else accepts it, as in Nova.
const SUBTYPE_REFUSED: u8 = 0;

/// What happens inside TLS, or in place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subtype(pub u32);

impl Subtype {
    /// 260: TLS with certificates, and nothing inside it but the result
    pub const X509_NONE: Self = Self(260);
    /// 261: TLS with certificates, and VNC authentication inside it
    pub const X509_VNC: Self = Self(261);

    /// The sub-type's name as Nova logs it (nova/console/rfb/authvencrypt.py, `AuthVeNCryptSubtype`). 263 and
    /// 264 are the other way round in rfbproto.rst; QEMU agrees with Nova.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            256 => "PLAIN",
            257 => "TLSNONE",
            258 => "TLSVNC",
            259 => "TLSPLAIN",
            260 => "X509NONE",
            261 => "X509VNC",
            262 => "X509PLAIN",
            263 => "X509SASL",
            264 => "TLSSASL",
            _ => return None,
        })
    }
}

impl fmt::Display for Subtype {
    /// `260 (X509NONE)`, `13 (unknown)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name().unwrap_or("unknown"))
    }
}

/// The sub-types that a compute node offered, in its order: 0 to 255 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtypes(Box<[Subtype]>);

impl Subtypes {
    /// Whether `wanted` is on the list. Numbers nobody knows are passed over.
    #[must_use]
    pub fn contains(&self, wanted: Subtype) -> bool {
        self.0.contains(&wanted)
    }
}

impl fmt::Display for Subtypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none at all");
        }
        write_cut(f, self.0.iter())
    }
}

/// Our version, in answer to the compute node's.
pub(super) fn version(offered: [u8; 2]) -> Result<Transmit, RfbError> {
    if offered == VERSION { Ok(transmit(&VERSION)) } else { Err(RfbError::VeNCryptVersion { got: offered }) }
}

/// Checks the compute node's answer to our version.
pub(super) fn accept_version_answer([answer]: [u8; 1]) -> Result<(), RfbError> {
    if answer == VERSION_ACCEPTED { Ok(()) } else { Err(RfbError::VeNCryptVersionRefused { answer }) }
}

/// Reads the list of sub-types, all of it or nothing.
pub(super) fn read_subtypes<const N: usize>(inbox: &mut Inbox<N>) -> Option<Subtypes> {
    let count = *inbox.held().first()?;
    let message = inbox.take_slice(1 + 4 * usize::from(count))?;
    let (numbers, _) = message[1..].as_chunks::<4>();
    Some(Subtypes(numbers.iter().map(|number| Subtype(u32::from_be_bytes(*number))).collect()))
}

/// The sub-type chosen.
pub(super) fn choice(chosen: Subtype) -> Transmit {
    transmit(&chosen.0.to_be_bytes())
}

/// Checks the compute node's answer to our choice.
pub(super) fn accept_choice_answer([answer]: [u8; 1], chosen: Subtype) -> Result<(), RfbError> {
    if answer == SUBTYPE_REFUSED { Err(RfbError::SubtypeRefused { chosen }) } else { Ok(()) }
}

fn transmit(bytes: &[u8]) -> Transmit {
    Transmit { to: Side::Compute, message: Message::new(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtypes(numbers: &[u32]) -> Subtypes {
        Subtypes(numbers.iter().copied().map(Subtype).collect())
    }

    #[test]
    fn subtypes_print_in_novas_spelling_and_long_lists_are_cut() {
        assert_eq!(subtypes(&[260, 263, 7]).to_string(), "260 (X509NONE), 263 (X509SASL), 7 (unknown)");
        assert_eq!(subtypes(&[]).to_string(), "none at all");
        assert!(subtypes(&[256; 255]).to_string().ends_with(" and 247 more"));
    }

    #[test]
    fn the_longest_list_fits_and_a_short_one_waits_for_its_last_byte() {
        let mut inbox = Inbox::<1024>::new();
        let longest = [&[255][..], &[0, 0, 1, 4].repeat(255)].concat();
        assert_eq!(inbox.push(&longest[..longest.len() - 1], 1024), 1020);
        assert_eq!(read_subtypes(&mut inbox), None);
        assert_eq!(inbox.push(&longest[longest.len() - 1..], 1024), 1);
        assert!(read_subtypes(&mut inbox).unwrap().contains(Subtype::X509_NONE));
        assert_eq!(inbox.held(), b"");
    }
}
