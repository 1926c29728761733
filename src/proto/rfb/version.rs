//! `ProtocolVersion`, the first message of either side (RFC 6143 section 7.1.1).

use std::fmt;

/// A version as it stands on the wire: `RFB 003.008\n`, two three-digit numbers.
///
/// The numbers are compared as integers. Nova joins them into one decimal number, for which 003.080 is
/// the same as 003.008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// The number in front of the dot, 0 to 999
    pub major: u16,
    /// The number behind the dot, 0 to 999
    pub minor: u16,
}

impl ProtocolVersion {
    /// The version proxied: the only one Nova accepts, and what every `noVNC` since 0.5 answers.
    pub const V3_8: Self = Self { major: 3, minor: 8 };

    /// Of servers from before 2003: the server lists its security types, but says little of how they went.
    pub const V3_7: Self = Self { major: 3, minor: 7 };

    /// Of servers older still, among them hypervisors: the server decides on the security type.
    pub const V3_3: Self = Self { major: 3, minor: 3 };

    /// Length of the message in bytes.
    pub const LEN: usize = 12;

    /// Reads the message. `None` means that the bytes are not of the one form there is: the prefix
    /// `RFB `, three digits, a dot, three digits, a line feed.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let [b'R', b'F', b'B', b' ', a, b, c, b'.', d, e, f, b'\n'] = *bytes else { return None };
        Some(Self { major: three_digits([a, b, c])?, minor: three_digits([d, e, f])? })
    }

    /// The message that asks for this version.
    #[must_use]
    pub fn bytes(self) -> [u8; Self::LEN] {
        let digits = |number: u16| {
            [number / 100, number / 10 % 10, number % 10].map(|digit| (digit % 10).to_le_bytes()[0] + b'0')
        };
        let ([a, b, c], [d, e, f]) = (digits(self.major), digits(self.minor));
        [b'R', b'F', b'B', b' ', a, b, c, b'.', d, e, f, b'\n']
    }

    /// The message that announces 3.8, the only version a tenant ever sees.
    #[must_use]
    pub const fn v3_8_bytes() -> [u8; Self::LEN] {
        *b"RFB 003.008\n"
    }

    /// Whether a compute node that offers this version can be asked for 3.8.
    ///
    /// Anything from 3.9 upwards can: Apple's 3.889, Intel AMT's 4.0, RealVNC's 4.1 and 5.0 all take 3.8
    /// for an answer. The one exception is 003.080, which nothing sends and which reads like a badly
    /// formatted 3.8; Nova takes it for 3.8, here it is refused.
    #[must_use]
    pub fn can_serve_3_8(self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc6143#section-7.1.1
        //# A client should never request a protocol version higher than that
        //# offered by the server.
        self >= Self::V3_8 && self != (Self { major: 3, minor: 80 })
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RFB {:03}.{:03}", self.major, self.minor)
    }
}

fn three_digits(digits: [u8; 3]) -> Option<u16> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u16, minor: u16) -> ProtocolVersion {
        ProtocolVersion { major, minor }
    }

    #[test]
    fn versions_read_as_they_print() {
        for (bytes, expected) in [
            (b"RFB 003.008\n", version(3, 8)),
            (b"RFB 003.889\n", version(3, 889)),
            (b"RFB 000.000\n", version(0, 0)),
            (b"RFB 999.999\n", version(999, 999)),
        ] {
            let parsed = ProtocolVersion::parse(bytes).unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(format!("{parsed}\n").as_bytes(), bytes);
            assert_eq!(parsed.bytes(), *bytes);
        }
        assert_eq!(ProtocolVersion::parse(&ProtocolVersion::v3_8_bytes()), Some(ProtocolVersion::V3_8));
    }

    #[test]
    fn sloppy_forms_are_not_versions() {
        for bytes in [
            b"RFB 3.8     ",
            b"RFB 003.008\r",
            b"RFB 003.8\n\0\0",
            b"rfb 003.008\n",
            b"RFB +03.008\n",
            b"RFB 003,008\n",
            b"RFB 0 3.008\n",
            b"GET / HTTP/1",
            b"SSH-2.0-Open",
            &[0x80; 12],
        ] {
            assert_eq!(ProtocolVersion::parse(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn only_3_8_and_later_can_be_asked_for_3_8() {
        for (major, minor) in [(3, 8), (3, 9), (3, 79), (3, 81), (3, 889), (4, 0), (4, 1), (5, 0)] {
            assert!(version(major, minor).can_serve_3_8(), "{major}.{minor}");
        }
        for (major, minor) in [(0, 0), (2, 999), (3, 0), (3, 3), (3, 5), (3, 6), (3, 7), (3, 80)] {
            assert!(!version(major, minor).can_serve_3_8(), "{major}.{minor}");
        }
    }
}
