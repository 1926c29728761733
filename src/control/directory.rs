//! Which consoles are open: what an operator may be told of them. No token, and none of its hash.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::console::ConsoleType;
use crate::session::{Admitted, LOG_TARGET, Notice, Place, Traffic};

/// The relays of all workers, by their numbers. Bounded by the sessions themselves.
///
/// Workers take note of theirs themselves: to wake the control thread twice for each session cost 7 % of the CPU of its set-up.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<Rows>);

type Rows = BTreeMap<u64, Box<Row>>;

/// One relay. Every session pays for this as long as it lasts, so what nobody is told is not kept, and what is kept
/// is in one text.
#[derive(Debug)]
struct Row {
    peer: SocketAddr,
    since_unix_s: i64,
    /// The instance, and behind it HOST:PORT
    text: Box<str>,
    instance_len: u16,
    console_type: ConsoleType,
    _place: Place,
}

impl Row {
    fn new(peer: SocketAddr, info: Admitted, since_unix_s: i64) -> Self {
        let instance_len = u16::try_from(info.instance_uuid.len()).unwrap_or(u16::MAX);
        // A token's tls_port is known only where it is what was dialled.
        let port = info.port_to_dial(true).unwrap_or_default();
        let text = format!("{}{}:{port}", info.instance_uuid, info.host).into();
        let console_type = info.console_type;
        Self { peer, since_unix_s, text, instance_len, console_type, _place: info.into_place() }
    }

    /// The instance's UUID, and where its console is.
    fn parts(&self) -> (&str, &str) {
        self.text.split_at_checked(self.instance_len.into()).unwrap_or_default()
    }
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
                let row = Box::new(Row::new(peer, *info, now_unix_s));
                self.rows().insert(number, row);
            }
            Notice::Ended { number } => {
                let row = self.rows().remove(&number);
                if let Some(row) = row {
                    // nova/console/websocketproxy.py, `_close_connection`
                    tracing::debug!(
                        target: LOG_TARGET,
                        request = number,
                        " {number:2}: {}: Websocket client or target closed",
                        row.parts().1
                    );
                }
            }
            Notice::Record { .. } => {}
        }
    }

    /// At most `max` relays with numbers above `after`, of one instance or of all.
    pub(super) fn page(&self, after: u64, max: usize, instance: Option<&str>) -> Page {
        let is_wanted = |row: &Row| instance.is_none_or(|uuid| row.parts().0 == uuid);
        let rows = self.rows();
        let mut found = rows.range(after.saturating_add(1)..).filter(|(_, row)| is_wanted(row));
        let numbers: Vec<u64> = found.by_ref().take(max).map(|(number, _)| *number).collect();
        let next = found.next().and_then(|_| numbers.last().copied());
        Page { numbers, next }
    }

    /// One relay as the admin listener shows it; nothing when it has ended meanwhile.
    pub(super) fn describe(&self, number: u64, traffic: Option<&Traffic>) -> Option<Value> {
        let rows = self.rows();
        let row = rows.get(&number)?;
        let (instance, target) = row.parts();
        let since =
            jiff::Timestamp::from_second(row.since_unix_s).map(|at| at.to_string()).unwrap_or_default();
        Some(json!({
            "id": number,
            "console_type": row.console_type.as_str(),
            "instance": instance,
            "client": row.peer.to_string(),
            "target": target,
            "since": since,
            "bytes_from_client": traffic.map(|traffic| traffic.from_tenant),
            "bytes_from_target": traffic.map(|traffic| traffic.from_compute),
        }))
    }

    /// Whether that relay is open.
    pub(super) fn has(&self, number: u64) -> bool {
        self.rows().contains_key(&number)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing is half done by whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::ConnectInfo;

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
