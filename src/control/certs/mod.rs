//! Certificates, for browsers and towards compute nodes, and the password of VNC servers: read from their files, and read again when they change.
//!
//! Nova reads the files for each connection (websockify `websockifyserver.py`, `do_handshake`;
//! `nova/console/rfb/authvencrypt.py`), so renewing them takes no restart. Here they are looked at once a second,
//! and new ones serve the handshakes from then on. A broken file changes nothing but the log.

mod ciphers;
mod client;
mod computes;
mod password;
mod pem;
mod validity;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub use self::ciphers::{Ciphers, NoCipherLeft};
pub(super) use self::client::client_of;
pub use self::computes::ComputeTrust;
pub use self::password::vnc_password;
use self::pem::unusable;
pub(super) use self::pem::{certificates, private_key};
pub use self::watch::Certificates;
use self::watch::{Found, Watched};
use crate::proto::tls::TlsAcceptor;
use crate::telemetry::metrics::metrics;

/// Where the certificate is, and how it may be used.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    /// `cert`, absolute: the chain, and the key if `key` is unset
    pub cert: PathBuf,
    /// `key`, absolute
    pub key: Option<PathBuf>,
    /// `[console] ssl_minimum_version`
    pub minimum: MinimumVersion,
    /// `[console] ssl_ciphers`
    pub ciphers: Ciphers,
}

/// The oldest TLS that is spoken. Nothing before 1.2 ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinimumVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// Why a pair of files cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path} could not be read: {source}")]
    Unreadable {
        /// Which file
        path: String,
        /// What the kernel said
        source: io::Error,
    },
    /// A file is longer than any of its kind.
    #[error("{path} is longer than {bytes_max} bytes")]
    TooLong {
        /// Which file
        path: String,
        /// The most that is read
        bytes_max: u64,
    },
    /// A file holds no PEM of that kind.
    #[error("{path} holds no {what}")]
    Missing {
        /// Which file
        path: String,
        /// What was looked for
        what: &'static str,
    },
    /// They do not fit each other, or are of a kind that is not spoken.
    #[error("{path} cannot be used: {source}")]
    Unusable {
        /// The file of the certificate
        path: String,
        /// What rustls said
        source: rustls::Error,
    },
}

/// A certificate that can be used.
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// Seconds since 1970; none where the certificate does not say it readably
    pub not_after: Option<i64>,
}

impl CertificateSettings {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], which names the file.
    pub fn load(&self) -> Result<Certificate, CertificateError> {
        let chain = certificates(&self.cert)?;
        let not_after = chain.first().and_then(|first| validity::not_after(first));
        let key = private_key(self.key.as_ref().unwrap_or(&self.cert))?;
        let config = self.config(chain, key).map_err(|source| unusable(&self.cert, source))?;
        Ok(Certificate { config: Arc::new(config), not_after })
    }

    fn config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, rustls::Error> {
        let provider =
            CryptoProvider { cipher_suites: self.ciphers.suites(), ..aws_lc_rs::default_provider() };
        let versions: &[_] = match self.minimum {
            MinimumVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinimumVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // Tickets that hold the session themselves: resuming costs no memory here and saves a signature.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // For kernel TLS.
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

/// The pair for browsers, and who uses it.
struct ForBrowsers {
    settings: CertificateSettings,
    acceptor: Arc<TlsAcceptor>,
}

impl Certificates {
    /// Reads the files for browsers for the first time. A file that is not there is no error: plain connections
    /// are served, and TLS is once it appears.
    #[must_use]
    pub fn for_browsers(settings: CertificateSettings, acceptor: Arc<TlsAcceptor>) -> Self {
        Self::watching(Box::new(ForBrowsers { settings, acceptor }))
    }
}

impl Watched for ForBrowsers {
    fn what(&self) -> String {
        format!("certificate {}", self.settings.cert.display())
    }

    fn files(&self) -> Vec<&Path> {
        [Some(&self.settings.cert), self.settings.key.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect()
    }

    fn is_in_use(&self) -> bool {
        self.acceptor.is_ready()
    }

    fn read(&mut self) -> Result<Found, CertificateError> {
        if !self.settings.cert.exists() {
            self.acceptor.replace(None);
            metrics().cert_not_after.set(0);
            return Ok(Found::Gone);
        }
        let certificate = self.settings.load().inspect_err(|_| self.acceptor.set_unusable())?;
        self.acceptor.replace(Some(certificate.config));
        metrics().cert_not_after.set(certificate.not_after.unwrap_or(0).cast_unsigned());
        Ok(Found::Anew)
    }
}
