//! Which broker to try next, and how long to wait before.
//!
//! The rules are kombu's (`kombu/connection.py`, `_ensure_connection` and `completes_cycle`) under
//! oslo.messaging's options: the next host at once, a pause only when all have failed, and pauses that grow
//! by addition, not by multiplication.

use std::time::Duration;

/// `kombu_failover_strategy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// One order for the life of the process
    RoundRobin,
    /// A new order each time around
    Shuffle,
}

/// The pauses between rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// `rabbit_retry_interval`: the first
    pub start: Duration,
    /// `rabbit_retry_backoff`: what each has more than the one before
    pub step: Duration,
    /// `rabbit_interval_max`: the longest
    pub max: Duration,
}

/// Walks the hosts of one transport URL.
#[derive(Debug)]
pub(super) struct Hosts {
    order: Vec<usize>,
    at: usize,
    failed_in_row: usize,
    rounds: u32,
    failover: Failover,
    backoff: Backoff,
}

impl Hosts {
    /// Hosts `0..count`, in an order of this process's own: of many proxies not all shall begin with the same.
    pub(super) fn new(count: usize, failover: Failover, backoff: Backoff) -> Self {
        let mut order: Vec<usize> = (0..count).collect();
        shuffle(&mut order);
        Self { order, at: 0, failed_in_row: 0, rounds: 0, failover, backoff }
    }

    /// The host to try now.
    pub(super) fn current(&self) -> usize {
        self.order.get(self.at).copied().unwrap_or(0)
    }

    /// The current host did not work. The pause before the next attempt, once every host has failed.
    pub(super) fn failed(&mut self) -> Option<Duration> {
        self.at += 1;
        if self.at >= self.order.len() {
            self.at = 0;
            if self.failover == Failover::Shuffle {
                shuffle(&mut self.order);
            }
        }
        self.failed_in_row += 1;
        if self.failed_in_row < self.order.len() {
            return None;
        }
        self.failed_in_row = 0;
        let pause = self.backoff.start.saturating_add(self.backoff.step.saturating_mul(self.rounds));
        self.rounds = self.rounds.saturating_add(1);
        Some(pause.min(self.backoff.max))
    }

    /// The current host works: pauses begin anew, and it is tried first when it breaks.
    pub(super) fn worked(&mut self) {
        self.failed_in_row = 0;
        self.rounds = 0;
    }
}

fn shuffle(order: &mut [usize]) {
    for last in (1..order.len()).rev() {
        order.swap(last, super::random::below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { start: Duration::from_secs(1), step: Duration::from_secs(2), max: Duration::from_secs(30) };

    #[test]
    fn one_dead_host_is_tried_after_1_3_5_7_seconds_up_to_the_most() {
        let mut hosts = Hosts::new(1, Failover::RoundRobin, BACKOFF);
        let pauses: Vec<u64> = (0..20).map(|_| hosts.failed().unwrap().as_secs()).collect();
        assert_eq!(pauses[..5], [1, 3, 5, 7, 9]);
        assert_eq!(pauses[14..], [29, 30, 30, 30, 30, 30]);
        hosts.worked();
        assert_eq!(hosts.failed(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_next_host_is_tried_at_once_and_a_pause_comes_after_the_last() {
        let mut hosts = Hosts::new(3, Failover::RoundRobin, BACKOFF);
        let mut round = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            round.push(hosts.current());
            pauses.push(hosts.failed().map(|pause| pause.as_secs()));
        }
        assert_eq!(pauses, [None, None, Some(1), None, None, Some(3)]);
        assert_eq!(round[..3], round[3..]);
        round[..3].sort_unstable();
        assert_eq!(round[..3], [0, 1, 2]);
    }

    #[test]
    fn the_order_varies_between_processes_and_with_shuffle_between_rounds() {
        let first = |_| Hosts::new(8, Failover::RoundRobin, BACKOFF).order;
        let orders: Vec<_> = (0..20).map(first).collect();
        assert!(orders.iter().any(|order| *order != orders[0]));
        let mut hosts = Hosts::new(8, Failover::Shuffle, BACKOFF);
        let mut round = |_| {
            let order = hosts.order.clone();
            let paused = (0..8).filter_map(|_| hosts.failed()).count();
            assert_eq!(paused, 1);
            order
        };
        let rounds: Vec<_> = (0..20).map(&mut round).collect();
        assert!(rounds.iter().any(|order| *order != rounds[0]));
    }
}
