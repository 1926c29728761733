//! A log file: appended to, watched, and put aside when its time has come.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::clock::Clock;
use super::rotation::Schedule;
use crate::telemetry::Rotation;

/// A file that is only appended to, so that truncating it in place works (logrotate's copytruncate), and opened
/// anew when something else, or nothing, has its name.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`; none to have it opened anew
    identity: Option<(u64, u64)>,
    rotation: Rotation,
    /// When the interval ends
    schedule: Option<Schedule>,
    clock: Clock,
}

impl LogFile {
    /// Opens the file, without the directories above it.
    pub(super) fn open(path: &Path, rotation: Rotation, clock: &Clock) -> io::Result<Self> {
        // A later change of the working directory must not move the log.
        let path = std::path::absolute(path)?;
        let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let (file, identity) = append_to(&path)?;
        let schedule = match rotation {
            // The file's last change counts, also from before a restart.
            Rotation::Interval { when, interval, count } => Some(Schedule::new(
                when,
                interval,
                count,
                clock,
                written.unwrap_or_else(|_| SystemTime::now()),
            )),
            Rotation::None | Rotation::Size { .. } => None,
        };
        Ok(Self { path, file, identity, rotation, schedule, clock: clock.clone() })
    }

    /// Whether each record is looked at on its own.
    pub(super) fn rotates(&self) -> bool {
        self.rotation != Rotation::None
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &str, at: SystemTime) -> io::Result<()> {
        self.follow();
        if self.is_due(lines.len() as u64, at) {
            self.roll(at);
        }
        self.file.write_all(lines.as_bytes())
    }

    /// Forgets the open file, so that the next write opens it by name.
    pub(super) fn reopen(&mut self) {
        self.identity = None;
    }

    /// Opens the file anew when its name leads elsewhere by now.
    fn follow(&mut self) {
        let named = fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if self.identity.is_none() || named != self.identity {
            self.open_anew();
        }
    }

    /// While the name cannot be opened, the old file is better than none.
    fn open_anew(&mut self) {
        if let Ok((file, identity)) = append_to(&self.path) {
            self.file = file;
            self.identity = identity;
        }
    }

    fn is_due(&self, len: u64, at: SystemTime) -> bool {
        // Devices and pipes are never put aside.
        let Some(size) = self.file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len())
        else {
            return false;
        };
        match self.rotation {
            Rotation::None => false,
            // As `RotatingFileHandler.shouldRollover` compares; but an empty file would not become smaller.
            Rotation::Size { bytes_max, .. } => bytes_max > 0 && size > 0 && size + len >= bytes_max,
            Rotation::Interval { .. } => self.schedule.as_ref().is_some_and(|schedule| schedule.is_due(at)),
        }
    }

    /// Puts the file aside. What cannot be moved is written on.
    fn roll(&mut self, at: SystemTime) {
        match self.rotation {
            Rotation::Size { count, .. } => self.roll_numbered(count),
            Rotation::Interval { .. } => {
                if let Some(schedule) = &mut self.schedule {
                    schedule.roll(&self.path, &self.clock, at);
                }
            }
            Rotation::None => {}
        }
        self.open_anew();
    }

    /// `RotatingFileHandler.doRollover`: the file becomes `.1`, `.1` becomes `.2`, and so on.
    fn roll_numbered(&self, count: usize) {
        if count == 0 {
            // Python opens the same file again, which then grows for ever.
            return;
        }
        for number in (1..count).rev() {
            let _ = fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1));
        }
        let _ = fs::rename(&self.path, numbered(&self.path, 1));
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    super::rotation::with_suffix(path, &number.to_string())
}

fn append_to(path: &Path) -> io::Result<(File, Option<(u64, u64)>)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, Some((metadata.dev(), metadata.ino()))))
}
