//! Threads that nobody's next key waits for: they are not to take a processor from a worker.
#![allow(unsafe_code, reason = "sched_setscheduler(2) has no safe form")]

/// Lets this thread, and those that it starts, wait until a worker that has woken them sleeps itself (`SCHED_BATCH`,
/// sched(7)), unless another processor is free. A worker that is stopped for each log line and each question changes
/// threads several times for each session; like this it does for each batch of them.
///
/// Whoever has given the process another policy keeps it. Nor does it matter where the kernel refuses.
pub(crate) fn enter() {
    // SAFETY: asks about the calling thread and touches no memory.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy != libc::SCHED_OTHER {
        return;
    }
    // SAFETY: all zeros are a value of this structure of numbers.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: changes the calling thread alone; the structure lives until the call returns.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) } != 0 {
        tracing::debug!("a thread keeps its scheduling policy: {}", std::io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    fn policy() -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_and_those_it_starts_stand_back_and_no_other_does() {
        let before = policy();
        let inside = std::thread::spawn(|| {
            super::enter();
            (policy(), std::thread::spawn(policy).join().unwrap())
        });
        let batch = if before == libc::SCHED_OTHER { libc::SCHED_BATCH } else { before };
        assert_eq!(inside.join().unwrap(), (batch, batch));
        assert_eq!(policy(), before);
    }
}
