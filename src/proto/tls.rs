//! TLS as one more sans-IO layer: wire bytes become plain bytes and the other way round. Server towards the
//! tenant, client towards the compute node, one machine for both.
//! The only file that names rustls' connection types.
//!
//! It is rustls' buffered interface, with what it wants to send taken out of it at once, so that nothing is
//! kept here beyond one unfinished record. Trust and time are not decided here: the configuration is given,
//! and a handshake that does not end is the session's to end.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::ServerName;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig, ServerConnection,
};
use thiserror::Error;

use super::bytes::Chunk;
use super::kernel_tls::{KernelCipher, KernelKeys, Records};

/// What a record adds to its plaintext at most, in what is written here.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// The certificate in use. The control thread replaces it when its files change; sessions that have begun
/// keep the one they began with.
#[derive(Default)]
pub struct TlsAcceptor {
    current: RwLock<Option<Arc<ServerConfig>>>,
    /// There are files, and they hold nothing that can be served
    unusable: AtomicBool,
}

impl TlsAcceptor {
    /// Replaces the certificate for later handshakes. `None`: there is none, and TLS is refused.
    pub fn replace(&self, config: Option<Arc<ServerConfig>>) {
        self.unusable.store(false, Ordering::Relaxed);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// There is something that cannot be used. What was in use before stays.
    pub fn set_unusable(&self) {
        self.unusable.store(true, Ordering::Relaxed);
    }

    /// Whether TLS is refused because of what there is, rather than because there is nothing.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        self.unusable.load(Ordering::Relaxed)
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The server's end of a connection that is about to begin; none without a certificate.
    #[must_use]
    pub fn accept(&self) -> Option<TlsLayer> {
        let config = self.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        // Fails only for configurations that rustls' builder does not build.
        ServerConnection::new(config).ok().map(|connection| TlsLayer::new(connection.into()))
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsAcceptor(ready: {})", self.is_ready())
    }
}

/// Stands in for a name where none is compared. Nor is any sent.
const NOBODY: &str = "compute.invalid";

/// Whom to trust among compute nodes, and what to show them. Replaced as a [`TlsAcceptor`]'s certificate is.
#[derive(Default)]
pub struct TlsConnector {
    current: RwLock<Option<Arc<ClientConfig>>>,
}

/// Why a connection to a compute node cannot go under TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoTls {
    /// There are no authorities, or the files could not be read.
    #[error("there are no certificate authorities to check it by, see the log for vencrypt_ca_certs")]
    NotConfigured,
    /// Certificates are checked against names, and this is none.
    #[error("its address in the token is not a name that a certificate could have")]
    NoName,
}

impl TlsConnector {
    /// Replaces the configuration for later handshakes. `None`: there is none, and TLS fails.
    pub fn replace(&self, config: Option<Arc<ClientConfig>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Whether there is a configuration.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The client's end of a connection, whose hello waits to be sent. `host` is whom the certificate has to be
    /// for; without one the configuration must be such that it does not compare names.
    ///
    /// # Errors
    ///
    /// [`NoTls`]; nothing was sent.
    pub fn connect(&self, host: Option<&str>) -> Result<TlsLayer, NoTls> {
        let config = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let config = config.ok_or(NoTls::NotConfigured)?;
        let name = ServerName::try_from(host.unwrap_or(NOBODY).to_owned()).map_err(|_| NoTls::NoName)?;
        // Fails only for configurations that rustls' builder does not build.
        let connection = ClientConnection::new(config, name).map_err(|_| NoTls::NotConfigured)?;
        Ok(TlsLayer::new(connection.into()))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConnector(ready: {})", self.is_ready())
    }
}

/// What an end right behind the handshake means: QEMU looks at our certificate only then, and says nothing.
pub const CLOSED_AFTER_TLS: &str = "compute closed the connection right behind the TLS handshake: it did not \
     accept our client certificate, or wants one (vencrypt_client_cert)";

/// The peer broke the protocol, or nothing was agreed on.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct TlsError(rustls::Error);

/// What wire bytes came to.
#[derive(Debug, Default)]
pub struct Opened {
    /// Plain bytes; often none
    pub plain: Chunk,
    /// The peer said that nothing more comes (`close_notify`)
    pub ended: bool,
    /// The peer broke the protocol behind those bytes: an alert is to be sent, and nothing more can be opened
    pub error: Option<TlsError>,
}

/// One TLS connection.
pub struct TlsLayer {
    connection: Connection,
    /// Nothing more is opened or sealed
    failed: bool,
    records: Records,
}

impl TlsLayer {
    fn new(mut connection: Connection) -> Self {
        // The session never has more than one write open, so this is bounded already.
        connection.set_buffer_limit(None);
        Self { connection, failed: false, records: Records::default() }
    }

