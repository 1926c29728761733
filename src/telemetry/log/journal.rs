//! Records in systemd's native journal protocol, with the fields of `oslo_log/handlers.py` (`OSJournalHandler`).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::record::{Record, RequestId};

/// How long a journal whose queue is full is waited for.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The journal's socket. It is named in each datagram's call, so a journal that was restarted is found again.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    identifier: String,
    facility: u8,
    socket: Option<UnixDatagram>,
}

impl Journal {
    pub(super) fn new(path: PathBuf, identifier: String, facility: u8) -> Self {
        Self { path, identifier, facility, socket: None }
    }

    /// Sends the record; `text` is what its format made of it.
    pub(super) fn send(&mut self, record: &Record, text: &str) -> io::Result<()> {
        let datagram = self.datagram(record, text);
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                none.insert(socket)
            }
        };
        socket.send_to(&datagram, &self.path).map(drop)
    }

    fn datagram(&self, record: &Record, text: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut field = |name: &str, value: &str| push(&mut fields, name, value);
        field("MESSAGE", text.strip_suffix('\n').unwrap_or(text));
        field("PRIORITY", &record.severity.syslog().to_string());
        field("SYSLOG_IDENTIFIER", &self.identifier);
        // oslo.log sends the facility shifted as syslog(3) wants it, where the journal takes its number.
        field("SYSLOG_FACILITY", &self.facility.to_string());
        field("CODE_FILE", record.place.file);
        field("CODE_LINE", &record.place.line.to_string());
        field("CODE_FUNC", record.place.function());
        field("THREAD_NAME", record.thread_name());
        field("PROCESS_NAME", "MainProcess");
        field("LOGGER_NAME", &record.name());
        field("LOGGER_LEVEL", record.severity.name());
        if let Some(number) = record.request {
            field("REQUEST_ID", &RequestId(number).to_string());
        }
        if let Some(exception) = &record.exception {
            field("EXCEPTION_INFO", exception);
            field("EXCEPTION_TEXT", exception);
        }
        fields
    }
}

/// `NAME=value`, or, for a value of several lines, the name, the length in 64 bits, and the value.
fn push(fields: &mut Vec<u8>, name: &str, value: &str) {
    fields.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        fields.push(b'\n');
        fields.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        fields.push(b'=');
    }
    fields.extend_from_slice(value.as_bytes());
    fields.push(b'\n');
}
