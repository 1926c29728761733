//! TLS towards a broker, from the `ssl_*` options.
//!
//! Files are read for each connection: a renewed certificate is used from the next one on.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, version};

use super::super::options::TlsOptions;
use crate::control::certs::{certificates, client_of, private_key};

/// Reads the files. Blocks.
///
/// # Errors
///
/// A text that names the file, and never its contents.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    let versions: &[_] = if options.only_tls12 { &[&version::TLS12] } else { rustls::ALL_VERSIONS };
    let roots = roots(options.ca_file.as_deref())?;
    // Without a file of ours the name was never compared: oslo.messaging leaves the name out then.
    let names_count = options.verify_name && options.ca_file.is_some();
    let builder = client_of(versions, roots, names_count).map_err(|error| error.to_string())?;
    let config = match &options.cert_file {
        None => builder.with_no_client_auth(),
        Some(cert_file) => {
            let chain = certificates(cert_file).map_err(|error| error.to_string())?;
            let key_file = options.key_file.as_ref().unwrap_or(cert_file);
            let key = private_key(key_file).map_err(|error| error.to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(|error| named(cert_file, &error))?
        }
    };
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file).map_err(|error| error.to_string())? {
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

fn named(file: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", file.display())
}
