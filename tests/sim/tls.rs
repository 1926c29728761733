//! A peer's end of TLS: a real rustls connection between what a peer says and what goes over its socket.
//!
//! rustls draws keys and nonces, which a seed does not decide. It decides the schedule all the same: certificates and
//! signatures are Ed25519, so no length depends on what is drawn, and nothing else of it is looked at.

use std::io::{BufRead, Write};
use std::sync::{Arc, LazyLock};

use consolegate::console::ConsoleType;
use consolegate::proto::kernel_tls::KernelCipher;
use consolegate::proto::rfb::AuthScheme;
use consolegate::session::{Security, Settings};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::prng::Prng;

/// Of the compute nodes, and of the proxy.
const NAMES: [&str; 4] = ["compute-0", "compute-1", "compute-2", "console.example"];

/// Which connections of a schedule are under TLS, as far as the settings decide that.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sides {
    pub(crate) tenant: bool,
    /// `VeNCrypt` for VNC, `serial_tls` or `spice_tls` for the others
    pub(crate) compute: bool,
}

/// What both ends of a schedule's connections are made from.
#[derive(Clone)]
pub(crate) struct Identities {
    client: Arc<ClientConfig>,
    servers: [Arc<ServerConfig>; 2],
    stranger: Arc<ServerConfig>,
}

static IDENTITIES: LazyLock<Identities> = LazyLock::new(|| {
    let (server, client) = identity();
    let (stranger, _) = identity();
    let [new, old] = server;
    Identities { client, servers: [new, old], stranger: stranger.into_iter().next().unwrap() }
});

/// Servers that show one certificate, with 1.3 and with 1.2 only, and a client that trusts it.
fn identity() -> ([Arc<ServerConfig>; 2], Arc<ClientConfig>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
    params.serial_number = Some(7_u64.into());
    let cert = params.self_signed(&key).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = |version| {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Arc::new(server)
    };
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // What one schedule was given must not change the next.
    client.resumption = Resumption::disabled();
    ([server(&TLS13), server(&TLS12)], Arc::new(client))
}

/// Puts TLS into the settings of a schedule.
pub(crate) fn prepare(settings: &mut Settings, sides: Sides, rng: &mut Prng) {
    let identities = &*IDENTITIES;
    if sides.tenant {
        settings.tls.cert = "/etc/nova/cert.pem".into();
        settings.tls.acceptor.replace(Some(Arc::clone(&identities.servers[rng.below(2)])));
        settings.tls.kernel = KernelCipher::ALL.into_iter().collect();
    }
    if !sides.compute {
        return;
    }
    settings.compute_tls.verify_host = true;
    settings.compute_tls.connector.replace(Some(Arc::clone(&identities.client)));
    if settings.console_type == ConsoleType::NoVnc {
        settings.security = Security::Rfb(vec![AuthScheme::VeNCrypt, AuthScheme::None]);
    } else {
        settings.compute_tls.whole = true;
    }
}

/// One peer's end.
pub(crate) struct Tls {
    connection: Connection,
    /// How much is sealed in one record
    record_max: usize,
    /// What is said before the handshake is over
    early: Vec<Vec<u8>>,
    /// Wire bytes given out, and what is sealed in how many of them
    wire_len: usize,
    seals: Vec<(usize, usize)>,
    /// How many wire bytes end the handshake, and how many say that nothing more comes
    pub(crate) finished_at: Option<usize>,
    pub(crate) notified_at: Option<usize>,
    /// How many wire bytes break TLS
    pub(crate) broken_at: Option<usize>,
    /// The proxy has said that nothing more comes
    pub(crate) notified: bool,
    /// The proxy broke the connection off, or TLS
    pub(crate) error: Option<rustls::Error>,
    /// Bytes of a record that has not come whole
    partial: Vec<u8>,
    /// Nothing more is said: something was cut off in the middle
    pub(crate) mute: bool,
}

impl Tls {
    /// The tenant's, whose hello waits.
    pub(crate) fn tenant(rng: &mut Prng) -> Self {
        let name = ServerName::try_from(NAMES[3]).unwrap();
        Self::new(ClientConnection::new(Arc::clone(&IDENTITIES.client), name).unwrap().into(), rng)
    }

    /// The compute node's.
    pub(crate) fn compute(trusted: bool, rng: &mut Prng) -> Self {
        let identities = &*IDENTITIES;
        let server = if trusted { &identities.servers[rng.below(2)] } else { &identities.stranger };
        Self::new(ServerConnection::new(Arc::clone(server)).unwrap().into(), rng)
    }

