//! Files that are read again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tracing::{error, info};

use super::CertificateError;
use crate::session::LOG_TARGET;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::metrics;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files that belong together, and who uses them.
pub(super) trait Watched: Send {
    /// What they are, as the log has it.
    fn what(&self) -> String;

    /// Which files, whether they are there or not.
    fn files(&self) -> Vec<&Path>;

    /// Whether something that was read from them is in use.
    fn is_in_use(&self) -> bool;

    /// Reads them and takes them into use. Blocks.
    ///
    /// # Errors
    ///
    /// They cannot be used; what was in use before still is.
    fn read(&mut self) -> Result<Found, CertificateError>;
}

/// What there was to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Others than before, in use from now on
    Anew,
    /// Nothing, and nothing is in use any more
    Gone,
}

/// When files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
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

/// Device and inode, which a rename changes; the times of change of the bytes and of anything else (seconds,
/// nanoseconds), and the size. Who may read a file is in the second time alone.
type Stamp = (u64, u64, [i64; 4], u64);

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
        self.unusable = self.read(when).is_err() && when == When::Changed;
    }

    /// Files that have only just changed are not complained of: half of a copy, or one file of a pair, is seen now
    /// and then.
    fn read(&mut self, when: When) -> Result<(), ()> {
        let result = self.watched.read();
        let what = self.watched.what();
        match (&result, when) {
            (Ok(_), When::First) | (Err(_), When::Changed) => {}
            (Ok(Found::Anew), _) => {
                info!(target: LOG_TARGET, "{what} was read anew");
                metrics().cert_reload.of(Outcome::Ok).add(1);
            }
            (Ok(Found::Gone), _) => {
                info!(target: LOG_TARGET, "{what} is gone: TLS is refused until it is there again")
            }
            (Err(reason), _) => {
                let kept = if self.watched.is_in_use() { "; the one before stays in use" } else { "" };
                error!(target: LOG_TARGET, "{what}: {reason}{kept}");
                if when == When::Settled {
                    metrics().cert_reload.of(Outcome::Failed).add(1);
                }
            }
        }
        result.map(drop).map_err(drop)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    Some((meta.dev(), meta.ino(), times, meta.size()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A file whose text can be used when it is "good", and whether it could be, at each reading.
    struct File(PathBuf, Arc<Mutex<Vec<bool>>>);

    impl Watched for File {
        fn what(&self) -> String {
            "the file".to_owned()
        }

        fn files(&self) -> Vec<&Path> {
            vec![&self.0]
        }

        fn is_in_use(&self) -> bool {
            true
        }

        fn read(&mut self) -> Result<Found, CertificateError> {
            let good = fs::read_to_string(&self.0).is_ok_and(|text| text == "good");
            self.1.lock().unwrap().push(good);
            let missing = CertificateError::Missing { path: String::new(), what: "good" };
            if good { Ok(Found::Anew) } else { Err(missing) }
        }
    }

    #[test]
    fn what_cannot_be_used_is_complained_of_when_it_has_settled() {
        let path = std::env::temp_dir().join(format!("consolegate-watch-{}", std::process::id()));
        let reads = Arc::default();
        fs::write(&path, "good").unwrap();
        let mut certificates = Certificates::watching(Box::new(File(path.clone(), Arc::clone(&reads))));
        let mut looks = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let complaints = || metrics().cert_reload.of(Outcome::Failed).get();
            let before = complaints();
            certificates.look();
            (std::mem::take(&mut *reads.lock().unwrap()), complaints() - before)
        };
        assert_eq!(looks(None), (vec![true], 0));
        assert_eq!(looks(Some("half of it")), (vec![false], 0));
        // The other half has come: nobody hears of the first.
        assert_eq!(looks(Some("good")), (vec![true], 0));
        assert_eq!(looks(None), (vec![], 0));
        assert_eq!(looks(Some("broken")), (vec![false], 0));
        assert_eq!(looks(None), (vec![false], 1));
        assert_eq!(looks(None), (vec![], 0));
        // Somebody is let read it: it is tried again.
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(looks(None), (vec![false], 0));
        fs::remove_file(&path).unwrap();
    }
}
