//! VeNCrypt's end of ours: whose certificates are trusted among compute nodes, and which is shown to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tracing::{error, info};

use super::watch::{Certificates, Watched, When};
use super::{AnyName, CertificateError, certificates, missing, private_key, unusable};
use crate::proto::tls::TlsConnector;
use crate::session::LOG_TARGET;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::metrics;

/// Where the certificates are, and how far they are checked.
#[derive(Clone, Debug)]
pub struct ComputeTrust {
    /// `[vnc] vencrypt_ca_certs`, absolute: the authorities
    pub authorities: PathBuf,
    /// `[vnc] vencrypt_client_cert` and `vencrypt_client_key`, absolute; none shows nothing
    pub client: Option<(PathBuf, PathBuf)>,
    /// `[consolegate] vencrypt_verify_host`: a certificate has to be for the host that was dialled. Nova takes
    /// any of the authorities'.
    pub verify_host: bool,
}

impl ComputeTrust {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], which names the file.
    pub fn load(&self) -> Result<Arc<ClientConfig>, CertificateError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(&self.authorities)?);
        if added == 0 {
            return Err(missing(&self.authorities, "certificate of an authority"));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| unusable(&self.authorities, source))?;
        let builder = if self.verify_host {
            builder.with_root_certificates(roots)
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier
                .map_err(|error| unusable(&self.authorities, rustls::Error::General(error.to_string())))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
        };
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|source| unusable(cert, source))?,
        };
        // As Nova: nothing is sent that tells a compute node by which name it was dialled. And each handshake
        // proves the certificate anew, since consoles are few and compute nodes many.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The files, and who uses them.
struct ForComputes {
    trust: ComputeTrust,
    connector: Arc<TlsConnector>,
}

impl Certificates {
    /// Reads the files for compute nodes for the first time. Where they cannot be used, compute nodes that want
    /// VeNCrypt are refused until they can.
    #[must_use]
    pub fn for_computes(trust: ComputeTrust, connector: Arc<TlsConnector>) -> Self {
        Self::watching(Box::new(ForComputes { trust, connector }))
    }
}

impl Watched for ForComputes {
    fn files(&self) -> Vec<&Path> {
        let client = self.trust.client.as_ref().map(|(cert, key)| [cert, key]);
        let mut files = vec![self.trust.authorities.as_path()];
        files.extend(client.into_iter().flatten().map(PathBuf::as_path));
        files
    }

    fn reload(&mut self, when: When) -> bool {
        match self.trust.load() {
            Ok(config) => {
                self.connector.replace(Some(config));
                if when != When::First {
                    let path = self.trust.authorities.display();
                    info!(target: LOG_TARGET, "certificates for compute nodes were read anew, with {path}");
                    metrics().cert_reload.of(Outcome::Ok).add(1);
                }
                true
            }
            Err(reason) => {
                if when != When::Changed {
                    let kept = if self.connector.is_ready() { "; those before stay in use" } else { "" };
                    error!(target: LOG_TARGET, "certificates for compute nodes: {reason}{kept}");
                }
                if when == When::Settled {
                    metrics().cert_reload.of(Outcome::Failed).add(1);
                }
                false
            }
        }
    }
}
