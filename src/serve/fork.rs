//! `daemon`: the process leaves its terminal and its parent.
//!
//! Threads do not survive a fork, so this comes before all of them. The parent stays until the daemon listens, or
//! cannot: Nova's ends at once, and a bind error goes unseen.
#![allow(unsafe_code, reason = "fork(2) is unsafe: the process must have one thread")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe, setsid};

/// Which of the processes this is, after the forks.
pub(super) enum Forked {
    /// The one that was started; whether the daemon listens by now
    Parent { listens: bool },
    /// The daemon
    Daemon(Background),
}

/// A daemon's duty to say that it is ready. Without it the parent reports a failure.
pub(super) struct Background {
    parent: File,
}

/// Forks twice, so that the daemon leads no session and cannot get a terminal again (websockify
/// `WebSockifyServer.daemonize`). Must be called before the first thread is started.
///
/// # Errors
///
/// The kernel refused a pipe or a process.
pub(super) fn detach() -> io::Result<Forked> {
    let (listening, parent): (OwnedFd, OwnedFd) = pipe()?;
    // SAFETY: fork asks that the child call only what is safe after a fork of a process with other threads. This
    // process has none yet: `serve` calls this before it starts the log's writer, the first of them.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(parent);
            let mut ready = Vec::new();
            File::from(listening).read_to_end(&mut ready)?;
            waitpid(child, None)?;
            return Ok(Forked::Parent { listens: !ready.is_empty() });
        }
        ForkResult::Child => drop(listening),
    }
    setsid()?;
    // SAFETY: as above; the child of a process with one thread has one thread.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        std::process::exit(0);
    }
    // Nova's daemon has 0, which leaves what it writes writable for everybody.
    umask(Mode::from_bits_truncate(0o022));
    Ok(Forked::Daemon(Background { parent: File::from(parent) }))
}

impl Background {
    /// Lets go of the directory and of the standard streams, and lets the parent end.
    ///
    /// # Errors
    ///
    /// The directory or `/dev/null` cannot be had; the parent then reports a failure.
    pub(super) fn ready(mut self, directory: &Path) -> io::Result<()> {
        std::env::set_current_dir(directory)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        self.parent.write_all(b"1")
    }
}
