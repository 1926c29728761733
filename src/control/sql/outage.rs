//! Whether the database can be reached at present, and when it is worth another attempt.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::SqlError;

/// Between the first failure and the second attempt; doubles from there.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause between attempts, unless `retry_interval` is shorter: a database that came back is noticed by
/// then.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is known of the database.
#[derive(Debug)]
pub(super) struct Outage {
    /// None while it answers, or was never asked
    down: Mutex<Option<Down>>,
    /// Told when that changes
    over: Notify,
    /// How long after the first failure a look-up still waits for a better answer
    patience: Duration,
    pause_max: Duration,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    failures: u32,
    /// When somebody may try again
    next_try: Instant,
    cause: SqlError,
}

/// What a look-up is to do now.
#[derive(Debug)]
pub(super) enum Turn {
    /// Use the database
    Try,
    /// Wait until then, or until the outage is over
    Wait(Instant),
    /// Nothing better can be said in time
    GiveUp(SqlError),
}

impl Outage {
    pub(super) fn new(patience: Duration, retry_interval: Duration) -> Self {
        let pause_max = PAUSE_MAX.min(retry_interval).max(PAUSE_MIN);
        Self { down: Mutex::default(), over: Notify::new(), patience, pause_max }
    }

    /// What to do at `now` for a look-up that ends at `deadline`.
    ///
    /// During an outage one look-up at a time tries again. A young outage is waited for: servers fail over and
    /// restart. An old one fails new look-ups at once, with its cause.
    pub(super) fn turn(&self, now: Instant, deadline: Instant) -> Turn {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(down) = &mut *down else { return Turn::Try };
        if now >= deadline {
            return Turn::GiveUp(down.cause.clone());
        }
        if now >= down.next_try {
            // Mine. Should I never come back, somebody else may try after that.
            down.next_try = now + self.pause_max;
            return Turn::Try;
        }
        let is_worth_it =
            down.cause.is_passing() && now < down.since + self.patience && down.next_try < deadline;
        if is_worth_it { Turn::Wait(down.next_try) } else { Turn::GiveUp(down.cause.clone()) }
    }

    /// Waits until `until`, or until the outage is over.
    pub(super) async fn wait(&self, until: Instant) {
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.over.notified() => {}
        }
    }

    /// Why the database does not answer, if it does not.
    pub(super) fn cause(&self) -> Option<SqlError> {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.as_ref().map(|down| down.cause.clone())
    }

    /// It did not answer. Logs the first failure, and each whose cause is another.
    pub(super) fn failed(&self, now: Instant, cause: &SqlError) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, failures, is_known) = match &*down {
            Some(down) => (down.since, down.failures, down.cause == *cause),
            None => (now, 0, false),
        };
        if !is_known {
            warn!("SQL connection failed: {cause}");
        }
        let next_try = now + jittered(PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(self.pause_max));
        *down = Some(Down { since, failures: failures.saturating_add(1), next_try, cause: cause.clone() });
    }

    /// It answered.
    pub(super) fn worked(&self, now: Instant) {
        let ended = self.down.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(down) = ended {
            let seconds = (now - down.since).as_secs_f64();
            info!("the database answers again, after {seconds:.1} s and {} failed attempts", down.failures);
            self.over.notify_waiters();
        }
    }
}

/// Between half of `pause` and all of it, so that the proxies of a cloud do not return together.
fn jittered(pause: Duration) -> Duration {
    // The standard library's own source of randomness.
    let random = RandomState::new().hash_one(()) % 1_000;
    pause / 2 + pause / 2 * u32::try_from(random).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> SqlError {
        SqlError::Connect("refused".to_owned())
    }

    #[test]
    fn one_look_up_at_a_time_tries_during_an_outage() {
        let outage = Outage::new(SECOND * 10, SECOND * 10);
        let now = Instant::now();
        let deadline = now + SECOND * 10;
        assert!(matches!(outage.turn(now, deadline), Turn::Try));
        outage.failed(now, &refused());
        assert!(matches!(outage.turn(now, deadline), Turn::Wait(until) if until <= now + PAUSE_MIN));
        let later = now + PAUSE_MIN;
        assert!(matches!(outage.turn(later, deadline), Turn::Try));
        assert!(matches!(outage.turn(later, deadline), Turn::Wait(_)), "a second one at the same time");
        assert!(matches!(outage.turn(later + PAUSE_MAX, deadline), Turn::Try), "the first never came back");
        outage.worked(later);
        assert!(matches!(outage.turn(later, deadline), Turn::Try) && outage.cause().is_none());
    }

    #[test]
    fn an_old_outage_and_a_lasting_cause_fail_at_once() {
        let outage = Outage::new(SECOND * 10, SECOND * 10);
        let now = Instant::now();
        outage.failed(now, &SqlError::Refused("access denied".to_owned()));
        assert!(matches!(outage.turn(now, now + SECOND), Turn::GiveUp(SqlError::Refused(_))));
        let later = now + SECOND * 20;
        outage.failed(later, &refused());
        assert!(matches!(outage.turn(later, later + SECOND * 10), Turn::GiveUp(SqlError::Connect(_))));
        assert!(matches!(outage.turn(later + PAUSE_MAX, later + SECOND * 10), Turn::Try));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let outage = Outage::new(SECOND * 1_000, SECOND * 1_000);
        let now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            outage.failed(now, &refused());
            let Turn::Wait(until) = outage.turn(now, now + SECOND * 100) else { panic!("no pause") };
            pauses.push(until - now);
        }
        assert!(pauses[0] <= PAUSE_MIN && pauses[0] >= PAUSE_MIN / 2, "{pauses:?}");
        assert!(pauses[39] <= PAUSE_MAX && pauses[39] >= PAUSE_MAX / 2, "{pauses:?}");
    }
}