    /// Whether application bytes cannot be sent yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Protocol version and cipher suite, for logs; empty while handshaking.
    #[must_use]
    pub fn describe(&self) -> String {
        let version = self.connection.protocol_version().and_then(|version| version.as_str());
        let suite = self.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        [version, suite].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Takes wire bytes, whose buffer comes back with the plain ones where they fit. Whatever they are,
    /// [`TlsLayer::take_wire`] may have something to send afterwards.
    pub fn open(&mut self, wire: Chunk) -> Opened {
        self.records.pass(wire.bytes());
        let mut opened = Opened::default();
        let mut plain = Plain { chunk: wire, len: 0, taken: 0, apart: None };
        while plain.rest() > 0 && !self.failed && !opened.ended {
            // Takes what its buffer has room for; the plain bytes are taken out below, so there is some.
            let taken = self.connection.read_tls(&mut plain.wire());
            debug_assert!(matches!(taken, Ok(1..)), "{taken:?}");
            let Ok(taken @ 1..) = taken else {
                self.failed = true;
                opened.error = Some(TlsError(rustls::Error::General("a record did not fit".to_owned())));
                break;
            };
            plain.taken += taken;
            let processed = self.connection.process_new_packets();
            loop {
                // Also after an error: what came ahead of a broken record is good.
                let waiting = self.connection.reader().fill_buf().map_or(0, <[u8]>::len);
                if waiting == 0 {
                    break;
                }
                // There are that many: reading them cannot block or end.
                let read = self.connection.reader().read_exact(plain.room(waiting));
                debug_assert!(read.is_ok(), "{read:?}");
                if read.is_ok() {
                    plain.commit(waiting);
                }
            }
            match processed {
                Ok(state) => opened.ended = state.peer_has_closed(),
                Err(error) => {
                    self.failed = true;
                    opened.error = Some(TlsError(error));
                }
            }
        }
        opened.plain = plain.into_chunk();
        opened
    }

    /// Seals plain bytes: 16 KiB in a record, so that a short write is exactly one. To be followed by
    /// [`TlsLayer::take_wire`].
    pub fn seal(&mut self, plain: &[u8]) {
        if self.failed {
            return;
        }
        // Without a limit it takes everything.
        let sealed = io::Write::write_all(&mut self.connection.writer(), plain);
        debug_assert!(sealed.is_ok(), "{sealed:?}");
    }

    /// Says that nothing more will be sealed. Before the end of the handshake there is nobody to tell.
    pub fn send_close_notify(&mut self) {
        if !self.failed && !self.is_handshaking() {
            self.connection.send_close_notify();
        }
    }

    /// How the kernel could go on with this connection: after the handshake, where no record has begun. None where it
    /// could not. In TLS 1.2 it counts the nonces of AES-GCM from the one it is given, and rustls has used those.
    #[must_use]
    pub fn kernel_cipher(&self) -> Option<KernelCipher> {
        let is_1_3 = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if self.failed || self.is_handshaking() || !self.records.is_between() || !is_1_3 {
            return None;
        }
        match self.connection.negotiated_cipher_suite()?.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(KernelCipher::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(KernelCipher::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(KernelCipher::Chacha20Poly1305),
            _ => None,
        }
    }

    /// The keys, for somebody to go on with the connection. All there was to send must have been taken.
    ///
    /// # Errors
    ///
    /// rustls does not give them out. The connection is lost.
    pub fn into_keys(self) -> Result<KernelKeys, TlsError> {
        self.connection.dangerous_extract_secrets().map(KernelKeys::new).map_err(TlsError)
    }

    /// Everything there is to send, in order; none when there is nothing. `sealed` are the bytes last sealed, whose
    /// buffer is used again where it is large enough.
    pub fn take_wire(&mut self, mut sealed: Chunk) -> Option<Chunk> {
        if !self.connection.wants_write() {
            return None;
        }
        let records = sealed.len() / 16_384 + 1;
        let wanted = sealed.len() + records * RECORD_OVERHEAD_BYTES;
        sealed.clear();
        let mut wire = Wire(if sealed.capacity() < wanted { Chunk::with_capacity(wanted) } else { sealed });
        while self.connection.wants_write() {
            // Only `Wire` could fail, and does not.
            if !matches!(self.connection.write_tls(&mut wire), Ok(1..)) {
                break;
            }
        }
        Some(wire.0)
    }
}

impl fmt::Debug for TlsLayer {
    /// Nothing of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsLayer(handshaking: {}, failed: {})", self.is_handshaking(), self.failed)
    }
}

/// Plain bytes in the place of the wire bytes that they came from, so that a step under TLS needs no buffer of its own.
struct Plain {
    /// Plain bytes, bytes that are void, wire bytes that were not taken yet.
    // INVARIANT: len <= taken <= chunk.len()
    chunk: Chunk,
    len: usize,
    taken: usize,
    /// All plain bytes, once they were more than wire bytes taken: their record had begun in an earlier chunk.
    apart: Option<Chunk>,
}

impl Plain {
    fn rest(&self) -> usize {
        self.chunk.len() - self.taken
    }

    fn wire(&self) -> &[u8] {
        &self.chunk.bytes()[self.taken..]
    }

    /// Room for `len` more plain bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let (held, rest) = (self.len, self.rest());
        if self.apart.is_none() && held + len <= self.taken {
            return &mut self.chunk.bytes_mut()[held..held + len];
        }
        let apart = self.apart.get_or_insert_with(|| {
            let mut apart = Chunk::with_capacity(held + len + rest);
            apart.append(&self.chunk.bytes()[..held]);
            apart
        });
        if apart.spare_mut().len() < len {
            let mut larger = Chunk::with_capacity(apart.len() + len + rest);
            larger.append(apart.bytes());
            *apart = larger;
        }
        &mut apart.spare_mut()[..len]
    }

    /// Counts `len` bytes of the room.
    fn commit(&mut self, len: usize) {
        match &mut self.apart {
            Some(apart) => apart.commit(len),
            None => self.len += len,
        }
    }

    fn into_chunk(mut self) -> Chunk {
        self.chunk.truncate(self.len);
        self.apart.unwrap_or(self.chunk)
    }
}

/// A chunk that grows as it is written to.
struct Wire(Chunk);

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if self.0.spare_mut().len() < len {
            let mut larger = Chunk::with_capacity(self.0.len() + len);
            larger.append(self.0.bytes());
            self.0 = larger;
        }
        for slice in slices {
            self.0.append(slice);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
