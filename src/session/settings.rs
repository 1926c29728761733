//! What the operator decided, checked, as sessions see it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::limits::Limits;
use crate::console::ConsoleType;
use crate::proto::http::{OriginPolicy, UpgradePolicy};
use crate::proto::kernel_tls::KernelCiphers;
use crate::proto::rfb::{AuthScheme, Extras, VncPasswordSlot};
use crate::proto::tls::{NoTls, TlsAcceptor, TlsConnector, TlsLayer};
use crate::proto::ws::TextPolicy;

/// Settings shared by all sessions of a process. Built once from the configuration; never changed by a
/// request.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The console type this program serves
    pub console_type: ConsoleType,
    /// `[consolegate] any_console_type`: serve tokens of other types too
    pub any_console_type: bool,
    /// What runs between tenant and compute before the relay
    pub security: Security,
    /// Whether text frames are taken as bytes
    pub text: TextPolicy,
    /// Whether there is a web root
    pub web: bool,
    /// `[console] allowed_origins`: hosts whose pages may open consoles, beside the proxy's own
    pub allowed_origins: Vec<String>,
    /// `[consolegate] trusted_proxies`: who may send `X-Forwarded-Proto`; empty for everybody, as in Nova
    pub trusted_proxies: Vec<Network>,
    /// `[consolegate] proxy_protocol`: those proxies, and nobody else, start with a PROXY header
    pub proxy_protocol: bool,
    /// TLS towards the tenant
    pub tls: TlsSettings,
    /// TLS towards compute nodes
    pub compute_tls: ComputeTlsSettings,
    /// What is spoken with VNC servers beyond what Nova speaks
    pub vnc: VncSettings,
    /// `[consolegate] strict_upgrade`
    pub upgrade: UpgradePolicy,
    /// `[consolegate] explain_refusals`: a Close code and reason on refusals
    pub explain_refusals: bool,
    /// `record`: where sessions are recorded, less the number at the end
    pub record: Option<PathBuf>,
    /// `[consoleauth] enforce_session_timeout`: a session ends when its token expires
    pub enforce_session_timeout: bool,
    /// `[consolegate] ping_strict`: a tenant that answers no pings is let go
    pub ping_strict: bool,
    /// Every bound
    pub limits: Limits,
}

/// TLS towards tenants, on the same port as plain connections.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `cert`, absolute, for messages
    pub cert: PathBuf,
    /// What is in that file now
    pub acceptor: Arc<TlsAcceptor>,
    /// `ssl_only`: plain connections are closed
    pub only: bool,
    /// `[consolegate] kernel_tls`: the ciphers with which the kernel goes on once a console is relayed
    pub kernel: KernelCiphers,
}

/// TLS towards compute nodes: inside VNC's security negotiation, or from the first byte on.
#[derive(Clone, Debug, Default)]
pub struct ComputeTlsSettings {
    /// What is in the files now
    pub connector: Arc<TlsConnector>,
    /// `[consolegate] vencrypt_verify_host`: their certificates must be for the host that was dialled
    pub verify_host: bool,
    /// `[consolegate] serial_tls`, `spice_tls`: all that is said to a compute node is under TLS
    pub whole: bool,
}

impl ComputeTlsSettings {
    /// The client's end of a connection to `host`, as the token names it.
    pub(super) fn connect(&self, host: &str) -> Result<TlsLayer, NoTls> {
        self.connector.connect(self.verify_host.then_some(host))
    }
}

/// What is spoken with VNC servers beyond what Nova speaks.
#[derive(Clone, Debug, Default)]
pub struct VncSettings {
    /// What is in `[consolegate] vnc_password_file` now
    pub password: Arc<VncPasswordSlot>,
    /// `[consolegate] vnc_password_in_clear`
    pub password_in_clear: bool,
    /// `[consolegate] allow_rfb_33`
    pub rfb_33: bool,
}

impl VncSettings {
    /// The same for one session.
    pub(super) fn extras(&self) -> Extras {
        let Self { password, password_in_clear, rfb_33 } = self;
        Extras { password: password.get(), password_in_clear: *password_in_clear, rfb_33: *rfb_33 }
    }
}

/// What a session does once the compute node is connected.
#[derive(Clone, Debug)]
pub enum Security {
    /// RFB security negotiation, with these schemes in the operator's order of preference
    Rfb(Vec<AuthScheme>),
    /// Nothing: bytes are relayed from the first one on (SPICE, serial)
    None,
}

/// A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_len: u32,
}

impl Network {
    /// Whether `address` is of this range. An IPv4-mapped IPv6 address counts as the IPv4 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let host_bits = 32 - self.prefix_len;
                u64::from(network.to_bits()) >> host_bits == u64::from(address.to_bits()) >> host_bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.prefix_len
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix_len {
            Some(prefix_len) => prefix_len.parse().ok().filter(|len| *len <= max).ok_or_else(invalid)?,
            None => max,
        };
        Ok(Self { address, prefix_len })
    }
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an address or a network such as 192.0.2.0/24")]
pub struct InvalidNetwork(String);

impl Settings {
    /// The Origin policy for a request that came from `peer`.
    #[must_use]
    pub fn origin_policy(&self, peer: IpAddr) -> OriginPolicy {
        let honour_forwarded_proto = self.trusted_proxies.is_empty() || self.trusts(peer);
        OriginPolicy { allowed: self.allowed_origins.clone(), honour_forwarded_proto }
    }

    /// Whether `peer` is one of the operator's own proxies.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// The settings of a program without any configuration.
    #[must_use]
    pub fn for_console(console_type: ConsoleType) -> Self {
        Self {
            console_type,
            any_console_type: false,
            security: match console_type {
                ConsoleType::NoVnc | ConsoleType::XvpVnc => Security::Rfb(vec![AuthScheme::None]),
                _ => Security::None,
            },
            text: if console_type == ConsoleType::Serial { TextPolicy::Accept } else { TextPolicy::Refuse },
            web: console_type != ConsoleType::Serial,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            tls: TlsSettings::default(),
            compute_tls: ComputeTlsSettings::default(),
            vnc: VncSettings::default(),
            upgrade: UpgradePolicy::default(),
            explain_refusals: false,
            record: None,
            enforce_session_timeout: false,
            ping_strict: false,
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, address, held) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), held, "{network:?} {address}");
        }
        for text in ["", "192.0.2.0/33", "192.0.2.0/", "::/129", "host", "192.0.2.0/-1"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork(text.to_owned())));
        }
    }

    #[test]
    fn only_trusted_proxies_may_forward_the_protocol() {
        let mut settings = Settings::for_console(ConsoleType::NoVnc);
        let (inside, outside) = ("192.0.2.1".parse().unwrap(), "203.0.113.9".parse().unwrap());
        assert!(settings.origin_policy(outside).honour_forwarded_proto, "everybody may, as in Nova");
        settings.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(settings.origin_policy(inside).honour_forwarded_proto);
        assert!(!settings.origin_policy(outside).honour_forwarded_proto);
    }
}
