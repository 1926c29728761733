//! TLS towards a broker, from the `ssl_*` options.
//!
//! Files are read for each connection: a renewed certificate is used from the next one on.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, version};

use super::super::options::TlsOptions;
use crate::control::certs::AnyName;

/// Longest PEM file that is read: the system's bundle is 200 KiB.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// Reads the files. Blocks.
///
/// # Errors
///
/// A text that names the file, and never its contents.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(default_provider());
    let versions: &[_] = if options.only_tls12 { &[&version::TLS12] } else { rustls::ALL_VERSIONS };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let roots = Arc::new(roots(options.ca_file.as_deref())?);
    // Without a file of ours the name was never compared: oslo.messaging leaves the name out then.
    let builder = if options.verify_name && options.ca_file.is_some() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
    };
    let config = match &options.cert_file {
        None => builder.with_no_client_auth(),
        Some(cert_file) => {
            let chain = certificates(cert_file)?;
            let key_file = options.key_file.as_ref().unwrap_or(cert_file);
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|error| named(key_file, &format!("no private key: {error}")))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| named(cert_file, &error))?
        }
    };
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| named(file, &error))?;
            }
        }
        None => {
            // Single files that cannot be read or parsed do not matter as long as there are others.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err("this system has no certificate authorities: set ssl_ca_file".to_owned());
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if all.is_empty() => Err(named(file, &"no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(named(file, &error)),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(file).map_err(|error| named(file, &error))?.len();
    if length > PEM_BYTES_MAX {
        return Err(named(file, &"too long"));
    }
    fs::read(file).map_err(|error| named(file, &error))
}

fn named(file: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", file.display())
}
