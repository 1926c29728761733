//! The certificate for browsers: read from its files, and read again when they change.
//!
//! Nova reads the files for each connection (websockify `websockifyserver.py`, `do_handshake`), so renewing
//! them takes no restart. Here they are looked at once a second, and a new pair serves the handshakes from then on. A broken
//! pair changes nothing but the log: half of a copy is seen now and then.

mod ciphers;
mod validity;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tracing::{error, info};

pub use self::ciphers::{Ciphers, NoCipherLeft};
use crate::proto::tls::TlsAcceptor;
use crate::session::LOG_TARGET;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::metrics;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
        let chain_pem = read(&self.cert)?;
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&chain_pem).collect::<Result<_, _>>().unwrap_or_default();
        let first = chain.first().ok_or_else(|| missing(&self.cert, "certificate"))?;
        let not_after = validity::not_after(first);
        let key_file = self.key.as_ref().unwrap_or(&self.cert);
        let key = match &self.key {
            Some(path) => PrivateKeyDer::from_pem_slice(&read(path)?),
            None => PrivateKeyDer::from_pem_slice(&chain_pem),
        };
        let key = key.map_err(|_| missing(key_file, "private key without a passphrase"))?;
        let config = self
            .config(chain, key)
            .map_err(|source| CertificateError::Unusable { path: self.cert.display().to_string(), source })?;
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

/// The files, what was last seen of them, and who uses them.
pub struct Certificates {
    settings: CertificateSettings,
    acceptor: Arc<TlsAcceptor>,
    seen: Option<Seen>,
}

/// What tells one state of `cert` and `key` from another.
type Seen = [Option<Stamp>; 2];

/// Device, inode, time of change (seconds, nanoseconds) and size: a copy changes the last three, a rename the
/// first two.
type Stamp = (u64, u64, i64, i64, u64);

impl Certificates {
    /// Reads the files for the first time. A file that is not there is no error: plain connections are
    /// served, and TLS is once it appears.
    #[must_use]
    pub fn new(settings: CertificateSettings, acceptor: Arc<TlsAcceptor>) -> Self {
        let mut certificates = Self { settings, acceptor, seen: None };
        certificates.look();
        certificates
    }

    /// Looks at the files for as long as the process lives.
    pub(super) async fn watch(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A file system that hangs must not take the control thread with it.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(certificates) => self = certificates,
                // The process ends.
                Err(_) => return,
            }
        }
    }

    /// Reads the files if they are others than before.
    fn look(&mut self) {
        let seen = [Some(&self.settings.cert), self.settings.key.as_ref()].map(stamp);
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        let is_first = self.seen.is_none();
        self.seen = Some(seen);
        let path = self.settings.cert.display();
        if !self.settings.cert.exists() {
            self.acceptor.replace(None);
            metrics().cert_not_after.set(0);
            if !is_first {
                info!(target: LOG_TARGET, "certificate {path} is gone: TLS is refused until it is there again");
            }
            return;
        }
        match self.settings.load() {
            Ok(certificate) => {
                self.acceptor.replace(Some(certificate.config));
                metrics().cert_not_after.set(certificate.not_after.unwrap_or(0).cast_unsigned());
                if !is_first {
                    info!(target: LOG_TARGET, "certificate {path} was read anew");
                    metrics().cert_reload.of(Outcome::Ok).add(1);
                }
            }
            Err(reason) => {
                let kept = if self.acceptor.is_ready() { "; the one before stays in use" } else { "" };
                error!(target: LOG_TARGET, "certificate: {reason}{kept}");
                if !is_first {
                    metrics().cert_reload.of(Outcome::Failed).add(1);
                }
            }
        }
    }
}

fn stamp(path: Option<&PathBuf>) -> Option<Stamp> {
    let meta = fs::metadata(path?).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes)
        .map_err(|source| CertificateError::Unreadable { path: path.display().to_string(), source })
}

fn missing(path: &Path, what: &'static str) -> CertificateError {
    CertificateError::Missing { path: path.display().to_string(), what }
}
