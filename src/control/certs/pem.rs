//! PEM files: certificates and keys.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::CertificateError;
use crate::secret::Secret;

/// Longest file that is read: chains are a few KiB, a system's bundle of authorities is 200 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The certificates of a file, at least one. Blocks.
///
/// # Errors
///
/// [`CertificateError`], which names the file, and never its contents.
pub(in crate::control) fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path, FILE_BYTES_MAX)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap_or_default();
    if all.is_empty() { Err(missing(path, "certificate")) } else { Ok(all) }
}

/// The first private key of a file. Blocks.
///
/// # Errors
///
/// As [`certificates`].
pub(in crate::control) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(Secret::new(read(path, FILE_BYTES_MAX)?).expose())
        .map_err(|_| missing(path, "private key without a passphrase"))
}

/// The contents of a file that is no longer than `bytes_max`. Blocks.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        // Where it fits from the start on, no copy of a key stays behind.
        let len = file.metadata()?.len().min(bytes_max) + 64;
        bytes.reserve_exact(usize::try_from(len).unwrap_or(0));
        file.take(bytes_max + 1).read_to_end(&mut bytes)
    });
    let path = || path.display().to_string();
    match read {
        Err(source) => Err(CertificateError::Unreadable { path: path(), source }),
        Ok(len) if len as u64 > bytes_max => Err(CertificateError::TooLong { path: path(), bytes_max }),
        Ok(_) => Ok(bytes),
    }
}

pub(super) fn unusable(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Unusable { path: path.display().to_string(), source }
}

pub(super) fn missing(path: &Path, what: &'static str) -> CertificateError {
    CertificateError::Missing { path: path.display().to_string(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_not_taken_for_one_without_certificates() {
        let path = std::env::temp_dir().join(format!("consolegate-pem-{}", std::process::id()));
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let too_long = certificates(&path).unwrap_err().to_string();
        std::fs::write(&path, "no PEM").unwrap();
        let nothing = certificates(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(too_long.ends_with(" is longer than 4194304 bytes"), "{too_long}");
        assert!(nothing.ends_with(" holds no certificate"), "{nothing}");
        assert!(certificates(&path).unwrap_err().to_string().contains(" could not be read: "));
    }
}
