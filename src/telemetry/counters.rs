//! Counters and histograms, and those that each worker has to itself.
//!
//! Nothing here is a metric yet: `metrics` gives them names and sums over the workers. A worker is
//! the only writer of its [`WorkerCounters`], so that counting is a load and a store, without a locked
//! instruction and without a cache line that two workers write.

use std::marker::PhantomData;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::labels::{AcceptPause, ComputeTlsFailure, End, HandshakePhase, Label, Rejection, RfbFailure};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Any thread may.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n`, faster; only for the one thread that ever writes.
    pub fn add_alone(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One [`Count`] per value of a label.
#[derive(Debug)]
pub struct Counters<L> {
    counts: Box<[Count]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { counts: L::ALL.iter().map(|_| Count::default()).collect(), label: PhantomData }
    }
}

impl<L: Label> Counters<L> {
    /// The count of one value.
    #[must_use]
    pub fn of(&self, label: L) -> &Count {
        // A label's index is below its number of values, by the macro that makes both.
        &self.counts[label.index()]
    }
}

/// Times that a worker accepted nothing for a while. Here and not among the metrics, which only the control thread
/// needs: engines are built without it as well.
#[must_use]
pub fn accept_pauses() -> &'static Counters<AcceptPause> {
    static ACCEPT_PAUSES: LazyLock<Counters<AcceptPause>> = LazyLock::new(Counters::default);
    &ACCEPT_PAUSES
}

/// Connections that a worker left to another one; here for the same reason.
#[must_use]
pub fn handed_over() -> &'static Count {
    static HANDED_OVER: LazyLock<Count> = LazyLock::new(Count::default);
    &HANDED_OVER
}

/// How long something took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds_ms: &'static [u64],
    /// One per bound, and one for what is longer
    buckets: Box<[Count]>,
    sum_us: Count,
}

/// Bounds for steps that a person waits for.
pub const STEP_BOUNDS_MS: &[u64] =
    &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// Bounds for the lives of sessions.
pub const SESSION_BOUNDS_MS: &[u64] =
    &[1_000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 43_200_000, 86_400_000, 604_800_000];

impl Histogram {
    /// An empty histogram with these bounds, which ascend.
    #[must_use]
    pub fn new(bounds_ms: &'static [u64]) -> Self {
        let buckets = (0..=bounds_ms.len()).map(|_| Count::default()).collect();
        Self { bounds_ms, buckets, sum_us: Count::default() }
    }

    /// Counts one duration. Any thread may.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let index = self.bounds_ms.partition_point(|bound| bound.saturating_mul(1_000) < us);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
        }
        self.sum_us.add(us);
    }

    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            bounds_ms: self.bounds_ms,
            buckets: self.buckets.iter().map(Count::get).collect(),
            sum_us: self.sum_us.get(),
        }
    }
}

/// The contents of one histogram, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Upper bounds in milliseconds
    pub bounds_ms: &'static [u64],
    /// One number per bound, not cumulative, and the rest
    pub buckets: Vec<u64>,
    /// Sum in microseconds
    pub sum_us: u64,
}

impl Totals {
    /// Adds another histogram of the same bounds.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.bounds_ms, other.bounds_ms);
        for (mine, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.wrapping_add(*more);
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

/// One [`Histogram`] per value of a label.
#[derive(Debug)]
pub struct Histograms<L> {
    histograms: Box<[Histogram]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Histograms<L> {
    /// Empty histograms with these bounds.
    #[must_use]
    pub fn new(bounds_ms: &'static [u64]) -> Self {
        Self { histograms: L::ALL.iter().map(|_| Histogram::new(bounds_ms)).collect(), label: PhantomData }
    }

    /// The histogram of one value.
    #[must_use]
    pub fn of(&self, label: L) -> &Histogram {
        &self.histograms[label.index()]
    }
}

/// What one worker counts. Read by others at any time.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Connections accepted
    pub connections_opened: Count,
    /// Of those, the ones that are gone
    pub connections_closed: Count,
    /// Connections upgraded to WebSocket
    pub sessions_opened: Count,
    /// Of those, the ones that have ended, by reason
    pub sessions_ended: Counters<End>,
    /// From the start of a relay to its end
    pub session_duration: Histogram,
    /// Console bytes from tenants, all copied: their frames are masked, so every byte is touched
    pub from_tenant: Count,
    /// Console bytes from compute nodes, copied
    pub from_compute: Count,
    /// Console bytes from compute nodes, spliced
    pub spliced: Count,
    /// Changes between copying and splicing
    pub path_switches: Count,
    /// Consoles whose TLS towards the tenant the kernel took over
    pub kernel_tls: Count,
    /// Sessions refused
    pub rejected: Counters<Rejection>,
    /// RFB negotiations that failed
    pub rfb_failed: Counters<RfbFailure>,
    /// TLS with compute nodes from the first byte on that failed
    pub compute_tls_failed: Counters<ComputeTlsFailure>,
    /// Phases between upgrade and relay
    pub handshake: Histograms<HandshakePhase>,
    /// TCP connects to compute nodes that were made
    pub backend_connect: Histogram,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            connections_opened: Count::default(),
            connections_closed: Count::default(),
            sessions_opened: Count::default(),
            sessions_ended: Counters::default(),
            session_duration: Histogram::new(SESSION_BOUNDS_MS),
            from_tenant: Count::default(),
            from_compute: Count::default(),
            spliced: Count::default(),
            path_switches: Count::default(),
            kernel_tls: Count::default(),
            rejected: Counters::default(),
            rfb_failed: Counters::default(),
            compute_tls_failed: Counters::default(),
            handshake: Histograms::new(STEP_BOUNDS_MS),
            backend_connect: Histogram::new(STEP_BOUNDS_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[1, 10, 100]);
        for us in [0, 1_000, 1_001, 10_000, 100_000, 100_001, 9_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let totals = histogram.totals();
        assert_eq!(totals.buckets, [2, 2, 1, 2]);
        assert_eq!(totals.sum_us, 9_212_002);
    }

    #[test]
    fn totals_of_two_workers_add_up() {
        let (first, second) = (Histogram::new(&[1]), Histogram::new(&[1]));
        first.observe(Duration::from_millis(1));
        second.observe(Duration::from_millis(2));
        let mut totals = first.totals();
        totals.merge(&second.totals());
        assert_eq!((totals.buckets, totals.sum_us), (vec![1, 1], 3_000));
    }

    #[test]
    fn every_value_of_a_label_has_a_count_of_its_own() {
        let counters = Counters::<End>::default();
        for (n, end) in (1..).zip(End::ALL) {
            counters.of(*end).add_alone(n);
        }
        let counts: Vec<_> = End::ALL.iter().map(|end| counters.of(*end).get()).collect();
        assert!(counts.is_sorted() && counts.first() == Some(&1));
    }
}
