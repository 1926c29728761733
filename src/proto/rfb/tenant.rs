//! The server role: what the tenant is sent, and which version it may answer.

use crate::proto::Side;

use super::error::RfbError;
use super::message::{Message, Transmit};
use super::reason::Reason;
use super::security::SecurityType;
use super::version::ProtocolVersion;

/// What a tenant is told when the compute side's security failed. Nova's text, byte for byte.
const SECURITY_FAILED: &[u8] = b"Unable to negotiate security with server";

/// What a tenant is told when it chose another type than None. Nova's text, byte for byte.
const ONLY_NONE: &[u8] = b"Only the security type 1 (NONE) is supported";

/// `SecurityResult` "failed".
const FAILED: u32 = 1;

/// `ProtocolVersion`, never the compute node's own bytes.
pub(super) fn version() -> Transmit {
    transmit(&ProtocolVersion::v3_8_bytes())
}

/// The security types: one, None. The token was this side's authentication.
pub(super) fn security_types() -> Transmit {
    transmit(&[1, SecurityType::NONE.0])
}

/// The refusal in place of the security types: no types, then a reason.
///
/// A reason that is missing, broken off or over-long is replaced by the fixed text, as Nova does with
/// an over-long one.
pub(super) fn refused(reason: &Reason) -> Transmit {
    let usable = reason.is_whole() && !reason.bytes().is_empty();
    with_reason(&[SecurityType::INVALID.0], if usable { reason.bytes() } else { SECURITY_FAILED })
}

/// The refusal in place of the security types, when the compute node never sent any.
pub(super) fn types_failed() -> Transmit {
    with_reason(&[SecurityType::INVALID.0], SECURITY_FAILED)
}

/// `SecurityResult` "ok".
pub(super) fn security_ok() -> Transmit {
    transmit(&0u32.to_be_bytes())
}

/// The compute node's own `SecurityResult`, not 0, with its reason as far as it was kept.
pub(super) fn auth_failed(result: u32, reason: &Reason) -> Transmit {
    with_reason(&result.to_be_bytes(), reason.bytes())
}

/// `SecurityResult` "failed" after a failure on the compute side. No details.
pub(super) fn security_failed() -> Transmit {
    with_reason(&FAILED.to_be_bytes(), SECURITY_FAILED)
}

/// `SecurityResult` "failed" after a choice other than None.
pub(super) fn only_none() -> Transmit {
    with_reason(&FAILED.to_be_bytes(), ONLY_NONE)
}

fn with_reason(head: &[u8], reason: &[u8]) -> Transmit {
    // No reason is longer than REASON_BYTES_MAX.
    let len = u32::try_from(reason.len()).unwrap_or(u32::MAX).to_be_bytes();
    transmit(&[head, &len, reason].concat())
}

fn transmit(bytes: &[u8]) -> Transmit {
    Transmit { to: Side::Tenant, message: Message::new(bytes) }
}

/// The tenant must answer 3.8 with 3.8, as Nova demands: what follows differs in older versions.
pub(super) fn accept_version(bytes: &[u8; ProtocolVersion::LEN]) -> Result<(), RfbError> {
    let side = Side::Tenant;
    match ProtocolVersion::parse(bytes) {
        Some(ProtocolVersion::V3_8) => Ok(()),
        Some(got) => Err(RfbError::UnsupportedVersion { side, got }),
        None => Err(RfbError::NotRfb { side, got: *bytes }),
    }
}
