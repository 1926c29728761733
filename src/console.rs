//! The vocabulary shared by every layer: what a console token is and what it leads to.
//!
//! The terms are Nova's (`nova/objects/console_auth_token.py`).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Which console a token opens: the column `console_type` of `console_auth_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsoleType {
    /// `novnc`
    NoVnc,
    /// `spice-html5`
    SpiceHtml5,
    /// `serial`
    Serial,
    /// `xvpvnc`, served until Nova 20
    XvpVnc,
    /// `rdp-html5`, always served by an external proxy
    RdpHtml5,
    /// `webmks`, always served by an external proxy
    WebMks,
    /// `spice-direct`, always served by an external proxy
    SpiceDirect,
}

impl ConsoleType {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 7] = [
        Self::NoVnc,
        Self::SpiceHtml5,
        Self::Serial,
        Self::XvpVnc,
        Self::RdpHtml5,
        Self::WebMks,
        Self::SpiceDirect,
    ];

    /// The name as Nova stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoVnc => "novnc",
            Self::SpiceHtml5 => "spice-html5",
            Self::Serial => "serial",
            Self::XvpVnc => "xvpvnc",
            Self::RdpHtml5 => "rdp-html5",
            Self::WebMks => "webmks",
            Self::SpiceDirect => "spice-direct",
        }
    }

    /// The type named `name`, compared exactly as Nova does.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }
}

impl fmt::Display for ConsoleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A console token as the tenant presented it. Usually a UUID, but any bytes are possible.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsoleToken(Secret);

impl ConsoleToken {
    /// Wraps the presented bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Secret::new(bytes))
    }

    /// The bytes of the token.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// What Nova stores of it: lower-case hexadecimal SHA-256
    /// (`nova/utils.py`, `get_sha256_str`).
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let hash = sha256(self.0.expose());
        // The block that the hasher filled lies on the stack yet, in places that the same call fills again.
        std::hint::black_box(sha256(&[0; 63]));
        TokenHash(hash)
    }
}

#[inline(never)]
fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl fmt::Debug for ConsoleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleToken(***)")
    }
}

/// SHA-256 of a token: the key of `console_auth_tokens`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The column's form: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl fmt::Debug for TokenHash {
    /// A hash identifies a live token to anyone who can read the database, so it stays out of logs too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// What a valid token leads to: one row of `console_auth_tokens`, less the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    /// `console_type`
    pub console_type: ConsoleType,
    /// `host`: the compute node's address or name
    pub host: String,
    /// `port` on that host; none where the token has -1: SPICE that listens for TLS alone
    pub port: Option<u16>,
    /// `tls_port` on that host, for SPICE; none before Nova 31, and none unless `spice_tls` asks for it
    pub tls_port: Option<u16>,
    /// `internal_access_path`: asked for with CONNECT before the console starts, when set
    pub internal_access_path: Option<String>,
    /// `instance_uuid`
    pub instance_uuid: String,
    /// `expires`: seconds since 1970, UTC
    pub expires: i64,
    /// `access_url_base`: the URL handed out, without the token; decides the Origin's scheme
    pub access_url_base: Option<String>,
}

impl ConnectInfo {
    /// Where the console is spoken to: SPICE has a port of its own for TLS. None where it listens for TLS alone and
    /// is not to be spoken to so, or the token has no port at all.
    #[must_use]
    pub fn port_to_dial(&self, under_tls: bool) -> Option<u16> {
        self.tls_port.filter(|_| under_tls).or(self.port)
    }
}

impl fmt::Debug for ConnectInfo {
    /// All but the access path, which can hold a session of the hypervisor (XenServer's `OpaqueRef`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            console_type,
            host,
            port,
            tls_port,
            internal_access_path,
            instance_uuid,
            expires,
            access_url_base,
        } = self;
        f.debug_struct("ConnectInfo")
            .field("console_type", console_type)
            .field("host", host)
            .field("port", port)
            .field("tls_port", tls_port)
            .field("internal_access_path", &internal_access_path.as_ref().map(|_| "***"))
            .field("instance_uuid", instance_uuid)
            .field("expires", expires)
            .field("access_url_base", access_url_base)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_hash_is_lower_case_hex_sha256() {
        // echo -n 00000000-0000-0000-0000-000000000000 | sha256sum
        let token = ConsoleToken::new("00000000-0000-0000-0000-000000000000");
        assert_eq!(token.hash().to_hex(), "12b9377cbe7e5c94e8a70d9d23929523d14afa954793130f8a3959c7b849aca8");
        assert_eq!(format!("{token:?} {:?}", token.hash()), "ConsoleToken(***) TokenHash(***)");
    }

    #[test]
    fn console_type_names_round_trip() {
        for console_type in ConsoleType::ALL {
            assert_eq!(ConsoleType::from_name(console_type.as_str()), Some(console_type));
        }
        assert_eq!(ConsoleType::from_name("NoVNC"), None);
    }
}
