//! What is kept of one relay, in one piece of memory: every session pays for it as long as it lasts.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use uuid::Uuid;

use crate::console::{ConnectInfo, ConsoleType};

/// Nearly all instances are known by a UUID in its usual form, which takes sixteen bytes instead of thirty-six.
const AS_UUID: u8 = u8::MAX;

/// Most bytes of another name of an instance. Nova's column takes 36.
const NAME_LEN_MAX: usize = AS_UUID as usize - 1;

/// Set beside the console's type for an IPv6 peer.
const IPV6: u8 = 0x80;

/// One relay: seconds since 1970 (u32), console type, instance, peer, port (u16), host.
#[derive(Debug)]
pub(super) struct Row(Box<[u8]>);

/// One relay as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) since_unix_s: i64,
    pub(super) console_type: ConsoleType,
    pub(super) instance: String,
    pub(super) peer: SocketAddr,
    /// HOST:PORT
    pub(super) target: String,
}

impl Row {
    /// Nothing of the token, and nothing that nobody is told.
    pub(super) fn new(peer: SocketAddr, info: &ConnectInfo, since_unix_s: i64) -> Self {
        let instance = Instance::of(&info.instance_uuid);
        // Good until 2106.
        let since = u32::try_from(since_unix_s.max(0)).unwrap_or(u32::MAX);
        let kind = ConsoleType::ALL.iter().position(|each| *each == info.console_type);
        let kind = kind.and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        // A token's tls_port is known only where it is what was dialled.
        let port = info.port_to_dial(true).unwrap_or_default();
        let (family, address) = match peer {
            SocketAddr::V4(v4) => (0, v4.ip().octets().to_vec()),
            SocketAddr::V6(v6) => (IPV6, [&v6.ip().octets()[..], &v6.scope_id().to_le_bytes()].concat()),
        };
        let parts: [&[u8]; 7] = [
            &since.to_le_bytes(),
            &[kind | family],
            &instance.0,
            &address,
            &peer.port().to_le_bytes(),
            &port.to_le_bytes(),
            info.host.as_bytes(),
        ];
        Self(parts.concat().into())
    }

    /// Whether it is that instance's.
    pub(super) fn is_of(&self, instance: &Instance) -> bool {
        self.0.get(5..).is_some_and(|rest| rest.starts_with(&instance.0))
    }

    /// All of it.
    pub(super) fn shown(&self) -> Option<Shown> {
        let mut bytes = &*self.0;
        let since_unix_s = u32::from_le_bytes(taken(&mut bytes)?).into();
        let [kind] = taken(&mut bytes)?;
        let [len] = taken(&mut bytes)?;
        let instance = if len == AS_UUID {
            Uuid::from_bytes(taken(&mut bytes)?).hyphenated().to_string()
        } else {
            let (name, rest) = bytes.split_at_checked(len.into())?;
            bytes = rest;
            String::from_utf8_lossy(name).into_owned()
        };
        let peer = if kind & IPV6 == 0 {
            let address = Ipv4Addr::from(taken::<4>(&mut bytes)?);
            SocketAddr::from((address, u16::from_le_bytes(taken(&mut bytes)?)))
        } else {
            let address = Ipv6Addr::from(taken::<16>(&mut bytes)?);
            let scope = u32::from_le_bytes(taken(&mut bytes)?);
            SocketAddrV6::new(address, u16::from_le_bytes(taken(&mut bytes)?), 0, scope).into()
        };
        let port = u16::from_le_bytes(taken(&mut bytes)?);
        let target = format!("{}:{port}", String::from_utf8_lossy(bytes));
        let console_type = *ConsoleType::ALL.get(usize::from(kind & !IPV6))?;
        Some(Shown { since_unix_s, console_type, instance, peer, target })
    }
}

/// An instance's name as rows hold it, behind its length.
pub(super) struct Instance(Vec<u8>);

impl Instance {
    pub(super) fn of(name: &str) -> Self {
        let uuid = Uuid::try_parse(name).ok();
        // Others than those in the usual form have to be told apart from it.
        if let Some(uuid) = uuid.filter(|uuid| uuid.hyphenated().to_string() == name) {
            return Self([&[AS_UUID], &uuid.as_bytes()[..]].concat());
        }
        let name = &name.as_bytes()[..name.len().min(NAME_LEN_MAX)];
        Self([&[u8::try_from(name.len()).unwrap_or(0)], name].concat())
    }
}

/// The first `N` bytes, which are taken from the front.
fn taken<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(instance: &str) -> ConnectInfo {
        ConnectInfo {
            console_type: ConsoleType::Serial,
            host: "192.0.2.5".to_owned(),
            port: Some(10_000),
            tls_port: None,
            internal_access_path: Some("secret-path".to_owned()),
            instance_uuid: instance.to_owned(),
            expires: 0,
            access_url_base: None,
        }
    }

    const UUID: &str = "2f4d3a55-0000-4000-8000-0000000000ab";

    #[test]
    fn what_is_kept_is_shown_as_it_was() {
        let peers = ["203.0.113.9:40000", "[2001:db8::1]:1", "[fe80::1%3]:65535"];
        let names = [UUID, &UUID.to_uppercase(), &UUID.replace('-', ""), "", "an old name", &"x".repeat(254)];
        for peer in peers.map(|peer| peer.parse().unwrap()) {
            for name in names {
                let row = Row::new(peer, &info(name), 1_795_305_600);
                let shown = Shown {
                    since_unix_s: 1_795_305_600,
                    console_type: ConsoleType::Serial,
                    instance: name.to_owned(),
                    peer,
                    target: "192.0.2.5:10000".to_owned(),
                };
                assert_eq!(row.shown(), Some(shown));
                for other in names {
                    assert_eq!(row.is_of(&Instance::of(other)), name == other, "{name} {other}");
                }
            }
        }
    }

    #[test]
    fn a_usual_relay_takes_forty_bytes() {
        let row = Row::new(SocketAddr::from(([203, 0, 113, 9], 40_000)), &info(UUID), 0);
        assert!(row.0.len() <= 40, "{} bytes", row.0.len());
    }

    #[test]
    fn rows_cut_short_show_nothing_and_names_too_long_are_cut() {
        let row = Row::new(SocketAddr::from(([203, 0, 113, 9], 40_000)), &info(UUID), 0);
        for len in 0..30 {
            assert_eq!(Row(row.0[..len].into()).shown(), None, "{len}");
        }
        let row = Row::new(SocketAddr::from(([203, 0, 113, 9], 40_000)), &info(&"x".repeat(1_000)), 0);
        assert_eq!(row.shown().map(|shown| shown.instance.len()), Some(NAME_LEN_MAX));
    }
}