    fn new(mut connection: Connection, rng: &mut Prng) -> Self {
        connection.set_buffer_limit(None);
        Self {
            connection,
            record_max: rng.pick(&[100, 1_000, 16_384]),
            early: Vec::new(),
            wire_len: 0,
            seals: Vec::new(),
            finished_at: None,
            notified_at: None,
            broken_at: None,
            notified: false,
            error: None,
            partial: Vec::new(),
            mute: false,
        }
    }

    /// Seals what is said.
    pub(crate) fn say(&mut self, plain: Vec<u8>, rng: &mut Prng) -> Vec<u8> {
        self.early.push(plain);
        let tls13 = self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        if tls13 && self.finished_at.is_some() && self.error.is_none() && rng.one_in(12) {
            // Fails only in the handshake. The proxy has to answer with new keys of its own.
            self.connection.refresh_traffic_keys().unwrap();
        }
        self.take_wire()
    }

    /// What there is to send.
    pub(crate) fn take_wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        self.pull(&mut wire);
        if self.connection.is_handshaking() || self.error.is_some() || self.mute {
            return wire;
        }
        self.finished_at.get_or_insert(self.wire_len);
        if self.notified_at.is_some() {
            return wire;
        }
        for plain in std::mem::take(&mut self.early) {
            for piece in plain.chunks(self.record_max) {
                self.connection.writer().write_all(piece).unwrap();
                self.pull(&mut wire);
                self.seals.push((self.wire_len, piece.len()));
            }
        }
        wire
    }

    fn pull(&mut self, wire: &mut Vec<u8>) {
        let before = wire.len();
        while self.connection.wants_write() {
            self.connection.write_tls(wire).unwrap();
        }
        if self.mute {
            wire.truncate(before);
        }
        self.wire_len += wire.len() - before;
    }

    /// Says that nothing more comes.
    pub(crate) fn close_notify(&mut self) -> Vec<u8> {
        self.connection.send_close_notify();
        let wire = self.take_wire();
        self.notified_at.get_or_insert(self.wire_len);
        wire
    }

    /// Bytes that are no TLS, in place of all that would follow.
    pub(crate) fn breach(&mut self, rng: &mut Prng) -> Vec<u8> {
        let (bytes, enough) = match rng.below(3) {
            // No such record; a record that is too long; one that no key has sealed.
            0 => (b"\x99\x03\x03\x00\x02".to_vec(), 1),
            1 => (b"\x17\x03\x03\xff\xff".to_vec(), 5),
            _ => ([b"\x17\x03\x03\x00\x28", rng.bytes(40).as_slice()].concat(), 45),
        };
        self.broken_at = Some(self.wire_len + enough);
        self.wire_len += bytes.len();
        self.mute = true;
        bytes
    }

    /// Opens what came over the wire. What is to be answered can be taken then.
    pub(crate) fn hear(&mut self, mut wire: &[u8]) -> Vec<u8> {
        self.count_partial(wire);
        let mut plain = Vec::new();
        while !wire.is_empty() && self.error.is_none() && !self.notified {
            self.connection.read_tls(&mut wire).unwrap();
            let processed = self.connection.process_new_packets();
            while let Ok(bytes @ [_, ..]) = self.connection.reader().fill_buf() {
                let len = bytes.len();
                plain.extend_from_slice(bytes);
                self.connection.reader().consume(len);
            }
            match processed {
                Ok(state) => self.notified = state.peer_has_closed(),
                Err(error) => self.error = Some(error),
            }
        }
        plain
    }

    fn count_partial(&mut self, wire: &[u8]) {
        self.partial.extend(wire);
        while let [_, _, _, high, low, rest @ ..] = self.partial.as_slice() {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() < len {
                break;
            }
            self.partial.drain(..5 + len);
        }
    }

    /// Bytes of a record that has not come whole.
    pub(crate) fn partial_len(&self) -> usize {
        self.partial.len()
    }

    /// How many plain bytes the first `wire_len` bytes of this end hold.
    pub(crate) fn plain_within(&self, wire_len: usize) -> usize {
        self.seals.iter().take_while(|(end, _)| *end <= wire_len).map(|(_, len)| len).sum()
    }

    /// Whether it broke TLS, or ended it where that is answered as if it had: in the middle of a handshake.
    pub(crate) fn is_at_fault(&self) -> bool {
        let ended_early = self.notified_at.is_some_and(|at| self.finished_at.is_none_or(|end| at <= end));
        self.broken_at.is_some() || ended_early
    }

    /// The most plain bytes that came in one record.
    pub(crate) fn longest_record(&self) -> usize {
        self.seals.iter().map(|(_, len)| *len).max().unwrap_or(0)
    }

    /// Whether its end can be said, and was not yet.
    pub(crate) fn may_notify(&self) -> bool {
        self.notified_at.is_none() && self.error.is_none() && !self.mute
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.finished_at.is_none()
    }
}
