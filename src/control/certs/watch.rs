//! Files that are read again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files that belong together, and who uses them.
pub(super) trait Watched: Send {
    /// Which files, whether they are there or not.
    fn files(&self) -> Vec<&Path>;

    /// Reads them: for the first time, or because they are others than before. Blocks.
    fn reload(&mut self, is_first: bool);
}

/// Files that belong together, and what was last seen of them.
pub struct Certificates {
    watched: Box<dyn Watched>,
    seen: Option<Vec<Option<Stamp>>>,
}

/// Device, inode, time of change (seconds, nanoseconds) and size: a copy changes the last three, a rename the
/// first two.
type Stamp = (u64, u64, i64, i64, u64);

impl Certificates {
    /// Reads the files for the first time.
    pub(super) fn watching(watched: Box<dyn Watched>) -> Self {
        let mut certificates = Self { watched, seen: None };
        certificates.look();
        certificates
    }

    /// Looks at the files for as long as the process lives.
    pub(in crate::control) async fn watch(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A file system that hangs must not take the control thread with it.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(certificates) => self = certificates,
                // The process ends.
                Err(_) => return,
            }
        }
    }

    /// Reads the files if they are others than before.
    fn look(&mut self) {
        let seen = self.watched.files().into_iter().map(stamp).collect();
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        let is_first = self.seen.is_none();
        self.seen = Some(seen);
        self.watched.reload(is_first);
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
}
