//! TLS towards browsers (`cert`, `key`, `ssl_only` and the group `[console]`) and towards compute nodes
//! (`[vnc] vencrypt_*`).

use std::path::Path;

use super::{DEFAULT, Exit, OWN, Read, keep};
use crate::control::certs::{CertificateSettings, Ciphers, ComputeTrust, MinimumVersion};
use crate::proto::rfb::AuthScheme;

/// With `ssl_only` there has to be a certificate.
pub(super) fn require(read: &Read<'_>) -> Result<(), Exit> {
    let cert = read.text(DEFAULT, "cert").unwrap_or_default();
    // Serving in the clear what was meant for TLS alone would be worse than not starting. The text and status
    // of nova/cmd/baseproxy.py.
    if read.is_on(DEFAULT, "ssl_only") && !Path::new(cert).exists() {
        return Err(Exit::failed(255, format!("SSL only and {cert} not found")));
    }
    Ok(())
}

/// How TLS is spoken, with what there is to say about it.
pub(super) fn settings(
    read: &Read<'_>,
    warnings: &mut Vec<String>,
    complaints: &mut Vec<Exit>,
) -> CertificateSettings {
    let ciphers = read.text("console", "ssl_ciphers").map_or_else(|| Ok(Ciphers::default()), Ciphers::parse);
    let ciphers = ciphers.map_err(|error| {
        Exit::config(format!("Value for option ssl_ciphers from group console is not valid: {error}"))
    });
    let ciphers = keep(ciphers, complaints).unwrap_or_default();
    if !ciphers.unknown.is_empty() {
        let unknown = ciphers.unknown.join(", ");
        warnings.push(format!("[console] ssl_ciphers names what this program does not speak: {unknown}."));
    }
    let minimum = match read.text("console", "ssl_minimum_version") {
        Some("tlsv1_3") => MinimumVersion::Tls13,
        Some("tlsv1_1") => {
            warnings.push(
                "[console] ssl_minimum_version = tlsv1_1 means tlsv1_2: nothing older is spoken.".to_owned(),
            );
            MinimumVersion::Tls12
        }
        _ => MinimumVersion::Tls12,
    };
    CertificateSettings {
        cert: read.path(DEFAULT, "cert").unwrap_or_default(),
        key: read.path(DEFAULT, "key"),
        minimum,
        ciphers,
    }
}

/// The option that puts all that is said to a compute node under TLS, if it is set.
pub(super) fn whole_compute_tls(read: &Read<'_>) -> Option<&'static str> {
    ["serial_tls", "spice_tls"].into_iter().find(|name| read.is_on(OWN, name))
}

/// How TLS is spoken with compute nodes, if anything asks for that and there are authorities.
pub(super) fn compute_trust(
    read: &Read<'_>,
    schemes: &[AuthScheme],
    warnings: &mut Vec<String>,
) -> Option<ComputeTrust> {
    let asked = match whole_compute_tls(read) {
        Some(name) => format!("[consolegate] {name} is set, but vencrypt_ca_certs is not: all consoles"),
        None if schemes.contains(&AuthScheme::VeNCrypt) => {
            "[vnc] auth_schemes lists vencrypt, but vencrypt_ca_certs is not set: computes that offer it first"
                .to_owned()
        }
        None => return None,
    };
    let client = match (read.path("vnc", "vencrypt_client_cert"), read.path("vnc", "vencrypt_client_key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        // As Nova has it.
        _ => {
            warnings.push(
                "[vnc] vencrypt_client_cert and vencrypt_client_key go together: computes are shown no certificate."
                    .to_owned(),
            );
            None
        }
    };
    let authorities = read.path("vnc", "vencrypt_ca_certs");
    if authorities.is_none() {
        warnings.push(format!("{asked} are refused."));
    }
    let verify_host = read.is_on(OWN, "vencrypt_verify_host");
    authorities.map(|authorities| ComputeTrust { authorities, client, verify_host })
}
