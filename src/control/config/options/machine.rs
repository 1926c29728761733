//! Defaults that are the machine's own.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address that is nobody's (RFC 5737). Connecting a UDP socket to it sends nothing, but has the kernel
/// choose the address of this side.
const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 0), 80);

/// What a default is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The IPv4 address that traffic to other networks leaves from (`nova/conf/netconf.py`)
    Address,
    /// The name of the machine
    HostName,
}

impl Fact {
    /// The fact itself.
    pub(super) fn text(self) -> String {
        match self {
            Self::Address => address().to_string(),
            Self::HostName => nix::sys::utsname::uname()
                .map(|name| name.nodename().to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    /// What stands for it in documentation, as in Nova's sample file.
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            Self::Address => "<host_ipv4>",
            Self::HostName => "<current_hostname>",
        }
    }
}

/// `get_my_ipv4` of oslo_utils. Its look for a default route is left out: with one, connecting succeeds.
fn address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let local = socket.and_then(|socket| {
        socket.connect(ANYWHERE)?;
        socket.local_addr()
    });
    local.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip())
}
