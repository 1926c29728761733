//! Security types (RFC 6143 section 7.1.2) and the operator's choice among them.

use std::fmt;

use super::version::ProtocolVersion;

/// A security type's number. Any number may come from the wire; only a few have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecurityType(pub u8);

impl SecurityType {
    /// 0: from a server, "failed, a reason follows" in place of a list; from a client, Nova's way to give up
    pub const INVALID: Self = Self(0x00);
    /// 1: no authentication, everything in the clear
    pub const NONE: Self = Self(0x01);
    /// 2: VNC authentication, a password and everything in the clear
    pub const VNC: Self = Self(0x02);
    /// 19: `VeNCrypt`, TLS and a sub-type inside it
    pub const VENCRYPT: Self = Self(0x13);

    /// The type's name as Nova logs it (nova/console/rfb/auth.py, `AuthType`).
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x00 => "INVALID",
            0x01 => "NONE",
            0x02 => "VNC",
            0x05 => "RA2",
            0x06 => "RA2NE",
            0x10 => "TIGHT",
            0x11 => "ULTRA",
            0x12 => "TLS",
            0x13 => "VENCRYPT",
            0x14 => "SASL",
            0x1e => "ARD",
            _ => return None,
        })
    }
}

impl fmt::Display for SecurityType {
    /// `1 (NONE)`, `13 (unknown)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name().unwrap_or("unknown"))
    }
}

/// How many items of a compute node's list are printed. The rest are counted.
const ITEMS_SHOWN_MAX: usize = 8;

/// The types that the compute node offered, in its order: 1 to 255 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityTypes(Box<[u8]>);

impl SecurityTypes {
    /// The list behind the count.
    pub(super) fn new(list: &[u8]) -> Self {
        Self(list.into())
    }

    /// Whether `wanted` is on the list. Numbers nobody knows are passed over.
    #[must_use]
    pub fn contains(&self, wanted: SecurityType) -> bool {
        self.0.contains(&wanted.0)
    }
}

impl fmt::Display for SecurityTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cut(f, self.0.iter().map(|number| SecurityType(*number)))
    }
}

/// What an operator may list in `[vnc] auth_schemes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthScheme {
    /// `none`: security type 1
    None,
    /// `vencrypt`: security type 19
    VeNCrypt,
}

impl AuthScheme {
    /// The security type to ask a compute node for.
    fn security_type(self) -> SecurityType {
        match self {
            Self::None => SecurityType::NONE,
            Self::VeNCrypt => SecurityType::VENCRYPT,
        }
    }
}

/// The listed schemes in the operator's order, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuthSchemes([Option<SecurityType>; 3]);

impl AuthSchemes {
    /// `password_in_clear` adds VNC authentication, last: its answer is worth something to whoever listens.
    pub(super) fn new(listed: &[AuthScheme], password_in_clear: bool) -> Self {
        let mut order = [None; 3];
        let listed = listed.iter().map(|scheme| scheme.security_type());
        for usable in listed.chain(password_in_clear.then_some(SecurityType::VNC)) {
            if !order.contains(&Some(usable))
                && let Some(free) = order.iter_mut().find(|slot| slot.is_none())
            {
                *free = Some(usable);
            }
        }
        Self(order)
    }

    /// The first of these schemes that `offered` holds.
    ///
    /// The operator's order decides. Nova walks the server's list instead, which lets anyone in between
    /// put the weakest type first.
    pub(super) fn choose(&self, offered: &SecurityTypes, version: ProtocolVersion) -> Option<SecurityType> {
        let mut usable = self.0.into_iter().flatten();
        usable.find(|wanted| {
            // rfbproto.rst has VeNCrypt from 3.7 on, and QEMU as well.
            let spoken = version != ProtocolVersion::V3_3 || *wanted != SecurityType::VENCRYPT;
            spoken && offered.contains(*wanted)
        })
    }
}

impl fmt::Display for AuthSchemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == [None; 3] {
            return f.write_str("nothing");
        }
        write_list(f, self.0.into_iter().flatten())
    }
}

/// The first few of a list that a compute node may have made long.
pub(super) fn write_cut(
    f: &mut fmt::Formatter<'_>,
    items: impl ExactSizeIterator<Item: fmt::Display>,
) -> fmt::Result {
    let count = items.len();
    write_list(f, items.take(ITEMS_SHOWN_MAX))?;
    match count.saturating_sub(ITEMS_SHOWN_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item: fmt::Display>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_in_novas_spelling() {
        assert_eq!(SecurityType::NONE.to_string(), "1 (NONE)");
        assert_eq!(SecurityType::VENCRYPT.to_string(), "19 (VENCRYPT)");
        assert_eq!(SecurityType(129).to_string(), "129 (unknown)");
        assert_eq!(SecurityTypes::new(&[2, 16]).to_string(), "2 (VNC), 16 (TIGHT)");
    }

    #[test]
    fn long_lists_are_cut_when_printed() {
        let printed = SecurityTypes::new(&[13; 255]).to_string();
        assert!(printed.ends_with(" and 247 more"), "{printed}");
        assert!(printed.len() < 200);
    }

    fn choice(schemes: AuthSchemes, offered: &[u8]) -> Option<SecurityType> {
        schemes.choose(&SecurityTypes::new(offered), ProtocolVersion::V3_8)
    }

    #[test]
    fn unknown_types_are_passed_over() {
        let schemes = AuthSchemes::new(&[AuthScheme::None], false);
        assert_eq!(choice(schemes, &[13, 129, 1]), Some(SecurityType::NONE));
    }

    #[test]
    fn the_operators_order_decides_and_nothing_else_is_chosen() {
        let offered = &[1, 2, 19];
        let both = [AuthScheme::VeNCrypt, AuthScheme::None];
        assert_eq!(choice(AuthSchemes::new(&both, true), offered), Some(SecurityType::VENCRYPT));
        assert_eq!(choice(AuthSchemes::new(&[both[1], both[0]], true), offered), Some(SecurityType::NONE));
        assert_eq!(choice(AuthSchemes::new(&[AuthScheme::VeNCrypt], false), &[1, 2]), None);
        assert_eq!(choice(AuthSchemes::new(&[AuthScheme::VeNCrypt], true), &[1, 2]), Some(SecurityType::VNC));
        assert_eq!(choice(AuthSchemes::new(&[], false), offered), None);
        assert_eq!(AuthSchemes::new(&[], false).to_string(), "nothing");
    }

    #[test]
    fn vencrypt_is_not_spoken_in_3_3() {
        let schemes = AuthSchemes::new(&[AuthScheme::VeNCrypt, AuthScheme::None], false);
        for (version, chosen) in
            [(ProtocolVersion::V3_3, SecurityType::NONE), (ProtocolVersion::V3_7, SecurityType::VENCRYPT)]
        {
            assert_eq!(schemes.choose(&SecurityTypes::new(&[1, 19]), version), Some(chosen), "{version}");
        }
    }

    #[test]
    fn repeated_schemes_count_once() {
        let schemes = AuthSchemes::new(&[AuthScheme::None, AuthScheme::VeNCrypt, AuthScheme::None], true);
        assert_eq!(schemes.to_string(), "1 (NONE), 19 (VENCRYPT), 2 (VNC)");
    }
}
