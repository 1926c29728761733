//! The password of compute nodes' VNC servers, in a file of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::CertificateError;
use super::pem::{missing, read};
use super::watch::{Certificates, Found, Watched};
use crate::proto::rfb::{VncPassword, VncPasswordSlot};
use crate::secret::Secret;
use crate::session::LOG_TARGET;

/// Longest file that is read: only [`VncPassword::BYTES_MAX`] bytes of it count.
const FILE_BYTES_MAX: u64 = 4_096;

/// Reads `[consolegate] vnc_password_file`: its first line, without the line's end. Blocks.
///
/// # Errors
///
/// [`CertificateError`], which names the file, and never its contents.
pub fn vnc_password(path: &Path) -> Result<VncPassword, CertificateError> {
    let contents = Secret::new(read(path, FILE_BYTES_MAX)?);
    let line = contents.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let counted = VncPassword::BYTES_MAX;
    if line.len() > counted {
        let path = path.display();
        warn!(target: LOG_TARGET, "{path}: of a VNC password only the first {counted} bytes count");
    }
    VncPassword::new(line).ok_or_else(|| missing(path, "password in its first line"))
}

/// The file, and who uses it.
struct ForVnc {
    path: PathBuf,
    slot: Arc<VncPasswordSlot>,
}

impl Certificates {
    /// Reads the file of the password for the first time. Where it cannot be used, there is no password until it can.
    #[must_use]
    pub fn for_vnc(path: PathBuf, slot: Arc<VncPasswordSlot>) -> Self {
        Self::watching(Box::new(ForVnc { path, slot }))
    }
}

impl Watched for ForVnc {
    fn what(&self) -> String {
        format!("VNC password {}", self.path.display())
    }

    fn files(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn is_in_use(&self) -> bool {
        self.slot.get().is_some()
    }

    fn read(&mut self) -> Result<Found, CertificateError> {
        self.slot.replace(Some(vnc_password(&self.path)?));
        Ok(Found::Anew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_and_no_message_holds_it() {
        let path = std::env::temp_dir().join(format!("consolegate-vnc-password-{}", std::process::id()));
        let same = |text: &[u8], password: &[u8]| {
            std::fs::write(&path, text).unwrap();
            let read = vnc_password(&path).unwrap();
            assert_eq!(read.answer([1; 16]), VncPassword::new(password).unwrap().answer([1; 16]), "{text:?}");
        };
        same(b"secretpw", b"secretpw");
        same(b"secretpw\n", b"secretpw");
        same(b"secret\r\nnot this", b"secret");
        same(b" spaces \n", b" spaces ");
        for text in [b"".as_slice(), b"\n", b"\r\nsecretpw"] {
            std::fs::write(&path, text).unwrap();
            let error = vnc_password(&path).unwrap_err().to_string();
            assert!(error.ends_with(" holds no password in its first line"), "{error}");
        }
        std::fs::write(&path, [b'x'; 5_000]).unwrap();
        assert!(vnc_password(&path).unwrap_err().to_string().ends_with(" is longer than 4096 bytes"));
        std::fs::remove_file(&path).unwrap();
        assert!(vnc_password(&path).unwrap_err().to_string().contains(" could not be read: "));
    }
}
