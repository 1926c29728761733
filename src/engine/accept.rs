//! What both engines do alike about accepting: which failures pass, how long to rest after the others, and
//! the options of a new socket.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// How long the listener rests after the process ran out of descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(1_000);

/// Errors of accept(2) that concern the one connection, which is gone by then.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
        || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::EPERM))
}

/// How fast a listener takes connections.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two connections, in the long run; zero for any pace
    interval: Duration,
    /// When the next one would be due if they came evenly
    due: Option<Instant>,
}

/// How much of its pace a listener may be ahead: connections come in bursts.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// At most `per_second`, or any number with 0.
    pub(super) fn new(per_second: u64) -> Self {
        let interval = Duration::from_secs(1).as_nanos().checked_div(per_second.into()).unwrap_or(0);
        Self { interval: Duration::from_nanos(u64::try_from(interval).unwrap_or(0)), due: None }
    }

    /// Counts one connection.
    ///
    /// # Errors
    ///
    /// It is too early for one; the time from which on it is not.
    pub(super) fn take(&mut self, now: impl FnOnce() -> Instant) -> Result<(), Instant> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let now = now();
        let due = self.due.unwrap_or(now).max(now);
        if due.duration_since(now) >= BURST {
            return Err(due - BURST + self.interval);
        }
        self.due = Some(due + self.interval);
        Ok(())
    }

    /// There was no connection to be counted.
    pub(super) fn give_back(&mut self) {
        self.due = self.due.and_then(|due| due.checked_sub(self.interval));
    }
}

/// Sets what the tenants' sockets inherit from the listener on one that we connect. Keystrokes must not wait for the
/// acknowledgement of earlier ones.
pub(super) fn set_options(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_taken_at_once_and_then_one_at_a_time() {
        let mut pace = Pace::new(10);
        let start = Instant::now();
        let taken = |pace: &mut Pace, now: Instant| {
            let mut taken = 0;
            loop {
                match pace.take(|| now) {
                    Ok(()) => taken += 1,
                    Err(until) => return (taken, until),
                }
            }
        };
        let (first, until) = taken(&mut pace, start);
        assert_eq!((first, until), (10, start + Duration::from_millis(100)));
        let (then, until) = taken(&mut pace, until);
        assert_eq!((then, until), (1, start + Duration::from_millis(200)));
        // What was not used in a quiet time is not kept for longer than a second.
        assert_eq!(taken(&mut pace, start + Duration::from_secs(60)).0, 10);
        assert!((0..1_000).all(|_| Pace::new(0).take(Instant::now).is_ok()));

        let mut pace = Pace::new(10);
        for _ in 0..100 {
            pace.take(|| start).unwrap();
            pace.give_back();
        }
        assert_eq!(taken(&mut pace, start).0, 10);
    }
}
