//! One deadline per session, on a hashed wheel.
//!
//! Sessions move their deadlines at almost every step, nearly always further away. So a move only stores
//! the new time; the wheel's old entry is looked at when its tick comes, and put further along if need be. Entries are
//! links between the sessions' own places, so that putting one elsewhere allocates nothing.

use std::time::{Duration, Instant};

use super::SessionId;

/// How exact a deadline is. Never early.
const TICK: Duration = Duration::from_nanos(TICK_NS);

/// A tick in nanoseconds.
const TICK_NS: u64 = 50_000_000;

/// Slots of the wheel, a multiple of 64: one round is 51 s. Deadlines further away go round again.
const SLOTS: usize = 1024;

/// No session: an index that no slot of an engine has.
const NOBODY: u32 = u32::MAX;

/// No deadline: nanoseconds that no clock reaches.
const NEVER: u64 = u64::MAX;

/// No slot.
const NOWHERE: u16 = u16::MAX;

/// The deadlines of one worker's sessions.
#[derive(Debug)]
pub(super) struct Timers {
    origin: Instant,
    /// The first tick not yet expired
    next_tick: u64,
    /// The first session of each slot, or [`NOBODY`]
    slots: Vec<u32>,
    occupied: [u64; SLOTS / 64],
    /// When the wheel must be looked at next: asked for in every turn, and changed in few
    next: Option<Instant>,
    armed: Vec<Armed>,
}

/// A session's deadline, and where the wheel will look at it. Small, since each session has one.
#[derive(Clone, Copy, Debug)]
struct Armed {
    /// In nanoseconds since the origin, or [`NEVER`]
    deadline: u64,
    generation: u32,
    /// Its neighbours in the slot
    before: u32,
    behind: u32,
    /// Or [`NOWHERE`]
    slot: u16,
}

impl Armed {
    const NOT: Self = Self { deadline: NEVER, generation: 0, before: NOBODY, behind: NOBODY, slot: NOWHERE };
}

impl Timers {
    /// With room for the deadlines of that many sessions.
    pub(super) fn new(now: Instant, room: usize) -> Self {
        Self {
            origin: now,
            next_tick: 0,
            slots: vec![NOBODY; SLOTS],
            occupied: [0; SLOTS / 64],
            next: None,
            armed: Vec::with_capacity(room),
        }
    }

    /// Sets or clears a session's deadline.
    pub(super) fn set(&mut self, id: SessionId, deadline: Option<Instant>) {
        let index = id.index as usize;
        if index >= self.armed.len() {
            self.armed.resize(index + 1, Armed::NOT);
        }
        if self.armed[index].generation != id.generation {
            self.unlink(id.index);
            self.armed[index] = Armed { generation: id.generation, ..Armed::NOT };
        }
        let deadline = deadline.map_or(NEVER, |at| nanoseconds(at.saturating_duration_since(self.origin)));
        let armed = &mut self.armed[index];
        let before = std::mem::replace(&mut armed.deadline, deadline);
        let slot = armed.slot;
        // The usual case: further away than what the wheel will look at anyway.
        if slot != NOWHERE && deadline >= before {
            return;
        }
        if deadline != NEVER {
            let tick = tick_of(deadline);
            if slot == NOWHERE || tick < self.tick_at(slot.into()) {
                self.unlink(id.index);
                self.insert(id.index, tick);
            }
        }
    }

