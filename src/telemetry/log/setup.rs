//! Loggers and their handlers: what Python's `logging` holds as global state.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::clock::Clock;
use super::could_write;
use super::file::LogFile;
use super::format::Format;
use super::journal::Journal;
use super::levels::{Levels, is_below};
use super::sink::{Handler, Sink};
use super::syslog::{Address, Frame, Syslog};
use crate::telemetry::{LogSettings, Rotation};

/// The log file could not be opened at start.
#[derive(Debug, Error)]
#[error("the log file {} could not be opened: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Everything between a record and its destinations.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) handlers: Vec<Handler>,
    /// Handlers of the root logger, as indices
    pub(super) root: Vec<usize>,
    pub(super) loggers: Vec<Logger>,
    /// Which handlers a logger's records reach, once looked up. Loggers are the source's targets, so they are few.
    routes: HashMap<&'static str, Vec<usize>>,
}

/// A logger with handlers of its own.
#[derive(Debug)]
pub(super) struct Logger {
    pub(super) name: String,
    pub(super) handlers: Vec<usize>,
    /// Whether its records go to the handlers of its ancestors, too
    pub(super) propagate: bool,
}

impl Setup {
    pub(super) fn new(handlers: Vec<Handler>, root: Vec<usize>, loggers: Vec<Logger>) -> Self {
        Self { handlers, root, loggers, routes: HashMap::new() }
    }

    /// What the options ask for (`oslo_log/log.py`, `_setup_logging_from_conf`).
    pub(super) fn from_settings(settings: &LogSettings, clock: &Clock) -> Result<Self, OpenError> {
        let mut sinks = Vec::new();
        if let Some(path) = &settings.file {
            sinks.push((open(path, settings.rotation, clock)?, false));
        }
        if settings.stderr {
            sinks.push((Sink::Stream(Box::new(io::stderr())), settings.color));
        }
        if settings.journal {
            let (path, identifier) = (settings.sockets.journal.clone(), settings.program.clone());
            sinks.push((Sink::Journal(Journal::new(path, identifier, settings.facility)), false));
        }
        if sinks.is_empty() {
            sinks.push((Sink::Stream(Box::new(io::stdout())), settings.color));
        }
        if settings.syslog {
            let address = Address::Unix(settings.sockets.syslog.clone());
            let frame = Frame::Dated(settings.program.clone());
            sinks.push((Sink::Syslog(Syslog::new(address, frame, settings.facility)), false));
        }
        let date = settings.formats.date.clone();
        let format = if settings.json {
            Format::Json(Some(date))
        } else {
            Format::context(&settings.formats, Some(date))
        };
        let handlers: Vec<Handler> = sinks
            .into_iter()
            .map(|(sink, color)| {
                let handler = Handler::new(format.clone(), sink);
                if color { handler.colored() } else { handler }
            })
            .collect();
        let root = (0..handlers.len()).collect();
        Ok(Self::new(handlers, root, Vec::new()))
    }

    /// The handlers that a record of logger `target` reaches, those of the nearest logger first.
    pub(super) fn route(&mut self, target: &'static str) -> Vec<usize> {
        if let Some(known) = self.routes.get(target) {
            return known.clone();
        }
        let name = target.replace("::", ".");
        let mut ancestors: Vec<&Logger> =
            self.loggers.iter().filter(|logger| is_below(&name, &logger.name)).collect();
        ancestors.sort_by_key(|logger| std::cmp::Reverse(logger.name.len()));
        let mut route = Vec::new();
        let mut propagated = true;
        for logger in ancestors {
            route.extend(&logger.handlers);
            propagated = logger.propagate;
            if !propagated {
                break;
            }
        }
        if propagated {
            route.extend(&self.root);
        }
        self.routes.insert(target, route.clone());
        route
    }
}

/// The levels that the options ask for.
pub(super) fn levels(settings: &LogSettings) -> Levels {
    Levels { root: if settings.debug { 10 } else { 20 }, loggers: settings.levels.clone() }
}

pub(super) fn open(path: &std::path::Path, rotation: Rotation, clock: &Clock) -> Result<Sink, OpenError> {
    let file = LogFile::open(path, rotation, clock);
    file.map(Sink::File).map_err(|source| OpenError { path: path.to_path_buf(), source })
}

/// What [`open`] would say of the file, which stays as it is.
pub(super) fn could_open(path: &std::path::Path) -> Result<(), OpenError> {
    could_write(path).map_err(|source| OpenError { path: path.to_path_buf(), source })
}
