//! Our end of TLS with compute nodes: whose certificates are trusted among compute nodes, and which is shown to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use super::pem::{certificates, missing, private_key, unusable};
use super::watch::{Certificates, Found, Watched};
use super::{CertificateError, client_of};
use crate::proto::tls::TlsConnector;

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
        let builder = client_of(rustls::ALL_VERSIONS, roots, self.verify_host)
            .map_err(|source| unusable(&self.authorities, source))?;
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
    /// TLS are refused until they can.
    #[must_use]
    pub fn for_computes(trust: ComputeTrust, connector: Arc<TlsConnector>) -> Self {
        Self::watching(Box::new(ForComputes { trust, connector }))
    }
}

impl Watched for ForComputes {
    fn what(&self) -> String {
        format!("compute nodes' authority {}", self.trust.authorities.display())
    }

    fn files(&self) -> Vec<&Path> {
        let client = self.trust.client.as_ref().map(|(cert, key)| [cert, key]);
        let mut files = vec![self.trust.authorities.as_path()];
        files.extend(client.into_iter().flatten().map(PathBuf::as_path));
        files
    }

    fn is_in_use(&self) -> bool {
        self.connector.is_ready()
    }

    fn read(&mut self) -> Result<Found, CertificateError> {
        self.connector.replace(Some(self.trust.load()?));
        Ok(Found::Anew)
    }
}
