//! [`Note`]: what of a handshake is worth a line in a log at DEBUG.

use std::fmt;

use super::security::{SecurityType, SecurityTypes};
use super::vencrypt::{Subtype, Subtypes};
use super::version::ProtocolVersion;
use crate::proto::Side;

/// Something that happened. Its text is Nova's (`nova/console/securityproxy/rfb.py`, `connect`;
/// `nova/console/rfb/authvencrypt.py`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A side's version was read, and will do
    Version(Side, [u8; ProtocolVersion::LEN]),
    /// What the compute node offers
    Offered(SecurityTypes),
    /// What the compute node was told
    Chosen(SecurityType),
    /// The compute node's `VeNCrypt` version
    VeNCryptVersion([u8; 2]),
    /// The `VeNCrypt` sub-types that the compute node offers
    Subtypes(Subtypes),
    /// The one that it was asked for
    SubtypeChosen(Subtype),
    /// It took that
    SubtypeAccepted,
    /// VNC authentication was asked for, and answered
    Challenged,
    /// The TLS handshake is done
    Secured,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(side, bytes) => {
                let side = if *side == Side::Compute { "compute node" } else { "tenant" };
                write!(f, "Got version string '{}' from {side}", bytes.trim_ascii_end().escape_ascii())
            }
            Self::Offered(types) => write!(f, "Server sent security types: {types}"),
            Self::VeNCryptVersion([major, minor]) => {
                write!(f, "Server sent VeNCrypt version {major}.{minor}")
            }
            Self::Subtypes(subtypes) => write!(f, "Server supports VeNCrypt subtypes: {subtypes}"),
            Self::SubtypeChosen(chosen) => {
                write!(f, "Attempting to use the {chosen} VeNCrypt auth subtype")
            }
            Self::SubtypeAccepted => f.write_str("Server accepted the requested VeNCrypt auth subtype"),
            Self::Challenged => f.write_str("Answered the VNC challenge of the server"),
            Self::Secured => f.write_str("VeNCrypt security handshake accepted"),
            Self::Chosen(chosen) => {
                write!(f, "Using security type {chosen} with server, {} with client", SecurityType::NONE)
            }
        }
    }
}
