//! When the compute node's bytes are spliced instead of copied.
//!
//! Copying is cheaper for small steps, splicing for large ones; where they cross depends on the machine, which
//! is why the bounds are options (`splice_from_bytes` and its neighbours). A direction starts by copying, and is bulk after two full reads in short
//! succession; it is no longer bulk after two small steps in a row, or one behind a pause.

use std::time::Duration;

use super::limits::Limits;

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Bulk {
    spliced: bool,
    /// Steps in a row that speak for the other mode
    streak: u8,
    /// Time of the last step in milliseconds since the relay began, less whole turns of the counter: all
    /// that is asked of it is how long ago that was
    last_ms: u32,
    switches: u32,
}

/// Steps in a row that change the mode.
const STREAK: u8 = 2;

/// A step after so long a pause is judged alone: the burst before is over.
const PAUSE_MS: u32 = 50;

impl Bulk {
    pub(super) fn new() -> Self {
        Self { spliced: false, streak: 0, last_ms: 0, switches: 0 }
    }

    /// Whether the next read should be spliced.
    pub(super) fn is_spliced(&self) -> bool {
        self.spliced
    }

    /// How often the mode has changed, to and fro.
    pub(super) fn switches(&self) -> u32 {
        self.switches
    }

    /// A read was copied, so long after the relay began.
    pub(super) fn copied(&mut self, since: Duration, len: u64, limits: &Limits) {
        let pause_ms = self.pause_ms(since);
        if limits.splice_from_bytes == 0 {
            return;
        }
        let full = len >= limits.splice_from_bytes;
        // While spliced, a copy means that the engine has no pipe: the mode stays, the next may have one.
        if !self.spliced && full {
            let in_time = u64::from(pause_ms) <= limits.splice_window_ms;
            self.streak = if in_time { self.streak + 1 } else { 1 };
            if self.streak >= STREAK {
                self.switch(true);
            }
        } else {
            self.step(pause_ms, len, limits);
        }
    }

    /// A read went into the pipe, so long after the relay began.
    pub(super) fn piped(&mut self, since: Duration, len: u64, limits: &Limits) {
        let pause_ms = self.pause_ms(since);
        self.step(pause_ms, len, limits);
    }

    fn pause_ms(&mut self, since: Duration) -> u32 {
        let now_ms = u32::try_from(since.as_millis() % (1 << 32)).unwrap_or(0);
        now_ms.wrapping_sub(std::mem::replace(&mut self.last_ms, now_ms))
    }

    fn step(&mut self, pause_ms: u32, len: u64, limits: &Limits) {
        if !self.spliced || len >= limits.splice_until_bytes {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        if self.streak >= STREAK || pause_ms > PAUSE_MS {
            self.switch(false);
        }
    }

    fn switch(&mut self, spliced: bool) {
        self.spliced = spliced;
        self.streak = 0;
        self.switches = self.switches.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 65_536;

    /// Feeds steps of (milliseconds since the one before, length) and returns the mode after each.
    fn modes(steps: &[(u64, u64)]) -> Vec<bool> {
        let (modes, switches) = stepped(steps);
        let changes = [&[false], &modes[..]].concat().windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(switches as usize, changes, "every change is counted");
        modes
    }

    fn stepped(steps: &[(u64, u64)]) -> (Vec<bool>, u32) {
        let limits = Limits::default();
        // So long that the counter has turned.
        let mut now = Duration::from_secs(100 * 24 * 3600);
        let mut bulk = Bulk::new();
        bulk.copied(now, 1, &limits);
        let modes = steps
            .iter()
            .map(|(ms, len)| {
                now += Duration::from_millis(*ms);
                if bulk.is_spliced() {
                    bulk.piped(now, *len, &limits)
                } else {
                    bulk.copied(now, *len, &limits)
                }
                bulk.is_spliced()
            })
            .collect();
        (modes, bulk.switches())
    }

    #[test]
    fn two_full_reads_in_short_succession_are_bulk() {
        assert_eq!(modes(&[(0, FULL), (5, FULL)]), [false, true]);
        assert_eq!(modes(&[(0, FULL), (21, FULL), (5, FULL)]), [false, false, true]);
        assert_eq!(modes(&[(0, FULL), (5, FULL - 1), (5, FULL)]), [false; 3]);
    }

    #[test]
    fn two_small_steps_or_one_behind_a_pause_are_not() {
        let bulk = [(0, FULL), (5, FULL)];
        let after = |steps: &[(u64, u64)]| modes(&[&bulk, steps].concat()).split_off(2);
        assert_eq!(after(&[(5, 100), (5, 100)]), [true, false]);
        assert_eq!(after(&[(5, 100), (5, 40_000), (5, 100)]), [true; 3]);
        assert_eq!(after(&[(60, 100)]), [false]);
        assert_eq!(after(&[(60, 300_000)]), [true]);
    }

    #[test]
    fn splicing_can_be_switched_off() {
        let mut limits = Limits::default();
        assert!(limits.set("splice_from_bytes", 0));
        let mut bulk = Bulk::new();
        for _ in 0..10 {
            bulk.copied(Duration::ZERO, FULL, &limits);
        }
        assert!(!bulk.is_spliced());
    }
}
