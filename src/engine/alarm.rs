//! One timer of the kernel's for all deadlines of a worker.
//!
//! A wait with a time-out has the kernel start a timer and stop it again, for each key that is pressed. So engines wait
//! for ever, for this timer's descriptor among others. It is set anew only where a deadline is earlier than all before
//! it; those that went away meanwhile make it ring for nothing, once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A `timerfd` (timerfd_create(2)), which becomes readable at the first deadline.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    /// When it rings
    set_for: Option<Instant>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    ///
    /// The kernel gave no descriptor.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, set_for: None })
    }

    /// Makes it ring at `deadline` at the latest, and says whether that is still to come. `now` is when the turn
    /// began: what it took since then makes the alarm late by as much, and never early.
    ///
    /// # Errors
    ///
    /// The kernel did not set the timer.
    pub(super) fn set(&mut self, deadline: Option<Instant>, now: Instant) -> io::Result<bool> {
        let Some(deadline) = deadline else { return Ok(true) };
        let left = deadline.saturating_duration_since(now);
        // A timer of no time would never ring.
        if left.is_zero() {
            return Ok(false);
        }
        if self.set_for.is_none_or(|set_for| deadline < set_for) {
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            self.timer.set(once, TimerSetTimeFlags::empty())?;
            self.set_for = Some(deadline);
        }
        Ok(true)
    }

    /// It has rung, and is to be set again for what comes next.
    pub(super) fn rang(&mut self) {
        self.set_for = None;
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Whether it rings within this time.
    fn rings(alarm: &Alarm, within: Duration) -> bool {
        let mut descriptors = [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::try_from(within).unwrap()).unwrap() == 1
    }

    #[test]
    fn it_rings_at_the_earliest_deadline_and_not_before_it() {
        let (mut alarm, now) = (Alarm::new().unwrap(), Instant::now());
        let earliest = now + Duration::from_millis(30);
        for deadline in [Some(now + MINUTE), Some(earliest), None, Some(now + 2 * MINUTE)] {
            assert!(alarm.set(deadline, now).unwrap());
        }
        assert!(rings(&alarm, MINUTE));
        assert!(Instant::now() >= earliest);
    }

    #[test]
    fn setting_it_again_ends_its_ringing() {
        let (mut alarm, now) = (Alarm::new().unwrap(), Instant::now());
        assert!(alarm.set(Some(now + Duration::from_millis(1)), now).unwrap());
        assert!(rings(&alarm, MINUTE));
        alarm.rang();
        let now = Instant::now();
        assert!(alarm.set(Some(now + MINUTE), now).unwrap());
        assert!(!rings(&alarm, Duration::ZERO));
    }

    #[test]
    fn a_deadline_that_has_come_needs_no_alarm() {
        let (mut alarm, now) = (Alarm::new().unwrap(), Instant::now());
        assert!(!alarm.set(Some(now), now).unwrap());
        assert!(!alarm.set(now.checked_sub(Duration::from_millis(1)), now).unwrap());
        assert!(!rings(&alarm, Duration::ZERO));
    }
}
