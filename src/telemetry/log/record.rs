//! One event, as the writer takes it.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::SystemTime;

use tracing::Level;

/// Python's levels, and oslo.log's TRACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Severity {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Trace => 5,
            Self::Debug => 10,
            Self::Info => 20,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// `oslo_log/handlers.py`, `SYSLOG_MAP`
    pub(super) fn syslog(self) -> u8 {
        match self {
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug | Self::Trace => 7,
        }
    }

    /// `oslo_log/handlers.py`, `ColorHandler.LEVEL_COLORS`
    pub(super) fn color(self) -> &'static str {
        match self {
            Self::Trace => "\x1b[00;35m",
            Self::Debug => "\x1b[00;32m",
            Self::Info => "\x1b[00;36m",
            Self::Warning => "\x1b[01;33m",
            Self::Error | Self::Critical => "\x1b[01;31m",
        }
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// One event.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: SystemTime,
    pub(super) severity: Severity,
    pub(super) target: &'static str,
    pub(super) message: String,
    /// A failure's own text, in the place of Python's traceback
    pub(super) exception: Option<String>,
    /// The session's number once it has a request id
    pub(super) request: Option<u64>,
    /// The tenant's address, for lines in the form of Python's HTTP server
    pub(super) client: Option<String>,
    pub(super) instance_uuid: Option<String>,
    pub(super) place: Place,
    pub(super) thread: Thread,
    /// The kernel's number of the thread
    pub(super) thread_id: i32,
}

impl Record {
    /// A record made here and now, by this thread.
    pub(super) fn new(severity: Severity, target: &'static str, message: String, place: Place) -> Self {
        Self {
            at: SystemTime::now(),
            severity,
            target,
            message,
            exception: None,
            request: None,
            client: None,
            instance_uuid: None,
            place,
            thread: thread::current(),
            thread_id: thread_id(),
        }
    }

    /// Bytes of its text.
    pub(super) fn len(&self) -> usize {
        let exception = self.exception.as_ref().map_or(0, String::len);
        self.message.len() + exception + self.instance_uuid.as_ref().map_or(0, String::len)
    }

    /// The logger's name in Python's notation.
    pub(super) fn name(&self) -> String {
        self.target.replace("::", ".")
    }

    pub(super) fn thread_name(&self) -> &str {
        // The name that Python gives to its first thread.
        self.thread.name().filter(|name| *name != "main").unwrap_or("MainThread")
    }
}

/// Where in the source an event was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) module_path: &'static str,
}

impl Place {
    /// The last part of the module's path, which takes the place of Python's function name: Rust's macros do not
    /// know theirs.
    pub(super) fn function(&self) -> &'static str {
        self.module_path.rsplit("::").next().unwrap_or_default()
    }

    pub(super) fn file_name(&self) -> &'static str {
        self.file.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn module(&self) -> &'static str {
        let name = self.file_name();
        name.strip_suffix(".rs").unwrap_or(name)
    }
}

fn thread_id() -> i32 {
    thread_local! {
        static ID: Cell<i32> = const { Cell::new(0) };
    }
    let known = ID.get();
    if known != 0 {
        return known;
    }
    let id = nix::unistd::gettid().as_raw();
    ID.set(id);
    id
}

/// The request id of session `number`: `req-` and a random UUID, as Nova gives one to each session when its token
/// is looked up. It is a function of the number and of keys of this process, so no session has to keep it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId(pub(super) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static KEYS: OnceLock<std::hash::RandomState> = OnceLock::new();
        let keys = KEYS.get_or_init(std::hash::RandomState::new);
        let (high, low) = (keys.hash_one((self.0, 0_u8)), keys.hash_one((self.0, 1_u8)));
        //= https://www.rfc-editor.org/rfc/rfc9562#section-5.4
        //# random_a ... ver: The 4-bit version field ... set to 0b0100
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        write!(
            f,
            "req-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Control characters would let a peer rewrite an operator's terminal or forge lines.
pub(super) fn escape(line: &str, out: &mut String) {
    for character in line.chars() {
        match character {
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Separators of lines and paragraphs, which some log viewers break lines at.
            '\u{2028}' | '\u{2029}' => out.extend(character.escape_unicode()),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_random_uuids_that_a_number_keeps() {
        let ids: HashSet<String> = (0..1_000).map(|number| RequestId(number).to_string()).collect();
        assert_eq!(ids.len(), 1_000);
        for id in &ids {
            let groups: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(groups, [3, 8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[18..19], "4", "{id}");
            assert!(matches!(&id[23..24], "8" | "9" | "a" | "b"), "{id}");
        }
        assert_eq!(RequestId(7).to_string(), RequestId(7).to_string());
    }
}
