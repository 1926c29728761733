//! What the process gives up at its start, so that whoever takes it over through a bug finds little to do with it.
//!
//! Four layers, each from the kernel: no new privileges and no core dumps (prctl(2)), files only where the
//! configuration has some (`files`, landlock(7)), no system calls that a proxy never makes (`calls`,
//! seccomp(2)), and workers' rings that know the operations of their engine only (`engine::uring`, always).
//!
//! [`enter`] comes before the first thread, since landlock binds the calling thread and those it starts;
//! [`Sandbox::seal`] comes when the rings are made.

mod calls;
mod files;

pub use calls::WorkerFilter;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, setrlimit};
use thiserror::Error;

/// `[consolegate] sandbox`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What the kernel has of it
    #[default]
    Auto,
    /// All of it, or no start
    Required,
    /// None of it
    Off,
}

/// The files that are opened after the start, beside the system's own. All absolute; they may be missing.
///
/// A file is granted with the directory that holds it, and all below that: files are renewed by renaming another to
/// their name, and the new one has to be opened as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// What is read
    pub read: Vec<PathBuf>,
    /// What is made, written, renamed and removed
    pub write: Vec<PathBuf>,
}

/// Why the sandbox is not as `required` wants it.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// prctl(2) failed
    #[error("no new privileges and no core dumps: {0}")]
    Process(#[from] nix::Error),
    /// The kernel was built without landlock, or does not have it on
    #[error("no landlock: the kernel has none, or it is off (lsm= of its command line)")]
    NoLandlock,
    /// A rule could not be made
    #[error("landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// What is written lies in `/` itself, and with it the whole file system would be granted
    #[error("{} lies in the root directory, which cannot be granted for writing", .0.display())]
    WritesRoot(PathBuf),
    /// A filter was refused
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The thread that tried a filter came to an end
    #[error("seccomp: the thread that tried it ended")]
    Trial,
    /// A filter could not be made
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// The sandbox that the process is in.
#[derive(Debug)]
pub struct Sandbox {
    mode: Mode,
    has: Vec<String>,
    lacks: Vec<String>,
    /// The process's own directories of /proc: a rule holds as long as the kernel has their entries in its cache.
    _held: Vec<landlock::PathFd>,
}

/// Enters the sandbox. Must be called on the only thread, after the forks of a daemon.
///
/// # Errors
///
/// With [`Mode::Required`], the first layer that cannot be had.
pub fn enter(mode: Mode, paths: &Paths) -> Result<Sandbox, SandboxError> {
    let mut sandbox = Sandbox { mode, has: Vec::new(), lacks: Vec::new(), _held: Vec::new() };
    if mode == Mode::Off {
        return Ok(sandbox);
    }
    let process = set_no_new_privs().and_then(|()| no_cores(mode)).map_err(SandboxError::from);
    sandbox.note(process.map(|()| "no new privileges, no core dumps".to_owned()))?;
    let files = files::confine(paths, mode == Mode::Required).map(|confined| {
        sandbox._held = confined.held;
        confined.summary
    });
    sandbox.note(files)?;
    let calls = calls::deny().map(|count| format!("seccomp ({count} system calls denied)"));
    sandbox.note(calls)?;
    Ok(sandbox)
}

/// Keys must not end in a file. A limit of one byte keeps the kernel from feeding a program that collects cores, too
/// (core(5)); a limit of none does not.
///
/// With [`Mode::Required`] the process is not dumpable either, and no debugger of the same user's can attach. That hides
/// its descriptors from that user: health checks in containers, which run as the service's own user, no longer find
/// its port and its connection to the broker by its process.
fn no_cores(mode: Mode) -> nix::Result<()> {
    let limited = setrlimit(Resource::RLIMIT_CORE, 1, 1);
    // A hard limit of none cannot be raised without privileges. What is not dumpable has no core whatever the limit.
    if mode == Mode::Required { set_dumpable(false) } else { limited }
}

impl Sandbox {
    /// Closes what only the start needs: after this no ring is made, on any thread. The workers are to put the filter
    /// on their threads then; there is none with [`Mode::Off`], or where the kernel refuses it.
    ///
    /// # Errors
    ///
    /// With [`Mode::Required`], when a filter was refused.
    pub fn seal(&mut self) -> Result<Option<WorkerFilter>, SandboxError> {
        if self.mode == Mode::Off {
            return Ok(None);
        }
        self.note(calls::deny_new_rings().map(|()| "no new rings".to_owned()))?;
        let (filter, told) = match WorkerFilter::new() {
            Ok(filter) => {
                (Some(filter), Ok(format!("workers restricted to {} system calls", WorkerFilter::calls())))
            }
            Err(reason) => (None, Err(reason)),
        };
        self.note(told)?;
        Ok(filter)
    }

    /// What there is of it, for the log.
    #[must_use]
    pub fn describe(&self, ring_operations: Option<usize>) -> String {
        let mut has = self.has.clone();
        if let Some(operations) = ring_operations {
            has.push(format!("workers' rings restricted to {operations} operations"));
        }
        let mut text = match self.mode {
            Mode::Off => "off".to_owned(),
            _ => String::new(),
        };
        for part in has {
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to memory does not fail.
            let _ = write!(text, "{separator}{part}");
        }
        for lack in &self.lacks {
            let _ = write!(text, "; lacking: {lack}");
        }
        text
    }

    fn note(&mut self, layer: Result<String, SandboxError>) -> Result<(), SandboxError> {
        match layer {
            Ok(what) => self.has.push(what),
            Err(reason) if self.mode == Mode::Required => return Err(reason),
            Err(reason) => self.lacks.push(reason.to_string()),
        }
        Ok(())
    }
}

impl From<SandboxError> for io::Error {
    fn from(reason: SandboxError) -> Self {
        Self::other(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(mode: Mode) -> Sandbox {
        Sandbox { mode, has: Vec::new(), lacks: Vec::new(), _held: Vec::new() }
    }

    #[test]
    fn what_is_lacking_is_told_or_fatal() {
        let mut auto = sandbox(Mode::Auto);
        auto.note(Ok("landlock ABI 7".to_owned())).unwrap();
        auto.note(Err(SandboxError::Process(nix::Error::EPERM))).unwrap();
        let text = auto.describe(Some(8));
        assert!(
            text.starts_with("landlock ABI 7, workers' rings restricted to 8 operations; lacking: no new"),
            "{text}"
        );
        assert!(sandbox(Mode::Required).note(Err(SandboxError::NoLandlock)).is_err());
    }

    #[test]
    fn off_changes_nothing_of_the_process() {
        let mut sandbox = enter(Mode::Off, &Paths::default()).unwrap();
        assert!(sandbox.seal().unwrap().is_none());
        assert_eq!(sandbox.describe(None), "off");
        assert!(std::fs::read_dir("/").is_ok());
    }
}
