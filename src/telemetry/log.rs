//! Logs as oslo.log writes them, as Nova's operators and their log shippers expect them.
//!
//! Events of `tracing` become records here; a writer thread behind a bounded queue turns them into lines and
//! writes them, so that no other thread ever waits for a disk. What does not fit into the queue is counted,
//! and the count is logged.
//!
//! Some fields of an event have a meaning, the others follow its message as ` name=value`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `request` | the number of a session whose token was looked up: the line gets its request id |
//! | `client` | the tenant's address: the line begins as those of Python's HTTP server do |
//! | `instance_uuid` | the line says `[instance: UUID]` |
//! | `exception` | a failure's own text, in the place of Python's traceback |

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use nix::unistd::{AccessFlags, access};
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::LogSettings;

mod clock;
mod file;
mod format;
mod journal;
mod json;
mod levels;
mod pyconfig;
mod pyliteral;
mod rate;
mod record;
mod rotation;
mod setup;
mod sink;
mod syslog;
mod template;
mod writer;

use clock::Clock;
use format::Process;
use levels::Levels;
pub use pyconfig::ConfigError;
use record::{Place, Record, Severity};
pub use setup::OpenError;
use setup::Setup;
use writer::Queue;

/// Longest message, in bytes; the rest is cut. Nothing here logs as much on purpose, but a hypervisor's
/// error text may be quoted.
const MESSAGE_BYTES_MAX: usize = 8_192;
/// How long the last lines may take at the end of the process.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The log file cannot be written
    #[error(transparent)]
    Open(#[from] OpenError),
    /// `log_config_append` cannot be used
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The writer thread did not start
    #[error("the log writer could not be started: {0}")]
    Thread(#[source] io::Error),
    /// Something else logs already
    #[error("logging was set up before")]
    Twice,
}

/// The process's log. Dropping it writes out what is queued.
#[derive(Debug)]
pub struct Logger {
    queue: Queue,
    levels: Arc<RwLock<Levels>>,
    settings: Mutex<LogSettings>,
    /// When the logging configuration file that is in effect was changed
    config_modified: Mutex<Option<SystemTime>>,
}

/// Opens the sinks and makes them the process's log. Threads do not survive a fork, so a daemon forks first.
///
/// # Errors
///
/// [`LogError`] when a file cannot be opened or read, or when called twice.
pub fn init(settings: &LogSettings) -> Result<Logger, LogError> {
    let (logger, layer, warnings) = start(settings)?;
    let subscriber = Registry::default().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    report_panics(logger.queue.clone());
    warn_of(settings, &warnings);
    Ok(logger)
}

/// What [`init`] would say of the settings, without opening or creating a file; else what is to be warned of.
///
/// # Errors
///
/// [`LogError`] when a file could not be opened or read.
pub fn examine(settings: &LogSettings) -> Result<Vec<String>, LogError> {
    match (&settings.config, &settings.file) {
        (Some(path), _) => Ok(pyconfig::examine(path, settings)?),
        (None, Some(path)) => {
            setup::could_open(path)?;
            Ok(Vec::new())
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// The files that are logged to, for who has to let them be opened; none where they are not known.
#[must_use]
pub fn files(settings: &LogSettings) -> Vec<PathBuf> {
    match &settings.config {
        Some(path) => pyconfig::files(path, settings),
        None => settings.file.iter().cloned().collect(),
    }
}

/// Whether a file could be appended to, or made where there is none; nothing is changed to find out.
///
/// # Errors
///
/// Why not, as opening the file would say it.
pub fn could_write(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let (place, mode) = match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => (path.as_path(), AccessFlags::W_OK),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            if !fs::metadata(parent)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            (parent, AccessFlags::W_OK | AccessFlags::X_OK)
        }
        Err(error) => return Err(error),
    };
    Ok(access(place, mode)?)
}

/// The same for a subscriber of the caller's: a log, the layer that feeds it, and what is to be warned of.
///
/// # Errors
///
/// As [`init`].
pub fn start(settings: &LogSettings) -> Result<(Logger, LogLayer, Vec<String>), LogError> {
    let clock = Clock::default();
    let modified = settings.config.as_deref().and_then(modified);
    let (setup, levels, warnings) = match &settings.config {
        Some(path) => {
            let loaded = pyconfig::load(path, settings, &clock)?;
            (loaded.setup, loaded.levels, loaded.warnings)
        }
        None => (Setup::from_settings(settings, &clock)?, setup::levels(settings), Vec::new()),
    };
    let (logger, layer) = start_with(settings, setup, levels)?;
    *lock(&logger.config_modified) = modified;
    Ok((logger, layer, warnings))
}

fn start_with(settings: &LogSettings, setup: Setup, levels: Levels) -> Result<(Logger, LogLayer), LogError> {
    // A file that replaces the options replaces these, too.
    let rate_limit = settings.rate_limit.filter(|_| settings.config.is_none());
    let queue = writer::start(setup, rate_limit, Process::current()).map_err(LogError::Thread)?;
    let levels = Arc::new(RwLock::new(levels));
    let layer = LogLayer { queue: queue.clone(), levels: Arc::clone(&levels) };
    let settings = Mutex::new(settings.clone());
    Ok((Logger { queue, levels, settings, config_modified: Mutex::default() }, layer))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn warn_of(settings: &LogSettings, warnings: &[String]) {
    let path = settings.config.as_deref().unwrap_or(Path::new(""));
    for warning in warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
}

impl Logger {
    /// Waits, for a second at most, until everything logged so far is written.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_MAX);
    }

    /// Opens the log files anew with the next lines, though they may not have been moved.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Changes between DEBUG and INFO, as oslo.log does when `debug` is changed (`_refresh_root_level`).
    pub fn set_debug(&self, debug: bool) {
        lock(&self.settings).debug = debug;
        self.change_levels(|levels| levels.root = if debug { 10 } else { 20 });
    }

    /// Takes another logging configuration file, or none, or the same one when it was changed since it was read.
    /// Returns whether anything was read.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the new configuration cannot be used; the old one then stays.
    pub fn configure(&self, path: Option<&Path>) -> Result<bool, LogError> {
        let now = path.and_then(modified);
        let settings = {
            let mut settings = lock(&self.settings);
            let same = settings.config.as_deref() == path;
            if same && (path.is_none() || *lock(&self.config_modified) == now) {
                return Ok(false);
            }
            // A file that cannot be used is not read again until it changes.
            *lock(&self.config_modified) = now;
            let mut changed = settings.clone();
            changed.config = path.map(Path::to_path_buf);
            if !same {
                *settings = changed.clone();
            }
            changed
        };
        let clock = Clock::default();
        let (setup, levels) = match path {
            Some(path) => {
                let loaded = pyconfig::load(path, &settings, &clock)?;
                warn_of(&settings, &loaded.warnings);
                (loaded.setup, loaded.levels)
            }
            None => (Setup::from_settings(&settings, &clock)?, setup::levels(&settings)),
        };
        self.queue.set_up(setup);
        self.change_levels(|old| *old = levels);
        Ok(true)
    }

    /// The logging configuration file, if one is in effect.
    #[must_use]
    pub fn config(&self) -> Option<PathBuf> {
        lock(&self.settings).config.clone()
    }

    /// The last lines from WARNING on, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        self.queue.recent()
    }

    fn change_levels(&self, change: impl FnOnce(&mut Levels)) {
        change(&mut self.levels.write().unwrap_or_else(PoisonError::into_inner));
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A panic is logged as Nova logs an exception that nobody catches (`oslo_log/log.py`,
/// `_create_logging_excepthook`), besides what it prints on standard error.
fn report_panics(queue: Queue) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        usual(info);
        let message = "Unhandled error".to_owned();
        let mut record = Record::new(Severity::Critical, "nova", message, Place::default());
        record.exception = Some(info.to_string());
        queue.send(record);
    }));
}

