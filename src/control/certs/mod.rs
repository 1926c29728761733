//! Certificates, for browsers and towards compute nodes: read from their files, and read again when they change.
//!
//! Nova reads the files for each connection (websockify `websockifyserver.py`, `do_handshake`;
//! `nova/console/rfb/authvencrypt.py`), so renewing them takes no restart. Here they are looked at once a second,
//! and new ones serve the handshakes from then on. A broken file changes nothing but the log.

mod any_name;
mod ciphers;
mod computes;
mod validity;
mod watch;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tracing::{error, info};

pub(super) use self::any_name::AnyName;
pub use self::ciphers::{Ciphers, NoCipherLeft};
pub use self::computes::ComputeTrust;
pub use self::watch::Certificates;
use self::watch::{Watched, When};
use crate::proto::tls::TlsAcceptor;
use crate::session::LOG_TARGET;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::metrics;

/// Longest file that is read: chains are a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

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
    fn files(&self) -> Vec<&Path> {
        [Some(&self.settings.cert), self.settings.key.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect()
    }

    fn reload(&mut self, when: When) -> bool {
        let path = self.settings.cert.display();
        if !self.settings.cert.exists() {
            self.acceptor.replace(None);
            metrics().cert_not_after.set(0);
            if when != When::First {
                info!(target: LOG_TARGET, "certificate {path} is gone: TLS is refused until it is there again");
            }
            return true;
        }
        match self.settings.load() {
            Ok(certificate) => {
                self.acceptor.replace(Some(certificate.config));
                metrics().cert_not_after.set(certificate.not_after.unwrap_or(0).cast_unsigned());
                if when != When::First {
                    info!(target: LOG_TARGET, "certificate {path} was read anew");
                    metrics().cert_reload.of(Outcome::Ok).add(1);
                }
                true
            }
            Err(reason) => {
                if when != When::Changed {
                    let kept = if self.acceptor.is_ready() { "; the one before stays in use" } else { "" };
                    error!(target: LOG_TARGET, "certificate: {reason}{kept}");
                }
                if when == When::Settled {
                    metrics().cert_reload.of(Outcome::Failed).add(1);
                }
                false
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes)
        .map_err(|source| CertificateError::Unreadable { path: path.display().to_string(), source })
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap_or_default();
    if all.is_empty() { Err(missing(path, "certificate")) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| missing(path, "private key without a passphrase"))
}

fn unusable(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Unusable { path: path.display().to_string(), source }
}

fn missing(path: &Path, what: &'static str) -> CertificateError {
    CertificateError::Missing { path: path.display().to_string(), what }
}
