//! The client role: what the compute node is sent, which version it may offer, its answer to ours.

use crate::proto::Side;

use super::error::RfbError;
use super::inbox::Inbox;
use super::message::{Message, Transmit};
use super::security::{SecurityType, SecurityTypes};
use super::version::ProtocolVersion;

/// `ProtocolVersion`: one of those that are spoken. Sending an odd version back makes QEMU hang up.
pub(super) fn version(asked: ProtocolVersion) -> Transmit {
    transmit(&asked.bytes())
}

/// The security type chosen.
pub(super) fn choice(chosen: SecurityType) -> Transmit {
    transmit(&[chosen.0])
}

/// Gives up in place of a choice, as Nova does: type 0.
pub(super) fn abort() -> Transmit {
    choice(SecurityType::INVALID)
}

/// The answer to a challenge.
pub(super) fn vnc_answer(answer: &[u8]) -> Transmit {
    transmit(answer)
}

fn transmit(bytes: &[u8]) -> Transmit {
    Transmit { to: Side::Compute, message: Message::new(bytes) }
}

/// A compute node's version is good when 3.8 can be asked for; with `rfb_33` also when 3.7 or 3.3 can. Gives what is
/// to be asked for.
pub(super) fn accept_version(
    bytes: &[u8; ProtocolVersion::LEN],
    rfb_33: bool,
) -> Result<ProtocolVersion, RfbError> {
    let side = Side::Compute;
    match ProtocolVersion::parse(bytes) {
        Some(got) if got.can_serve_3_8() => Ok(ProtocolVersion::V3_8),
        Some(ProtocolVersion::V3_7) if rfb_33 => Ok(ProtocolVersion::V3_7),
        // UltraVNC says 3.4 and 3.6, some 3.5, and all mean 3.3.
        Some(ProtocolVersion { major: 3, minor: 3..=6 }) if rfb_33 => Ok(ProtocolVersion::V3_3),
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
pub(super) fn read_answer<const N: usize>(inbox: &mut Inbox<N>, version: ProtocolVersion) -> Option<Answer> {
    if version == ProtocolVersion::V3_3 {
        // One type, and the compute node's decision.
        return Some(match inbox.take().map(u32::from_be_bytes)? {
            0 => Answer::Refusal,
            // Nobody has a type beyond one byte: 255 is as unknown as any of them.
            number => Answer::Types(SecurityTypes::new(&[u8::try_from(number).unwrap_or(u8::MAX)])),
        });
    }
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
