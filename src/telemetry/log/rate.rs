//! `rate_limit_*`: most lines per interval (`oslo_log/rate_limit.py`).

use std::time::{Duration, Instant};

use super::record::{Place, Record, Severity};
use crate::telemetry::RateLimit;

/// Counts lines.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    count: u64,
    until: Instant,
}

/// What becomes of a record.
pub(super) enum Verdict {
    Pass,
    Drop,
    /// The first one too many: this is said in its place
    Say(Record),
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, count: 0, until: now + Duration::from_secs(limit.interval_s) }
    }

    pub(super) fn judge(&mut self, record: &Record, now: Instant) -> Verdict {
        if self.limit.except_level.is_some_and(|level| record.severity.number() >= level) {
            return Verdict::Pass;
        }
        if now >= self.until {
            *self = Self { count: 1, ..Self::new(self.limit, now) };
            return Verdict::Pass;
        }
        self.count = self.count.saturating_add(1);
        if self.count <= self.limit.burst {
            return Verdict::Pass;
        }
        if self.count > self.limit.burst + 1 {
            return Verdict::Drop;
        }
        // Python's own line counts, too, but is let through.
        self.count += 1;
        let (burst, interval) = (self.limit.burst, self.limit.interval_s);
        let message = format!("Logging rate limit: drop after {burst} records/{interval} sec");
        let mut said = Record::new(Severity::Error, "root", message, Place::default());
        said.request = record.request;
        Verdict::Say(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_burst_is_dropped_until_the_interval_ends() {
        let start = Instant::now();
        let limit = RateLimit { burst: 2, interval_s: 10, except_level: Some(40) };
        let mut limiter = Limiter::new(limit, start);
        let mut judge = |severity, seconds| {
            let record = Record::new(severity, "nova", String::new(), Place::default());
            match limiter.judge(&record, start + Duration::from_secs(seconds)) {
                Verdict::Pass => "pass".to_owned(),
                Verdict::Drop => "drop".to_owned(),
                Verdict::Say(record) => record.message,
            }
        };
        let (info, error) = (Severity::Info, Severity::Error);
        assert_eq!([judge(info, 0), judge(info, 0)], ["pass", "pass"]);
        assert_eq!(judge(info, 1), "Logging rate limit: drop after 2 records/10 sec");
        assert_eq!([judge(info, 2), judge(error, 2), judge(info, 9)], ["drop", "pass", "drop"]);
        assert_eq!([judge(info, 10), judge(info, 10)], ["pass", "pass"]);
    }
}
