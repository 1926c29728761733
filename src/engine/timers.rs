//! One deadline per session, on a hashed wheel.
//!
//! Sessions move their deadlines at almost every step, nearly always further away. So a move only stores
//! the new time; the wheel's old entry is looked at when its tick comes, and put further along if need be.

use std::time::{Duration, Instant};

use super::SessionId;

/// How exact a deadline is. Never early.
const TICK: Duration = Duration::from_nanos(TICK_NS);

/// A tick in nanoseconds.
const TICK_NS: u64 = 50_000_000;

/// Slots of the wheel, a multiple of 64: one round is 51 s. Deadlines further away go round again.
const SLOTS: usize = 1024;

/// The deadlines of one worker's sessions.
#[derive(Debug)]
pub(super) struct Timers {
    origin: Instant,
    /// The first tick not yet expired
    next_tick: u64,
    slots: Vec<Vec<SessionId>>,
    occupied: [u64; SLOTS / 64],
    armed: Vec<Armed>,
}

/// A session's deadline, and the tick at which the wheel will look at it.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    generation: u32,
    deadline: Option<Instant>,
    tick: Option<u64>,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            next_tick: 0,
            slots: vec![Vec::new(); SLOTS],
            occupied: [0; SLOTS / 64],
            armed: Vec::new(),
        }
    }

    /// Sets or clears a session's deadline.
    pub(super) fn set(&mut self, id: SessionId, deadline: Option<Instant>) {
        let index = id.index as usize;
        if index >= self.armed.len() {
            self.armed.resize(index + 1, Armed::default());
        }
        let armed = &mut self.armed[index];
        if armed.generation != id.generation {
            *armed = Armed { generation: id.generation, ..Armed::default() };
        }
        let before = std::mem::replace(&mut armed.deadline, deadline);
        // The usual case: further away than what the wheel will look at anyway.
        if armed.tick.is_some() && before.is_some_and(|before| deadline.is_none_or(|now| now >= before)) {
            return;
        }
        if let Some(deadline) = deadline {
            let tick = self.tick_of(deadline);
            if self.armed[index].tick.is_none_or(|armed| tick < armed) {
                self.insert(id, tick);
            }
        }
    }

    /// When the wheel must be looked at next.
    pub(super) fn next(&self) -> Option<Instant> {
        let start = slot_of(self.next_tick);
        // The slots from the present one to the end, then from the front.
        let ahead = (0..=self.occupied.len()).find_map(|step| {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            }
            (bits != 0).then(|| (word * 64 + bits.trailing_zeros() as usize + SLOTS - start) % SLOTS)
        })?;
        Some(self.origin + tick_duration(self.next_tick + ahead as u64 + 1))
    }

    /// Appends the sessions whose deadline has come, and forgets those deadlines.
    pub(super) fn expire(&mut self, now: Instant, expired: &mut Vec<SessionId>) {
        let Some(next) = self.next() else {
            self.next_tick = self.next_tick.max(self.whole_ticks(now));
            return;
        };
        if next > now {
            return;
        }
        let end = self.whole_ticks(now);
        // After a long sleep one round looks at every slot.
        let first = self.next_tick.max(end.saturating_sub(SLOTS as u64));
        self.next_tick = end;
        for tick in first..end {
            let slot = slot_of(tick);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            for id in std::mem::take(&mut self.slots[slot]) {
                self.look_at(id, tick, now, expired);
            }
        }
    }

    fn look_at(&mut self, id: SessionId, tick: u64, now: Instant, expired: &mut Vec<SessionId>) {
        let armed = &mut self.armed[id.index as usize];
        // An entry of a slot's earlier user, or one that a nearer entry has replaced.
        if armed.generation != id.generation || armed.tick.is_none_or(|armed| slot_of(armed) != slot_of(tick))
        {
            return;
        }
        armed.tick = None;
        match armed.deadline {
            Some(deadline) if deadline <= now => {
                armed.deadline = None;
                expired.push(id);
            }
            Some(deadline) => {
                let tick = self.tick_of(deadline);
                self.insert(id, tick);
            }
            None => {}
        }
    }

    fn insert(&mut self, id: SessionId, tick: u64) {
        // Beyond one round: at the far end, to be looked at again there.
        let tick = tick.clamp(self.next_tick, self.next_tick + SLOTS as u64 - 1);
        let slot = slot_of(tick);
        self.slots[slot].push(id);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.armed[id.index as usize].tick = Some(tick);
    }

    /// The tick whose end is not before `deadline`.
    fn tick_of(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.origin);
        nanoseconds(since).div_ceil(TICK_NS).saturating_sub(1)
    }

    fn whole_ticks(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        nanoseconds(since) / TICK_NS
    }
}

/// Enough for five hundred years: dividing 128 bits at every step would be felt.
fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

fn tick_duration(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> SessionId {
        SessionId { index, generation: 1 }
    }

    /// Sleeps exactly as long as the wheel says and returns (session, lateness) in order of expiry.
    fn run(timers: &mut Timers, mut now: Instant, until: Instant) -> Vec<(u32, Instant)> {
        let (mut fired, mut expired) = (Vec::new(), Vec::new());
        while let Some(next) = timers.next().filter(|next| *next <= until) {
            now = now.max(next);
            timers.expire(now, &mut expired);
            fired.extend(expired.drain(..).map(|id| (id.index, now)));
        }
        fired
    }

    #[test]
    fn deadlines_fire_in_order_never_early_and_at_most_a_tick_late() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let deadlines: Vec<_> = [700, 3, 51_200, 120_000, 50, 51, 1_000, 200_000]
            .into_iter()
            .map(|ms| start + Duration::from_millis(ms))
            .collect();
        for (index, deadline) in (0..).zip(&deadlines) {
            timers.set(id(index), Some(*deadline));
        }
        let fired = run(&mut timers, start, start + Duration::from_secs(300));
        assert_eq!(fired.len(), deadlines.len());
        for (index, at) in &fired {
            let deadline = deadlines[*index as usize];
            assert!(*at >= deadline && *at - deadline <= TICK, "{index}: {:?} late", *at - deadline);
        }
        assert!(fired.is_sorted_by_key(|(_, at)| *at));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_moved_or_cleared_deadline_does_not_fire_at_its_old_time() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let later = start + Duration::from_secs(9);
        timers.set(id(0), Some(start + Duration::from_secs(1)));
        timers.set(id(0), Some(later));
        timers.set(id(1), Some(start + Duration::from_secs(1)));
        timers.set(id(1), None);
        timers.set(id(2), Some(later));
        timers.set(id(2), Some(start + Duration::from_secs(2)));
        let fired = run(&mut timers, start, start + Duration::from_secs(60));
        assert_eq!(fired.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 0]);
        assert!(fired[1].1 >= later);
    }

    #[test]
    fn a_slots_next_user_does_not_inherit_a_deadline() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set(id(0), Some(start + Duration::from_secs(1)));
        timers.set(SessionId { index: 0, generation: 2 }, None);
        assert_eq!(run(&mut timers, start, start + Duration::from_secs(60)), []);
    }

    #[test]
    fn a_long_sleep_fires_everything_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for index in 0..2_000 {
            timers.set(id(index), Some(start + Duration::from_millis(u64::from(index) * 40)));
        }
        let mut expired = Vec::new();
        timers.expire(start + Duration::from_secs(3_600), &mut expired);
        timers.expire(start + Duration::from_secs(7_200), &mut expired);
        expired.sort_unstable();
        assert_eq!(expired, (0..2_000).map(id).collect::<Vec<_>>());
    }
}