/// Turns events into records.
#[derive(Debug)]
pub struct LogLayer {
    queue: Queue,
    levels: Arc<RwLock<Levels>>,
}

impl LogLayer {
    fn levels(&self) -> std::sync::RwLockReadGuard<'_, Levels> {
        self.levels.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session that a span belongs to.
struct SpanRequest(u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(request), Some(span)) = (fields.request, context.span(id)) {
            span.extensions_mut().insert(SpanRequest(request));
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.levels().allows(metadata.target(), Severity::from(*metadata.level()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.levels().most())
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let place = Place {
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            module_path: metadata.module_path().unwrap_or_default(),
        };
        let severity = Severity::from(*metadata.level());
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.request.is_none() {
            let mut spans = context.event_scope(event).into_iter().flatten();
            fields.request = spans.find_map(|span| Some(span.extensions().get::<SpanRequest>()?.0));
        }
        self.queue.send(fields.into_record(severity, metadata.target(), place));
    }
}

/// The fields of an event: those with a meaning, the message, and the others as ` name=value`.
#[derive(Default)]
struct Fields {
    text: Bounded,
    others: Bounded,
    exception: Option<Bounded>,
    request: Option<u64>,
    client: Option<Bounded>,
    instance_uuid: Option<Bounded>,
}

impl Fields {
    fn into_record(mut self, severity: Severity, target: &'static str, place: Place) -> Record {
        let _ = self.text.write_str(&self.others.text);
        self.text.cut += self.others.cut;
        let mut record = Record::new(severity, target, self.text.finish(), place);
        record.exception = self.exception.map(Bounded::finish);
        record.request = self.request;
        record.client = self.client.map(Bounded::finish);
        // A value that was written with `?` has quotes.
        record.instance_uuid = self.instance_uuid.map(|uuid| uuid.finish().trim_matches('"').to_owned());
        record
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "request" {
            self.request = Some(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to memory does not fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            "exception" => write!(self.exception.get_or_insert_default(), "{value:?}"),
            "client" => write!(self.client.get_or_insert_default(), "{value:?}"),
            "instance_uuid" => write!(self.instance_uuid.get_or_insert_default(), "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
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

impl Bounded {
    fn finish(mut self) -> String {
        if self.cut > 0 {
            self.text.push_str(&format!("... ({} bytes cut)", self.cut));
        }
        self.text
    }
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
