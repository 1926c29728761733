//! Rotation by time: Python's `TimedRotatingFileHandler`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{ToSpan, Zoned};

use super::clock::{Clock, strftime};
use crate::telemetry::When;

/// When a file is put aside, and under which name.
#[derive(Debug)]
pub(super) struct Schedule {
    when: When,
    interval: Duration,
    count: usize,
    due: SystemTime,
}

impl Schedule {
    /// A schedule that began at `since`.
    pub(super) fn new(when: When, interval: u32, count: usize, clock: &Clock, since: SystemTime) -> Self {
        let unit = match when {
            When::Seconds => 1,
            When::Minutes => 60,
            When::Hours => 60 * 60,
            When::Days | When::Midnight => 24 * 60 * 60,
            When::Weekday(_) => 7 * 24 * 60 * 60,
        };
        let interval = Duration::from_secs(unit * u64::from(interval.max(1)));
        // Python counts in whole seconds.
        let whole = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(whole);
        let mut schedule = Self { when, interval, count, due: since };
        schedule.due = schedule.next(clock, since);
        schedule
    }

    pub(super) fn is_due(&self, at: SystemTime) -> bool {
        at >= self.due
    }

    /// Moves the file aside, named for the beginning of its interval, and removes the oldest.
    pub(super) fn roll(&mut self, path: &Path, clock: &Clock, at: SystemTime) {
        let begun = self.due.checked_sub(self.interval).unwrap_or(self.due);
        let name = with_suffix(path, &strftime(&clock.local(begun), self.suffix()));
        let _ = fs::rename(path, name);
        if self.count > 0 {
            for old in self.surplus(path) {
                let _ = fs::remove_file(old);
            }
        }
        let mut due = self.next(clock, at);
        while due <= at {
            due += self.interval;
        }
        self.due = due;
    }

    /// The end of the interval that `at` is in (`computeRollover`).
    fn next(&self, clock: &Clock, at: SystemTime) -> SystemTime {
        let local = clock.local(at);
        let midnight = |days: i64| {
            let day = local.checked_add(days.days()).and_then(|day| day.start_of_day());
            day.map_or(at + self.interval, |day: Zoned| SystemTime::from(day.timestamp()))
        };
        match self.when {
            When::Midnight => midnight(1),
            When::Weekday(day) => {
                let today = i64::from(local.weekday().to_monday_zero_offset());
                // The file of that day ends with it.
                midnight((i64::from(day) - today).rem_euclid(7) + 1)
            }
            _ => at + self.interval,
        }
    }

    fn suffix(&self) -> &'static str {
        match self.when {
            When::Seconds => "%Y-%m-%d_%H-%M-%S",
            When::Minutes => "%Y-%m-%d_%H-%M",
            When::Hours => "%Y-%m-%d_%H",
            When::Days | When::Midnight | When::Weekday(_) => "%Y-%m-%d",
        }
    }

    /// The oldest files beyond those that are kept (`getFilesToDelete`).
    fn surplus(&self, path: &Path) -> Vec<PathBuf> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut files: Vec<PathBuf> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.strip_prefix(&prefix).is_some_and(|suffix| has_form(suffix, self.suffix()))
            })
            .collect();
        files.sort();
        files.truncate(files.len().saturating_sub(self.count));
        files
    }
}

/// Whether `text` looks like a date of `format`: digits where it has numbers.
fn has_form(text: &str, format: &str) -> bool {
    let form = format.replace("%Y", "0000").replace(['%'], "").replace(['m', 'd', 'H', 'M', 'S'], "00");
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(
            |(got, want)| {
                if want == b'0' { got.is_ascii_digit() } else { got == want }
            },
        )
}

/// `path` with a dot and `suffix` behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn due(when: When, interval: u32, since: &str, zone: &str) -> String {
        let clock = Clock { zone: Some(TimeZone::get(zone).unwrap()) };
        let since = since.parse::<jiff::Timestamp>().unwrap();
        let schedule = Schedule::new(when, interval, 0, &clock, since.into());
        jiff::Timestamp::try_from(schedule.due).unwrap().to_string()
    }

    #[test]
    fn intervals_end_where_pythons_do() {
        for (when, interval, since, zone, expected) in [
            (When::Seconds, 5, "2026-11-24T10:00:00.9Z", "UTC", "2026-11-24T10:00:05Z"),
            (When::Hours, 2, "2026-11-24T10:00:01Z", "UTC", "2026-11-24T12:00:01Z"),
            (When::Days, 1, "2026-11-24T10:00:01Z", "UTC", "2026-11-25T10:00:01Z"),
            (When::Midnight, 1, "2026-11-24T10:00:01Z", "UTC", "2026-11-25T00:00:00Z"),
            (When::Midnight, 1, "2026-11-24T10:00:01Z", "Europe/Berlin", "2026-11-24T23:00:00Z"),
            // 24 November 2026 is a Tuesday.
            (When::Weekday(1), 1, "2026-11-24T10:00:01Z", "UTC", "2026-11-25T00:00:00Z"),
            (When::Weekday(0), 1, "2026-11-24T10:00:01Z", "UTC", "2026-12-01T00:00:00Z"),
            (When::Weekday(6), 1, "2026-11-24T10:00:01Z", "UTC", "2026-11-30T00:00:00Z"),
            // A day of 25 hours.
            (When::Midnight, 1, "2026-10-25T00:00:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!(due(when, interval, since, zone), expected, "{when:?} {since} {zone}");
        }
    }

    #[test]
    fn only_dates_of_the_same_form_are_old_files() {
        assert!(has_form("2026-11-24_10-00", "%Y-%m-%d_%H-%M"));
        for text in ["2026-11-24", "2026-11-24_10-0x", "1", "2026-11-24_10-00.gz", ""] {
            assert!(!has_form(text, "%Y-%m-%d_%H-%M"), "{text}");
        }
    }
}
