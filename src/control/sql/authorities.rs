//! Whom a database server's certificate may be signed by.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Largest file of a directory of authorities.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most files of such a directory, and most bytes in all.
const FILES_MAX: usize = 1_000;
const BYTES_MAX: usize = 8 << 20;

/// The authorities of `file` and `directory`, or the system's where neither is given, as PEM.
pub(super) fn pem(file: Option<&str>, directory: Option<&str>, warnings: &mut Vec<String>) -> Vec<u8> {
    if file.is_none() && directory.is_none() {
        return system(warnings);
    }
    let mut pem = Vec::new();
    let mut add = |path: &Path| match read(path) {
        Ok(text) if pem.len() + text.len() <= BYTES_MAX => pem.extend(text),
        Ok(_) => {
            warnings.push(format!("[database] connection: {} is one authority too many", path.display()))
        }
        Err(reason) => warnings.push(format!("[database] connection: {}: {reason}", path.display())),
    };
    file.into_iter().for_each(|file| add(Path::new(file)));
    let entries = directory.map(fs::read_dir);
    match entries {
        Some(Ok(entries)) => {
            let paths = entries.take(FILES_MAX).flatten().map(|entry| entry.path());
            paths.filter(|path| path.is_file()).for_each(|path| add(&path));
        }
        Some(Err(reason)) => warnings.push(format!("[database] connection: ssl_capath: {reason}")),
        None => {}
    }
    pem
}

/// A warning if nobody can read the file that `path` names.
pub(super) fn unreadable(path: &str) -> Option<String> {
    let reason = File::open(path).err()?;
    Some(format!("[database] connection: {path}: {reason}"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    text.push(b'\n');
    Ok(text)
}

fn system(warnings: &mut Vec<String>) -> Vec<u8> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        warnings.push("[database] connection: the system has no certificate authorities".to_owned());
    }
    let mut pem = String::new();
    for cert in loaded.certs {
        // Writing to a String cannot fail.
        let _ = write!(
            pem,
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(cert.as_ref())
        );
    }
    pem.into_bytes()
}
