//! An IP network, for lists of peers that are trusted with something.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A network such as `192.0.2.0/24`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count
    prefix_len: u8,
}

/// The text is no network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0} is not an address or a network such as 192.0.2.0/24")]
pub struct NetworkError(String);

impl Network {
    /// Whether `address` lies in the network. An IPv4 address that arrived over an IPv6 socket
    /// (`::ffff:192.0.2.1`) counts as the IPv4 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                u32::from(network) >> shift(32, self.prefix_len)
                    == u32::from(address) >> shift(32, self.prefix_len)
                    || self.prefix_len == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                u128::from(network) >> shift(128, self.prefix_len)
                    == u128::from(address) >> shift(128, self.prefix_len)
                    || self.prefix_len == 0
            }
            _ => false,
        }
    }
}

/// Host bits of a prefix; at most one less than the width, so that a shift by it is defined.
fn shift(width: u8, prefix_len: u8) -> u8 {
    width.saturating_sub(prefix_len).min(width - 1)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix_len {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|len| *len <= width).ok_or_else(error)?
            }
            Some(_) => return Err(error()),
        };
        Ok(Self { address, prefix_len })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn the_prefix_decides() {
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("0.0.0.0/0", "203.0.113.1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "ffff::"));
    }

    #[test]
    fn families_do_not_mix_but_mapped_addresses_are_ipv4() {
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.1"));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "host", "192.0.2.0/33", "::1/129", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/24/1"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError(text.into())), "{text}");
        }
    }
}
