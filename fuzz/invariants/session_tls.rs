//! A peer of the session's under TLS: a real rustls connection, which says what the schedule gives it and whose wire
//! bytes the schedule delivers, in pieces of any length and damaged if it likes.

use std::io::{BufRead, Write};
use std::sync::{Arc, LazyLock};

use consolegate::proto::tls::{TlsAcceptor, TlsConnector};
use rustls::client::Resumption;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

const NAME: &str = "console.example";

/// Both ends of both connections. The signatures' algorithm gives them one length, so that a schedule means the same
/// in every run.
struct Ends {
    acceptor: Arc<TlsAcceptor>,
    connector: Arc<TlsConnector>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static ENDS: LazyLock<Ends> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let names = [NAME.to_owned(), "compute.invalid".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    params.serial_number = Some(7_u64.into());
    let cert = params.self_signed(&key).expect("a certificate").der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("its key"))
        .expect("a server");
    let mut roots = RootCertStore::empty();
    roots.add(cert).expect("an authority");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    let (server, client) = (Arc::new(server), Arc::new(client));
    let (acceptor, connector) = (TlsAcceptor::default(), TlsConnector::default());
    acceptor.replace(Some(Arc::clone(&server)));
    connector.replace(Some(Arc::clone(&client)));
    Ends { acceptor: Arc::new(acceptor), connector: Arc::new(connector), server, client }
});

/// The session's own ends.
pub(crate) fn own_ends() -> (Arc<TlsAcceptor>, Arc<TlsConnector>) {
    (Arc::clone(&ENDS.acceptor), Arc::clone(&ENDS.connector))
}

pub(crate) struct Peer {
    connection: Connection,
    /// What it says before its handshake is over
    early: Vec<u8>,
    /// Wire bytes that were not delivered yet, and how many were
    wire: Vec<u8>,
    delivered: usize,
    /// How many wire bytes end its handshake
    finished_at: Option<usize>,
    /// The session has them, and took them for what they are
    pub(crate) established: bool,
    /// Bytes that are not its own were delivered, or it gave its handshake up
    pub(crate) corrupted: bool,
    /// Plain bytes, in either direction
    pub(crate) said: Vec<u8>,
    pub(crate) heard: Vec<u8>,
    /// It has said itself that nothing more comes
    ended: bool,
    /// The session has said that nothing more comes
    pub(crate) notified: bool,
    error: Option<rustls::Error>,
}

impl Peer {
    /// A tenant, whose hello waits to be delivered.
    pub(crate) fn tenant() -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        Self::new(ClientConnection::new(Arc::clone(&ENDS.client), name).expect("a client").into())
    }

    /// A compute node.
    pub(crate) fn compute() -> Self {
        Self::new(ServerConnection::new(Arc::clone(&ENDS.server)).expect("a server").into())
    }

    fn new(connection: Connection) -> Self {
        let mut peer = Self {
            connection,
            early: Vec::new(),
            wire: Vec::new(),
            delivered: 0,
            finished_at: None,
            established: false,
            corrupted: false,
            said: Vec::new(),
            heard: Vec::new(),
            ended: false,
            notified: false,
            error: None,
        };
        peer.pull();
        peer
    }

    /// Says something, now or when the handshake is over.
    pub(crate) fn say(&mut self, plain: &[u8]) {
        self.said.extend(plain);
        self.early.extend(plain);
        self.pull();
    }

    /// Says that nothing more comes. In the middle of a handshake that is none of TLS's ways to end.
    pub(crate) fn end(&mut self) {
        self.corrupted |= self.connection.is_handshaking();
        self.ended = true;
        self.connection.send_close_notify();
        self.pull();
    }

    fn pull(&mut self) {
        self.write();
        if self.connection.is_handshaking() || self.error.is_some() {
            return;
        }
        self.finished_at.get_or_insert(self.delivered + self.wire.len());
        let plain = std::mem::take(&mut self.early);
        self.connection.writer().write_all(&plain).expect("room");
        self.write();
    }

    fn write(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.wire).expect("a vector takes all");
        }
    }

    /// The next wire bytes for a session that is in `phase`.
    pub(crate) fn deliver(&mut self, len: usize, phase: &str) -> Vec<u8> {
        let bytes: Vec<u8> = self.wire.drain(..len.min(self.wire.len())).collect();
        self.delivered += bytes.len();
        let finished = self.finished_at.is_some_and(|end| end <= self.delivered);
        self.established |= finished && !self.corrupted && phase != "closing";
        bytes
    }

    /// Takes what the session has written. What it says in an established connection is what TLS allows.
    pub(crate) fn hear(&mut self, mut wire: &[u8]) {
        if self.ended && !self.established {
            // rustls insists that no alert follows its close_notify, and here one could be due.
            return;
        }
        while !wire.is_empty() && self.error.is_none() && !self.notified {
            self.connection.read_tls(&mut wire).expect("room");
            let processed = self.connection.process_new_packets();
            while let Ok(bytes @ [_, ..]) = self.connection.reader().fill_buf() {
                let len = bytes.len();
                self.heard.extend_from_slice(bytes);
                self.connection.reader().consume(len);
            }
            match processed {
                Ok(state) => self.notified = state.peer_has_closed(),
                Err(error) => self.error = Some(error),
            }
        }
        assert!(!self.established || self.corrupted || self.error.is_none(), "{:?}", self.error);
        self.pull();
    }

    /// FIN follows what was heard.
    pub(crate) fn check_end(&self) {
        let said = self.notified || self.error.is_some();
        assert!(!self.established || self.corrupted || said, "FIN without close_notify");
    }
}
