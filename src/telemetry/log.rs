//! Logs in the text format of oslo.log, as Nova's operators and their log shippers expect them.
//!
//! Events of `tracing` become records here; a writer thread behind a bounded queue turns them into lines and
//! writes them, so that no other thread ever waits for a disk. What does not fit into the queue is counted,
//! and the count is logged.
//!
//! Out of scope: syslog, the journal, JSON, and Python's logging configuration.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use super::LogSettings;

mod line;
mod sink;
mod writer;

use line::LineFormat;
pub use sink::OpenError;
use sink::Sink;
use writer::{Queue, Record};

/// Longest message, in bytes; the rest is cut. Nothing here logs as much on purpose, but a hypervisor's
/// error text may be quoted.
const MESSAGE_BYTES_MAX: usize = 8_192;
/// How long the last lines may take at the end of the process.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Targets that are logged from INFO (or DEBUG) on. All else is a library, and those report at INFO what
/// concerns their own working.
const OURS: [&str; 3] = ["consolegate", "nova", "oslo"];

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The log file cannot be written
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The writer thread did not start
    #[error("the log writer could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// Something else logs already
    #[error("logging was set up before")]
    Twice,
}

/// The process's log. Dropping it writes out what is queued.
#[derive(Debug)]
pub struct Logger {
    queue: Queue,
    debug: Arc<AtomicBool>,
}

/// Opens the sinks and makes them the process's log. Threads do not survive a fork, so a daemon forks first.
///
/// # Errors
///
/// [`LogError`] when the file cannot be opened, or when called twice.
pub fn init(settings: &LogSettings) -> Result<Logger, LogError> {
    let (logger, layer) = start(settings, Sink::open_all(settings)?)?;
    let subscriber = Registry::default().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(logger)
}

fn start(settings: &LogSettings, sinks: Vec<Sink>) -> Result<(Logger, LogLayer), LogError> {
    let queue = writer::start(LineFormat::new(&settings.date_format), sinks).map_err(LogError::Thread)?;
    let debug = Arc::new(AtomicBool::new(settings.debug));
    let layer = LogLayer { queue: queue.clone(), debug: Arc::clone(&debug) };
    Ok((Logger { queue, debug }, layer))
}

impl Logger {
    /// Waits, for a second at most, until everything logged so far is written.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_MAX);
    }

    /// Opens the log file anew with the next lines, though it may not have been moved.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Changes between DEBUG and INFO.
    pub fn set_debug(&self, debug: bool) {
        self.debug.store(debug, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Turns events into records.
struct LogLayer {
    queue: Queue,
    debug: Arc<AtomicBool>,
}

impl LogLayer {
    fn level_of(&self, target: &str) -> Level {
        if !OURS.iter().any(|ours| target.starts_with(ours)) {
            Level::WARN
        } else if self.debug.load(Ordering::Relaxed) {
            Level::DEBUG
        } else {
            Level::INFO
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        *metadata.level() <= self.level_of(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level_of(OURS[0])))
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        self.queue.send(Record {
            at: SystemTime::now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message: message.finish(),
        });
    }
}

/// An event's message, then its other fields as ` name=value`.
#[derive(Default)]
struct Message {
    text: Bounded,
    fields: Bounded,
}

impl Message {
    fn finish(mut self) -> String {
        let _ = self.text.write_str(&self.fields.text);
        let cut = self.text.cut + self.fields.cut;
        if cut > 0 {
            self.text.text.push_str(&format!("... ({cut} bytes cut)"));
        }
        self.text.text
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to memory does not fail.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

/// Text that stops growing at its bound.
#[derive(Default)]
struct Bounded {
    text: String,
    /// Bytes that did not fit
    cut: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut end = more.len().min(MESSAGE_BYTES_MAX.saturating_sub(self.text.len()));
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        let (fits, rest) = more.split_at(end);
        self.text.push_str(fits);
        self.cut += rest.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
