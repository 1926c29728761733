//! Whether the engine can run here, found out by trying: versions say nothing about seccomp profiles, sysctls
//! and backports.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe};

use super::operation::Operation;
use super::ring::{Completion, Ring};
use super::submission::{FileSlot, OPCODES};
use crate::engine::SessionId;
use crate::session::Side;

/// A kernel that frees a closed socket does so at once.
const FREED_WITHIN: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why `io_uring` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The kernel refused a step of making the ring
    #[error("{step} failed: {source}{}", Remedy(source))]
    Refused {
        /// What was tried
        step: &'static str,
        /// What the kernel said
        source: io::Error,
    },
    /// The kernel does not know an operation
    #[error("the kernel lacks operation {0}")]
    Opcode(u8),
    /// The kernel keeps the sockets of closed connections
    #[error("the kernel keeps closed sockets for as long as the ring waits for others; Linux 6.13 does not")]
    KeepsFiles,
}

/// What most likely stands behind an error, and what to do about it.
struct Remedy<'a>(&'a io::Error);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "; a seccomp profile (as Docker's) or the sysctl kernel.io_uring_disabled denies it"
            }
            Some(libc::ENOSYS) => "; the kernel was built without it, or a seccomp profile hides it",
            Some(libc::EINVAL) => "; the kernel is older than 6.1",
            _ => "",
        })
    }
}

/// Makes a ring as workers have it, and drops it again.
///
/// # Errors
///
/// What is missing.
pub fn probe() -> Result<(), Unavailable> {
    // A ring is taken down after it was closed, and that interrupts system calls of the thread which used it:
    // a thread of its own has none.
    let thread = thread::Builder::new().name("probe".to_owned()).spawn(probe_here);
    thread
        .and_then(|thread| thread.join().map_err(|_| io::Error::other("the probe panicked")))
        .unwrap_or_else(|source| Err(Unavailable::Refused { step: "probing", source }))
}

fn probe_here() -> Result<(), Unavailable> {
    let refused = |(step, source)| Unavailable::Refused { step, source };
    let mut operations = Probe::new();
    IoUring::new(1)
        .and_then(|ring| ring.submitter().register_probe(&mut operations))
        .map_err(|error| refused(("io_uring_setup", error)))?;
    if let Some(missing) = OPCODES.into_iter().find(|opcode| !operations.is_supported(*opcode)) {
        return Err(Unavailable::Opcode(missing));
    }
    let mut ring = Ring::new(1, 1, 0).map_err(refused)?;
    waits_for_nonblocking_sockets(&mut ring)
        .map_err(|source| refused(("receiving from a nonblocking socket", source)))?;
    match frees_files(&ring).map_err(|source| refused(("closing a socket", source)))? {
        true => Ok(()),
        false => Err(Unavailable::KeepsFiles),
    }
}

/// Whether a socket that left the table and was closed is gone, though the ring's alarm is waited for as ever. Kernels
/// before 6.13 free what left the table in order, behind the operations that were under way: there each connection
/// would stay in the kernel's memory for as long as the process lives.
fn frees_files(ring: &Ring) -> io::Result<bool> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let slot = FileSlot::of(0, Side::Compute);
    ring.set_file(slot, Some(ours.as_fd()))?;
    ring.set_file(slot, None)?;
    drop(ours);
    theirs.set_nonblocking(true)?;
    let until = Instant::now() + FREED_WITHIN;
    loop {
        match theirs.read(&mut [0]) {
            Ok(_) => return Ok(true),
            // A sleep that is interrupted goes on; a read with a time-out would end, and the ring's own work interrupts.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

/// Sockets are nonblocking, for splice(2): the ring must wait for them all the same.
fn waits_for_nonblocking_sockets(ring: &mut Ring) -> io::Result<()> {
    let (ours, _theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    ring.set_file(FileSlot::of(0, Side::Tenant), Some(ours.as_fd()))?;
    let id = SessionId { index: 0, generation: 0 };
    ring.start(Operation::Recv { id, from: Side::Tenant, wait_first: false });
    ring.enter(0, None)?;
    match ring.next() {
        Some(Completion::Received { result: Err(error), .. }) => Err(error),
        Some(_) => Err(io::Error::other("it completed without bytes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_its_likely_cause() {
        let denied = Unavailable::Refused {
            step: "io_uring_setup",
            source: io::Error::from_raw_os_error(libc::EPERM),
        };
        let text = denied.to_string();
        assert!(text.starts_with("io_uring_setup failed: Operation not permitted"), "{text}");
        assert!(text.contains("seccomp") && text.contains("kernel.io_uring_disabled"), "{text}");
    }
}
