//! The steps of the handshake, each waiting for one message of one side.

use std::fmt;

use crate::proto::Side;

/// What the machine is waiting for. The session hangs its deadlines on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `ProtocolVersion` of the compute node
    ComputeVersion,
    /// The compute node's security types
    SecurityTypes,
    /// The reason that came in place of the security types
    RefusalReason,
    /// `ProtocolVersion` of the tenant
    TenantVersion,
    /// The security type that the tenant chooses
    TenantChoice,
    /// The compute node's `VeNCrypt` version
    VeNCryptVersion,
    /// Its answer to ours
    VersionAnswer,
    /// The sub-types that it offers
    Subtypes,
    /// Its answer to our choice
    SubtypeAnswer,
    /// The TLS handshake
    Tls,
    /// The compute node's challenge of VNC authentication
    VncChallenge,
    /// `SecurityResult` of the compute node
    SecurityResult,
    /// The reason behind a `SecurityResult` that was not 0
    FailureReason,
}

impl Step {
    /// Whose message is due.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::ComputeVersion
            | Self::SecurityTypes
            | Self::RefusalReason
            | Self::VeNCryptVersion
            | Self::VersionAnswer
            | Self::Subtypes
            | Self::SubtypeAnswer
            | Self::Tls
            | Self::VncChallenge
            | Self::SecurityResult
            | Self::FailureReason => Side::Compute,
            Self::TenantVersion | Self::TenantChoice => Side::Tenant,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ComputeVersion => "the compute's version",
            Self::SecurityTypes => "the compute's security types",
            Self::RefusalReason => "the reason of the compute's refusal",
            Self::TenantVersion => "the tenant's version",
            Self::TenantChoice => "the tenant's choice of a security type",
            Self::VeNCryptVersion => "the compute's VeNCrypt version",
            Self::VersionAnswer => "the compute's answer to our VeNCrypt version",
            Self::Subtypes => "the compute's VeNCrypt sub-types",
            Self::SubtypeAnswer => "the compute's answer to our VeNCrypt sub-type",
            Self::Tls => "the TLS handshake",
            Self::VncChallenge => "the compute's VNC challenge",
            Self::SecurityResult => "the compute's security result",
            Self::FailureReason => "the reason of the failed security result",
        })
    }
}
