//! Tokens that opened nothing a moment ago: noVNC can retry a dead one for ever.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::console::TokenHash;

/// A bounded memory of refusals. What opened something is never in it.
#[derive(Debug)]
pub(super) struct Misses {
    until: HashMap<TokenHash, Instant>,
    /// In the order they were noted, which is the order they end in
    order: VecDeque<(Instant, TokenHash)>,
    /// For how long one is remembered
    ttl: Duration,
    entries_max: usize,
}

impl Misses {
    pub(super) fn new(ttl: Duration, entries_max: usize) -> Self {
        Self { until: HashMap::new(), order: VecDeque::new(), ttl, entries_max }
    }

    pub(super) fn contains(&self, hash: &TokenHash, now: Instant) -> bool {
        self.until.get(hash).is_some_and(|until| now < *until)
    }

    /// Remembers that `hash` opened nothing. A full memory forgets its oldest entry.
    pub(super) fn note(&mut self, hash: &TokenHash, now: Instant) {
        if self.ttl.is_zero() || self.entries_max == 0 {
            return;
        }
        while self
            .order
            .front()
            .is_some_and(|(until, _)| *until <= now || self.order.len() >= self.entries_max)
        {
            if let Some((until, oldest)) = self.order.pop_front()
                && self.until.get(&oldest) == Some(&until)
            {
                self.until.remove(&oldest);
            }
        }
        let until = now + self.ttl;
        self.until.insert(*hash, until);
        self.order.push_back((until, *hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(1);

    fn hash(number: u8) -> TokenHash {
        TokenHash([number; 32])
    }

    #[test]
    fn a_miss_is_remembered_for_its_time() {
        let mut misses = Misses::new(TTL, 8);
        let now = Instant::now();
        misses.note(&hash(1), now);
        assert!(misses.contains(&hash(1), now) && !misses.contains(&hash(2), now));
        assert!(!misses.contains(&hash(1), now + TTL));
        misses.note(&hash(1), now + TTL / 2);
        assert!(misses.contains(&hash(1), now + TTL), "noted again");
    }

    #[test]
    fn the_memory_is_bounded_and_can_be_off() {
        let mut misses = Misses::new(TTL, 8);
        let now = Instant::now();
        for number in 0..100 {
            misses.note(&hash(number), now);
            assert!(misses.until.len() <= 8 && misses.order.len() <= 8);
        }
        assert!(misses.contains(&hash(99), now) && !misses.contains(&hash(0), now));
        misses.note(&hash(0), now + TTL * 2);
        assert_eq!(misses.until.len(), 1, "what has ended is forgotten");
        for mut off in [Misses::new(Duration::ZERO, 8), Misses::new(TTL, 0)] {
            off.note(&hash(1), now);
            assert!(!off.contains(&hash(1), now));
        }
    }
}
