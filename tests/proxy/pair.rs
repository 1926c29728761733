//! A certificate for browsers, and clients that trust it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::tcp;
use super::program::{Options, Program, directory};

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Certificate and key in one directory, as `cert` and `key` name them.
pub(crate) struct Pair {
    pub(crate) directory: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let certificate = Self::write(&directory, |name, pem| fs::write(name, pem).unwrap());
        Self { directory, certificate }
    }

    /// Makes a new pair and lets `put` write both files.
    pub(crate) fn write(directory: &Path, put: impl Fn(&Path, &str)) -> CertificateDer<'static> {
        Self::write_known(directory, put, |_| ())
    }

    /// The same; `know` hears of the certificate before anybody can be served with it.
    pub(crate) fn write_known(
        directory: &Path,
        put: impl Fn(&Path, &str),
        know: impl FnOnce(&CertificateDer<'static>),
    ) -> CertificateDer<'static> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let signed = rcgen::generate_simple_self_signed(names).unwrap();
        know(signed.cert.der());
        put(&directory.join("cert.pem"), &signed.cert.pem());
        put(&directory.join("key.pem"), &signed.signing_key.serialize_pem());
        signed.cert.der().clone()
    }

    pub(crate) fn options(&self) -> String {
        let path = |name| self.directory.join(name).display().to_string();
        format!("web =\ncert = {}\nkey = {}", path("cert.pem"), path("key.pem"))
    }

    pub(crate) fn start(&self, engine: &str, default: &str, extra: &str) -> Program {
        let default = format!("{}\n{default}", self.options());
        Program::start(&Options { default: &default, extra, ..Options::on(engine) })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A connection that trusts this certificate alone.
pub(crate) fn connect(address: SocketAddr, certificate: &CertificateDer<'static>) -> std::io::Result<Tls> {
    connect_to_any(address, std::slice::from_ref(certificate))
}

/// A connection that trusts each of these certificates.
pub(crate) fn connect_to_any(
    address: SocketAddr,
    certificates: &[CertificateDer<'static>],
) -> std::io::Result<Tls> {
    connect_with(address, &trusting(certificates))
}

/// Trusts each of these certificates, and no other.
pub(crate) fn trusting(certificates: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A tenant's end of a connection that is not made yet.
pub(crate) fn tenant(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// A connection of which everything is said.
pub(crate) fn connect_with(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    let mut stream = StreamOwned::new(tenant(config), tcp(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
