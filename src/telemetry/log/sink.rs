//! Where records go, and in which form: Python's handlers.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::time::SystemTime;

use super::file::LogFile;
use super::format::{Format, Process};
use super::journal::Journal;
use super::record::Record;
use super::syslog::Syslog;

/// Bytes gathered for one write.
const BATCH_BYTES: usize = 65_536;
/// Behind each line of `oslo_log/handlers.py`, `ColorHandler`.
const COLOR_END: &str = "\x1b[00m";

/// One destination of records.
pub(super) enum Sink {
    /// A file that may be moved away under us
    File(LogFile),
    /// A stream of the process
    Stream(Box<dyn Write + Send>),
    /// The machine's syslog, or another's
    Syslog(Syslog),
    /// systemd's journal
    Journal(Journal),
    /// Nowhere
    Null,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Syslog(syslog) => syslog.fmt(f),
            Self::Journal(journal) => journal.fmt(f),
            Self::Null => f.write_str("Null"),
        }
    }
}

/// A sink, what it takes, and in which form.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) level: u32,
    pub(super) format: Format,
    pub(super) sink: Sink,
    color: bool,
    /// Lines not yet written, and how many records they came from
    batch: String,
    records: u64,
    /// Records that could not be written since the last flush
    failed: u64,
}

impl Handler {
    pub(super) fn new(format: Format, sink: Sink) -> Self {
        Self { level: 0, format, sink, color: false, batch: String::new(), records: 0, failed: 0 }
    }

    /// The same with colours.
    pub(super) fn colored(mut self) -> Self {
        self.color = true;
        self.format = self.format.colored();
        self
    }

    /// Takes a record. What streams and plain files get waits for [`Handler::flush`]; all else is sent at once.
    pub(super) fn take(&mut self, record: &Record, process: &Process) {
        if record.severity.number() < self.level {
            return;
        }
        match &mut self.sink {
            Sink::Null => return,
            Sink::File(file) if !file.rotates() => {}
            Sink::Stream(_) => {}
            sink => {
                let mut text = String::new();
                self.format.append(record, process, &mut text);
                let sent = match sink {
                    Sink::Syslog(syslog) => syslog.send(record, &text, process),
                    Sink::Journal(journal) => journal.send(record, &text),
                    Sink::File(file) => file.write(&text, record.at),
                    Sink::Stream(_) | Sink::Null => Ok(()),
                };
                self.failed += u64::from(sent.is_err());
                return;
            }
        }
        self.append(record, process);
        self.records += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.write_batch();
        }
    }

    fn append(&mut self, record: &Record, process: &Process) {
        if !self.color {
            self.format.append(record, process, &mut self.batch);
            return;
        }
        let mut text = String::new();
        self.format.append(record, process, &mut text);
        for line in text.lines() {
            self.batch.extend([line, COLOR_END, "\n"]);
        }
    }

    /// Writes what waits. Returns how many records were lost since the last call.
    pub(super) fn flush(&mut self) -> u64 {
        self.write_batch();
        mem::take(&mut self.failed)
    }

    fn write_batch(&mut self) {
        let records = mem::take(&mut self.records);
        if self.batch.is_empty() {
            return;
        }
        let written = match &mut self.sink {
            Sink::File(file) => file.write(&self.batch, SystemTime::now()),
            Sink::Stream(stream) => stream.write_all(self.batch.as_bytes()).and_then(|()| stream.flush()),
            // They keep nothing back.
            Sink::Syslog(_) | Sink::Journal(_) | Sink::Null => io::Result::Ok(()),
        };
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES);
        if written.is_err() {
            self.failed += records;
        }
    }

    /// Opens the file anew with the next lines, though it may not have been moved.
    pub(super) fn reopen(&mut self) {
        if let Sink::File(file) = &mut self.sink {
            file.reopen();
        }
    }
}
