//! Why a handshake failed.

use crate::proto::Side;
use crate::proto::tls::CLOSED_AFTER_TLS;

use super::reason::Reason;
use super::security::{SecurityType, SecurityTypes};
use super::step::Step;
use super::vencrypt::{Subtype, Subtypes};
use super::version::ProtocolVersion;

/// Why a handshake failed. The text is for the operator's log; what the tenant may be told was put
/// among the messages to send, and says less.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RfbError {
    /// The first twelve bytes are not of the form `RFB xxx.yyy\n`.
    #[error("{side} sent \"{}\" for a version, which is not RFB", got.escape_ascii())]
    NotRfb {
        /// Who sent it
        side: Side,
        /// The bytes
        got: [u8; ProtocolVersion::LEN],
    },
    /// A version that is not proxied.
    #[error("{side} {} {got}, only 003.008 is proxied", if *side == Side::Compute { "offered" } else { "requested" })]
    UnsupportedVersion {
        /// Who sent it
        side: Side,
        /// The version
        got: ProtocolVersion,
    },
    /// The compute node sent a reason in place of security types.
    #[error("compute refused the connection: {reason}")]
    Refused {
        /// Its reason
        reason: Reason,
    },
    /// No security type that the compute node offers is configured and spoken here.
    #[error("compute offered the security types {offered}; usable from auth_schemes: {usable}")]
    NoCommonType {
        /// What it offers
        offered: SecurityTypes,
        /// What the operator's list leaves to choose from
        usable: String,
    },
    /// The tenant chose a type that it was not offered.
    #[error("tenant chose the security type {got}, only 1 (NONE) was offered")]
    TypeNotOffered {
        /// What it chose
        got: SecurityType,
    },
    /// A version of `VeNCrypt` that is not spoken.
    #[error("compute offered VeNCrypt {}.{}, only 0.2 is spoken", got[0], got[1])]
    VeNCryptVersion {
        /// Major and minor
        got: [u8; 2],
    },
    /// The compute node did not take `VeNCrypt` 0.2, which it had offered.
    #[error("compute refused VeNCrypt 0.2 with {answer}")]
    VeNCryptVersionRefused {
        /// Its answer, not 0
        answer: u8,
    },
    /// No sub-type that the compute node offers can be used.
    #[error("compute offered the VeNCrypt sub-types {offered}; usable: {}{}", Subtype::X509_NONE, and_vnc(*with_password))]
    NoCommonSubtype {
        /// What it offers
        offered: Subtypes,
        /// Whether there is a password for those that want one
        with_password: bool,
    },
    /// The compute node did not take the sub-type, which it had offered.
    #[error("compute refused the VeNCrypt sub-type {chosen}")]
    SubtypeRefused {
        /// What it was asked for
        chosen: Subtype,
    },
    /// The TLS handshake with the compute node failed, or could not begin.
    #[error("TLS with compute failed: {reason}")]
    Tls {
        /// Why
        reason: String,
    },
    /// The compute node closed behind a TLS handshake that had succeeded. QEMU looks at our certificate only
    /// then, and says nothing.
    #[error("{CLOSED_AFTER_TLS}")]
    ClosedAfterTls,
    /// `SecurityResult` was not 0.
    #[error("compute failed the authentication with result {result}: {reason}")]
    AuthFailed {
        /// The result: 1 failed, 2 too many attempts
        result: u32,
        /// The reason behind it
        reason: Reason,
    },
    /// A side ended the connection in the middle of the handshake.
    #[error("{side} closed the connection with {step} still due")]
    Closed {
        /// Who closed
        side: Side,
        /// What was awaited, not necessarily from that side
        step: Step,
    },
    /// The time for a step ran out.
    #[error("{} let the time run out with {step} still due", step.side())]
    TimedOut {
        /// What was awaited
        step: Step,
    },
    /// A side sent more ahead of its turn than any legal peer does.
    #[error("{side} sent more than {bytes_max} bytes ahead of its turn")]
    TooEarly {
        /// Who sent them
        side: Side,
        /// How many are kept
        bytes_max: usize,
    },
    /// The handshake has ended before, well or badly, and takes no more input.
    #[error("the handshake is over and takes no more input")]
    Over,
}

fn and_vnc(with_password: bool) -> String {
    if with_password { format!(", {}", Subtype::X509_VNC) } else { String::new() }
}

impl RfbError {
    /// The failure's name in metrics and structured logs, one of a closed set.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotRfb { .. } => "not-rfb",
            Self::UnsupportedVersion { .. } => "version",
            Self::Refused { .. } => "refused",
            Self::NoCommonType { .. } => "no-common-type",
            Self::TypeNotOffered { .. } => "type-not-offered",
            Self::VeNCryptVersion { .. } | Self::VeNCryptVersionRefused { .. } => "ven-version",
            Self::NoCommonSubtype { .. } | Self::SubtypeRefused { .. } => "ven-subtype",
            Self::Tls { .. } => "tls",
            Self::ClosedAfterTls => "closed-after-tls",
            Self::AuthFailed { .. } => "auth-failed",
            Self::Closed { .. } => "closed-early",
            Self::TimedOut { .. } => "time-out",
            Self::TooEarly { .. } => "too-early",
            Self::Over => "over",
        }
    }
}
