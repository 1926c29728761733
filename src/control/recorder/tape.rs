//! One recording: a JavaScript array that noVNC's playback page loads, as websockify writes it.
//!
//! ```text
//! var VNC_frame_data = [
//! '}254}<bytes from the tenant>',
//! '{267{<bytes to the tenant>',
//! 'EOF'];
//! ```
//!
//! The number is milliseconds since the upgrade. Bytes are escaped as Python's codec `unicode_escape` does it
//! for Latin-1 text, and quotes as websockify adds them (`websockifyserver.py`, `send_frames`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::session::Side;
use crate::telemetry::metrics::metrics;

/// Recordings hold passwords: nobody but the program's user reads them.
const MODE: u32 = 0o600;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// An open recording.
pub(super) struct Tape {
    path: PathBuf,
    file: BufWriter<File>,
    line: Vec<u8>,
}

impl Tape {
    /// Makes the file, in place of one that a former process left. A link is not followed and a FIFO not
    /// waited for: the directory may be one where others write.
    pub(super) fn create(path: PathBuf) -> Result<Self, (PathBuf, io::Error)> {
        match open(&path).and_then(|file| {
            let mut tape = Self { path: path.clone(), ..Self::on(file) };
            tape.put(b"var VNC_frame_data = [\n")?;
            Ok(tape)
        }) {
            Ok(tape) => Ok(tape),
            Err(reason) => Err((path, reason)),
        }
    }

    /// A recording on a file that is open.
    pub(super) fn on(file: File) -> Self {
        Self { path: PathBuf::new(), file: BufWriter::new(file), line: Vec::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a message.
    pub(super) fn message(&mut self, from: Side, since: Duration, bytes: &[u8]) -> io::Result<()> {
        let mark = if from == Side::Tenant { '}' } else { '{' };
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        write!(line, "'{mark}{}{mark}", since.as_millis())?;
        escape(bytes, &mut line);
        line.extend_from_slice(b"',\n");
        let put = self.put(&line);
        // A long message's buffer is not kept.
        if line.capacity() <= 65_536 {
            self.line = line;
        }
        put
    }

    /// Says that messages are missing, in a comment, which a page that loads the array skips.
    pub(super) fn gap(&mut self, messages: u64) -> io::Result<()> {
        self.put(format!("// {messages} messages are missing here\n").as_bytes())
    }

    /// Completes the array.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.put(b"'EOF'];\n")?;
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        metrics().recorded.add(bytes.len() as u64);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "something else than a file is there"));
    }
    // A file that was there keeps its mode.
    file.set_permissions(PermissionsExt::from_mode(MODE))?;
    Ok(file)
}

/// Python's `bytes.decode('latin1').encode('unicode_escape')`, and `'` as `\'`.
fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    line.reserve(bytes.len());
    for &byte in bytes {
        match byte {
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\'' => line.extend_from_slice(b"\\'"),
            b' '..=b'~' => line.push(byte),
            _ => {
                line.extend_from_slice(b"\\x");
                line.push(HEX[usize::from(byte >> 4)]);
                line.push(HEX[usize::from(byte & 0x0f)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_as_python_does_it() {
        let mut line = Vec::new();
        escape(b"\t\n\r\\' ~a\0\x1f\x7f\x80\xff\"", &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), r#"\t\n\r\\\' ~a\x00\x1f\x7f\x80\xff""#);
    }
}