    /// When the wheel must be looked at next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The end of the first tick that has a session.
    fn first_occupied(&self) -> Option<Instant> {
        let start = slot_of(self.next_tick);
        // The slots from the present one to the end, then from the front.
        let first = (0..=self.occupied.len()).find_map(|step| {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            }
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })?;
        Some(self.end_of(self.tick_at(first)))
    }

    /// The tick that a slot stands for until it is looked at.
    fn tick_at(&self, slot: usize) -> u64 {
        self.next_tick + ((slot + SLOTS - slot_of(self.next_tick)) % SLOTS) as u64
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
        let (now, end) = (nanoseconds(now.saturating_duration_since(self.origin)), self.whole_ticks(now));
        // After a long sleep one round looks at every slot.
        let first = self.next_tick.max(end.saturating_sub(SLOTS as u64));
        self.next_tick = end;
        for tick in first..end {
            let slot = slot_of(tick);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            let mut index = std::mem::replace(&mut self.slots[slot], NOBODY);
            while index != NOBODY {
                // Looking at it may put it elsewhere.
                let behind = self.armed[index as usize].behind;
                self.look_at(index, now, expired);
                index = behind;
            }
        }
        self.next = self.first_occupied();
    }

    /// Looks at a session whose slot has been emptied.
    fn look_at(&mut self, index: u32, now: u64, expired: &mut Vec<SessionId>) {
        let armed = &mut self.armed[index as usize];
        armed.slot = NOWHERE;
        if armed.deadline <= now {
            armed.deadline = NEVER;
            expired.push(SessionId { index, generation: armed.generation });
        } else if armed.deadline != NEVER {
            let tick = tick_of(armed.deadline);
            self.insert(index, tick);
        }
    }

    /// Puts a session that is in no slot into that of `tick`.
    fn insert(&mut self, index: u32, tick: u64) {
        // Beyond one round: at the far end, to be looked at again there.
        let tick = tick.clamp(self.next_tick, self.next_tick + SLOTS as u64 - 1);
        let slot = slot_of(tick);
        let behind = std::mem::replace(&mut self.slots[slot], index);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        if behind != NOBODY {
            self.armed[behind as usize].before = index;
        }
        let armed = &mut self.armed[index as usize];
        (armed.before, armed.behind) = (NOBODY, behind);
        armed.slot = u16::try_from(slot).unwrap_or(NOWHERE);
        let at = self.end_of(tick);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Takes a session out of its slot, if it is in one.
    fn unlink(&mut self, index: u32) {
        let Armed { slot, before, behind, .. } = self.armed[index as usize];
        if slot == NOWHERE {
            return;
        }
        self.armed[index as usize].slot = NOWHERE;
        if behind != NOBODY {
            self.armed[behind as usize].before = before;
        }
        if before != NOBODY {
            self.armed[before as usize].behind = behind;
            return;
        }
        let slot = usize::from(slot);
        self.slots[slot] = behind;
        if behind == NOBODY {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            self.next = self.first_occupied();
        }
    }

    fn end_of(&self, tick: u64) -> Instant {
        self.origin + tick_duration(tick + 1)
    }

    fn whole_ticks(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        nanoseconds(since) / TICK_NS
    }
}

/// The tick whose end is not before a deadline.
fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(TICK_NS).saturating_sub(1)
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
        let mut timers = Timers::new(start, 0);
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
        let mut timers = Timers::new(start, 0);
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
        let mut timers = Timers::new(start, 0);
        timers.set(id(0), Some(start + Duration::from_secs(1)));
        timers.set(SessionId { index: 0, generation: 2 }, None);
        assert_eq!(run(&mut timers, start, start + Duration::from_secs(60)), []);
    }

    #[test]
    fn sessions_of_one_slot_leave_it_in_any_order() {
        let start = Instant::now();
        let (near, far) = (start + Duration::from_secs(1), start + Duration::from_secs(9));
        for leaving in [[0, 1], [0, 4], [1, 2], [2, 1], [3, 4], [4, 3]] {
            let mut timers = Timers::new(start, 0);
            (0..5).for_each(|index| timers.set(id(index), Some(far)));
            for index in leaving {
                timers.set(id(index), Some(near));
            }
            let fired = run(&mut timers, start, start + Duration::from_secs(60));
            let mut indexes: Vec<_> = fired.iter().map(|(index, _)| *index).collect();
            let (first, rest) = indexes.split_at_mut(2);
            first.sort_unstable();
            rest.sort_unstable();
            let (mut early, stayed) = (leaving, (0..5).filter(|index| !leaving.contains(index)));
            early.sort_unstable();
            assert_eq!((&*first, rest.to_vec()), (&early[..], stayed.collect::<Vec<_>>()));
            assert_eq!(timers.next(), None);
        }
    }

    #[test]
    fn a_long_sleep_fires_everything_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start, 0);
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
