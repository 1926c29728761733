//! The client role: what the compute node is sent, which version it may offer, its answer to ours.

use crate::proto::Side;

use super::error::RfbError;
use super::inbox::Inbox;
use super::message::{Message, Transmit};
use super::security::{SecurityType, SecurityTypes};
use super::version::ProtocolVersion;

/// `ProtocolVersion`: 3.8 whatever was offered. Sending an odd version back makes QEMU hang up.
pub(super) fn version() -> Transmit {
    transmit(&ProtocolVersion::v3_8_bytes())
}

/// The security type chosen.
pub(super) fn choice(chosen: SecurityType) -> Transmit {
    transmit(&[chosen.0])
}

/// Gives up in place of a choice, as Nova does: type 0.
pub(super) fn abort() -> Transmit {
    choice(SecurityType::INVALID)
}

fn transmit(bytes: &[u8]) -> Transmit {
    Transmit { to: Side::Compute, message: Message::new(bytes) }
}

/// A compute node's version is good when 3.8 can be asked for.
pub(super) fn accept_version(bytes: &[u8; ProtocolVersion::LEN]) -> Result<(), RfbError> {
    let side = Side::Compute;
    match ProtocolVersion::parse(bytes) {
        Some(got) if got.can_serve_3_8() => Ok(()),
        Some(got) => Err(RfbError::UnsupportedVersion { side, got }),
        None => Err(RfbError::NotRfb { side, got: *bytes }),
    }
}

/// The compute node's answer to our version.
pub(super) enum Answer {
    /// A list of security types
    Types(SecurityTypes),
    /// No types; a reason follows
    Refusal,
}

/// Reads the answer, all of it or nothing.
pub(super) fn read_answer<const N: usize>(inbox: &mut Inbox<N>) -> Option<Answer> {
    let count = *inbox.held().first()?;
    //= https://www.rfc-editor.org/rfc/rfc6143#section-7.1.2
    //# If number-of-security-types is zero, then for some reason the connection failed
    if count == 0 {
        inbox.discard(1);
        return Some(Answer::Refusal);
    }
    let message = inbox.take_slice(1 + usize::from(count))?;
    Some(Answer::Types(SecurityTypes::new(&message[1..])))
}
