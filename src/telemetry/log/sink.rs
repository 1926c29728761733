//! Where lines go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::LogSettings;

/// The log file could not be opened at start.
#[derive(Debug, Error)]
#[error("the log file {} could not be opened: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// One destination of lines.
pub(super) enum Sink {
    /// A file that may be moved away under us
    File(LogFile),
    /// A stream of the process
    Stream(Box<dyn Write + Send>),
}

impl Sink {
    /// What the settings ask for: a file, standard error, or else standard output.
    pub(super) fn open_all(settings: &LogSettings) -> Result<Vec<Self>, OpenError> {
        let mut sinks = Vec::new();
        if let Some(path) = &settings.file {
            let file = LogFile::open(path).map_err(|source| OpenError { path: path.clone(), source })?;
            sinks.push(Self::File(file));
        }
        if settings.stderr {
            sinks.push(Self::Stream(Box::new(io::stderr())));
        }
        if sinks.is_empty() {
            sinks.push(Self::Stream(Box::new(io::stdout())));
        }
        Ok(sinks)
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &str) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stream(stream) => {
                stream.write_all(lines.as_bytes())?;
                stream.flush()
            }
        }
    }

    /// Forgets the open file, so that the next write opens it by name.
    pub(super) fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.identity = None;
        }
    }
}

/// A file that is only appended to, so that truncating it in place works, and opened anew when something
/// else, or nothing, has its name.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`; none to have it opened anew
    identity: Option<(u64, u64)>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        // A later change of the working directory must not move the log.
        let path = std::path::absolute(path)?;
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let metadata = file.metadata()?;
        Ok(Self { path, file, identity: Some((metadata.dev(), metadata.ino())) })
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        let named = fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if self.identity.is_none() || named != self.identity {
            // While the name cannot be opened, the old file is better than none.
            if let Ok(opened) = Self::open(&self.path) {
                *self = opened;
            }
        }
        self.file.write_all(lines.as_bytes())
    }
}
