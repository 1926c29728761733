//! Names of compute nodes to addresses, off the workers.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Longest name that is asked for: DNS names have at most 253 characters, the column 255.
const NAME_BYTES_MAX: usize = 255;

/// The address of a literal, which needs nobody's help.
pub(super) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
}

/// Asks the system's resolver; blocks for as long as that takes.
///
/// The order is the resolver's, but IPv4 comes first, and at most `addresses_max` are returned, never none.
pub(super) fn look_up(host: &str, port: u16, addresses_max: usize) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() || host.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is empty or too long"));
    }
    let addresses = best_first((host, port).to_socket_addrs()?.collect(), addresses_max);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

fn best_first(mut addresses: Vec<SocketAddr>, addresses_max: usize) -> Vec<SocketAddr> {
    // A stable sort: within a family the resolver's order (RFC 6724) stays.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    addresses.truncate(addresses_max);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_resolver() {
        assert_eq!(literal("192.0.2.7", 5900), Some("192.0.2.7:5900".parse().unwrap()));
        assert_eq!(literal("2001:db8::7", 5900), Some("[2001:db8::7]:5900".parse().unwrap()));
        assert_eq!(literal("compute1", 5900), None);
    }

    #[test]
    fn ipv4_comes_first_and_the_resolvers_order_stays() {
        let parse =
            |list: &[&str]| list.iter().map(|addr| addr.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let resolved = ["[2001:db8::2]:1", "192.0.2.9:1", "192.0.2.9:1", "[2001:db8::1]:1", "192.0.2.1:1"];
        let expected = ["192.0.2.9:1", "192.0.2.1:1", "[2001:db8::2]:1"];
        assert_eq!(best_first(parse(&resolved), 3), parse(&expected));
    }

    #[test]
    fn names_that_cannot_exist_are_errors() {
        for host in ["", "a\0b", &"a".repeat(300)] {
            assert!(look_up(host, 1, 8).is_err(), "{host:?}");
        }
    }
}
