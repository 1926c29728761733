//! Which consoles are open: what an operator may be told of them. No token, and none of its hash.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::session::{LOG_TARGET, Notice, Place, Traffic};

mod relays;
mod row;

use relays::Relays;
use row::{Instance, Row};

/// Relays that are looked at before a worker that has one to add or to remove gets its turn.
const LOOKED_AT_AT_ONCE: usize = 1_024;

/// The relays of all workers, by their numbers. Bounded by the sessions themselves.
///
/// Workers take note of theirs themselves: to wake the control thread twice for each session cost 7 % of the CPU of its set-up.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    relays: Relays,
    /// Of those that have one, which is where sessions are counted
    places: BTreeMap<u64, Place>,
}

/// Some of the relays, and where the next page begins.
pub(super) struct Page {
    /// Ascending
    pub(super) numbers: Vec<u64>,
    /// The number to ask behind of next, when there are more
    pub(super) next: Option<u64>,
}

impl Directory {
    /// Takes note of a relay's begin or end.
    pub(super) fn take(&self, notice: Notice, now_unix_s: i64) {
        match notice {
            Notice::Relaying { number, peer, info } => {
                let row = Row::new(peer, &info, now_unix_s);
                let place = info.into_place();
                let mut rows = self.rows();
                rows.relays.insert(number, row);
                if place.is_taken() {
                    rows.places.insert(number, place);
                }
            }
            Notice::Ended { number } => {
                let (row, place) = {
                    let mut rows = self.rows();
                    (rows.relays.remove(number), rows.places.remove(&number))
                };
                drop(place);
                let wanted = tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG);
                if let Some(shown) = row.filter(|_| wanted).and_then(|row| row.shown()) {
                    // nova/console/websocketproxy.py, `_close_connection`
                    tracing::debug!(
                        target: LOG_TARGET,
                        request = number,
                        " {number:2}: {}: Websocket client or target closed",
                        shown.target
                    );
                }
            }
            Notice::Record { .. } => {}
        }
    }

    /// At most `max` relays with numbers above `after`, of one instance or of all.
    pub(super) fn page(&self, mut after: u64, max: usize, instance: Option<&str>) -> Page {
        let instance = instance.map(Instance::of);
        let is_wanted = |row: &Row| instance.as_ref().is_none_or(|instance| row.is_of(instance));
        let mut numbers: Vec<u64> = Vec::new();
        loop {
            // Workers get in between, however long the list is.
            let rows = self.rows();
            let mut looked_at = 0;
            for (number, row) in rows.relays.above(after).take(LOOKED_AT_AT_ONCE) {
                (after, looked_at) = (number, looked_at + 1);
                if is_wanted(row) {
                    if numbers.len() == max {
                        let next = numbers.last().copied();
                        return Page { numbers, next };
                    }
                    numbers.push(number);
                }
            }
            if looked_at < LOOKED_AT_AT_ONCE {
                return Page { numbers, next: None };
            }
        }
    }

    /// One relay as the admin listener shows it; nothing when it has ended meanwhile.
    pub(super) fn describe(&self, number: u64, traffic: Option<&Traffic>) -> Option<Value> {
        let row = self.rows().relays.get(number)?.shown()?;
        let since =
            jiff::Timestamp::from_second(row.since_unix_s).map(|at| at.to_string()).unwrap_or_default();
        Some(json!({
            "id": number,
            "console_type": row.console_type.as_str(),
            "instance": row.instance,
            "client": row.peer.to_string(),
            "target": row.target,
            "since": since,
            "bytes_from_client": traffic.map(|traffic| traffic.from_tenant),
            "bytes_from_target": traffic.map(|traffic| traffic.from_compute),
        }))
    }

    /// Whether that relay is open.
    pub(super) fn has(&self, number: u64) -> bool {
        self.rows().relays.get(number).is_some()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing is half done by whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::console::{ConnectInfo, ConsoleType};
    use crate::session::Admitted;

    fn opened(number: u64, instance: &str) -> Notice {
        let info = Admitted::boxed(ConnectInfo {
            console_type: ConsoleType::NoVnc,
            host: "192.0.2.5".to_owned(),
            port: Some(5900),
            tls_port: None,
            internal_access_path: Some("secret-path".to_owned()),
            instance_uuid: instance.to_owned(),
            expires: 0,
            access_url_base: None,
        });
        Notice::Relaying { number, peer: SocketAddr::from(([203, 0, 113, 9], 40_000)), info }
    }

    #[test]
    fn pages_follow_one_another_and_hold_every_relay_once() {
        let directory = Directory::default();
        for number in 1..=7 {
            directory.take(opened(number, if number % 2 == 0 { "even" } else { "odd" }), 0);
        }
        directory.take(Notice::Ended { number: 4 }, 0);
        let (mut after, mut seen) = (0, Vec::<u64>::new());
        loop {
            let page = directory.page(after, 2, None);
            assert!(page.numbers.len() <= 2);
            seen.extend(&page.numbers);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(seen, [1, 2, 3, 5, 6, 7]);
        assert_eq!(directory.page(0, 100, Some("even")).numbers, [2, 6]);
        assert!(directory.has(5) && !directory.has(4));
    }

    #[test]
    fn one_instances_relays_are_found_wherever_they_are_in_a_long_list() {
        let directory = Directory::default();
        let len = 3 * u64::try_from(LOOKED_AT_AT_ONCE).unwrap();
        for number in 1..=len {
            directory.take(opened(number, if number % 1_000 == 0 { "rare" } else { "usual" }), 0);
        }
        let page = directory.page(0, 2, Some("rare"));
        assert_eq!((&*page.numbers, page.next), (&[1_000, 2_000][..], Some(2_000)));
        let page = directory.page(2_000, 2, Some("rare"));
        assert_eq!((&*page.numbers, page.next), (&[3_000][..], None));
        assert!(directory.page(0, 10, Some("none")).numbers.is_empty());
        assert_eq!(directory.page(0, usize::MAX, None).numbers.len() as u64, len);
    }

    #[test]
    fn a_relay_is_described_without_its_secrets() {
        let directory = Directory::default();
        directory.take(opened(3, "uuid"), 1_795_305_600);
        let traffic = Traffic { number: 3, from_tenant: 10, from_compute: 20 };
        let text = directory.describe(3, Some(&traffic)).unwrap().to_string();
        for part in [
            "\"id\":3",
            "novnc",
            "uuid",
            "203.0.113.9:40000",
            "192.0.2.5:5900",
            "2026-11-22T00:00:00Z",
            ":20",
        ] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert!(!text.contains("secret-path"));
        assert!(directory.describe(4, None).is_none());
    }
}
