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

    /// Reads them and says whether they can be used. Blocks. What cannot be used is complained of, but not when
    /// they have only just changed: half of a copy, or one file of a pair, is seen now and then.
    fn reload(&mut self, when: When) -> bool;
}

/// When files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At the start
    First,
    /// They are others than at the last look
    Changed,
    /// They could not be used at the last look, and are the same still
    Settled,
}

/// Files that belong together, and what was last seen of them.
pub struct Certificates {
    watched: Box<dyn Watched>,
    seen: Option<Vec<Option<Stamp>>>,
    /// What was seen could not be used, and nobody has heard of it
    unusable: bool,
}

/// Device, inode, time of change (seconds, nanoseconds) and size: a copy changes the last three, a rename the
/// first two.
type Stamp = (u64, u64, i64, i64, u64);

impl Certificates {
    /// Reads the files for the first time.
    pub(super) fn watching(watched: Box<dyn Watched>) -> Self {
        let mut certificates = Self { watched, seen: None, unusable: false };
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

    /// Reads the files if they are others than before, and once more if they could not be used then.
    fn look(&mut self) {
        let seen = self.watched.files().into_iter().map(stamp).collect();
        let when = match &self.seen {
            None => When::First,
            Some(before) if *before != seen => When::Changed,
            Some(_) if self.unusable => When::Settled,
            Some(_) => return,
        };
        self.seen = Some(seen);
        self.unusable = !self.watched.reload(when) && when == When::Changed;
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A file whose text can be used when it is "good", and how it was read.
    struct File(std::path::PathBuf, Arc<Mutex<Vec<(When, bool)>>>);

    impl Watched for File {
        fn files(&self) -> Vec<&Path> {
            vec![&self.0]
        }

        fn reload(&mut self, when: When) -> bool {
            let good = fs::read_to_string(&self.0).is_ok_and(|text| text == "good");
            self.1.lock().unwrap().push((when, good));
            good
        }
    }

    #[test]
    fn what_cannot_be_used_is_read_once_more_when_it_has_settled() {
        let path = std::env::temp_dir().join(format!("consolegate-watch-{}", std::process::id()));
        let reads = Arc::default();
        fs::write(&path, "good").unwrap();
        let mut certificates = Certificates::watching(Box::new(File(path.clone(), Arc::clone(&reads))));
        let mut looks = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            certificates.look();
            std::mem::take(&mut *reads.lock().unwrap())
        };
        assert_eq!(looks(None), [(When::First, true)]);
        assert_eq!(looks(Some("half of it")), [(When::Changed, false)]);
        // The other half has come: nobody hears of the first.
        assert_eq!(looks(Some("good")), [(When::Changed, true)]);
        assert_eq!(looks(None), []);
        assert_eq!(looks(Some("broken")), [(When::Changed, false)]);
        assert_eq!(looks(None), [(When::Settled, false)]);
        assert_eq!(looks(None), []);
        fs::remove_file(&path).unwrap();
    }
}
