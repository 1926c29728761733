//! System calls that neither std nor nix has a safe form of.
#![allow(unsafe_code, reason = "sched_setscheduler(2) has no safe form")]

use std::io;

/// While it lives, threads that this thread starts wait until a worker that has woken them sleeps itself
/// (`SCHED_BATCH`, sched(7)), unless another processor is free: nobody's next key waits for them. A worker that is
/// stopped for each log line and each question changes threads several times for each session; like this it does for
/// each batch of them.
///
/// Whoever has given the process another policy keeps it. Nor does it matter where the kernel refuses.
#[derive(Debug)]
pub struct StandBack {
    changed: bool,
}

impl StandBack {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        Self { changed: policy() == libc::SCHED_OTHER && set(libc::SCHED_BATCH) }
    }
}

impl Drop for StandBack {
    fn drop(&mut self) {
        if self.changed {
            set(libc::SCHED_OTHER);
        }
    }
}

fn policy() -> libc::c_int {
    // SAFETY: asks about the calling thread and touches no memory.
    unsafe { libc::sched_getscheduler(0) }
}

/// Whether the kernel took it.
fn set(policy: libc::c_int) -> bool {
    // SAFETY: all zeros are a value of this structure of numbers.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: changes the calling thread alone; the structure lives until the call returns.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0;
    if !done {
        tracing::debug!("a thread keeps its scheduling policy: {}", io::Error::last_os_error());
    }
    done
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_are_started_meanwhile_stand_back_and_no_others() {
        let before = policy();
        let standing_back = StandBack::begin();
        let meanwhile = thread::spawn(policy).join().unwrap();
        drop(standing_back);
        let batch = if before == libc::SCHED_OTHER { libc::SCHED_BATCH } else { before };
        assert_eq!((meanwhile, policy(), thread::spawn(policy).join().unwrap()), (batch, before, before));
    }
}
