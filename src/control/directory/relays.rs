//! Rows by the numbers of their sessions, in order: half the memory of a tree's for numbers that mostly ascend.

use super::row::Row;

/// Holes that are put up with in a short list.
const HOLES_MAX: usize = 64;

/// The open relays.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// Ascending. A row that was removed leaves a hole.
    rows: Vec<(u64, Option<Row>)>,
    holes: usize,
}

impl Relays {
    pub(super) fn insert(&mut self, number: u64, row: Row) {
        // Near the end: others that began later may have been faster.
        let at = self.rows.partition_point(|(other, _)| *other < number);
        match self.rows.get_mut(at) {
            Some((same, place)) if *same == number => {
                self.holes -= usize::from(place.is_none());
                *place = Some(row);
            }
            _ => self.rows.insert(at, (number, Some(row))),
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Row> {
        self.rows.get(self.find(number)?)?.1.as_ref()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Row> {
        let at = self.find(number)?;
        let row = self.rows.get_mut(at)?.1.take()?;
        self.holes += 1;
        if self.holes > HOLES_MAX.max(self.rows.len() / 2) {
            self.rows.retain(|(_, row)| row.is_some());
            self.rows.shrink_to(self.rows.len() * 2);
            self.holes = 0;
        }
        Some(row)
    }

    /// Those with numbers above `after`, in order.
    pub(super) fn above(&self, after: u64) -> impl Iterator<Item = (u64, &Row)> {
        let start = self.rows.partition_point(|(number, _)| *number <= after);
        self.rows[start..].iter().filter_map(|(number, row)| Some((*number, row.as_ref()?)))
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::console::{ConnectInfo, ConsoleType};

    fn row(port: u16) -> Row {
        let info = ConnectInfo {
            console_type: ConsoleType::NoVnc,
            host: "h".to_owned(),
            port: Some(port),
            tls_port: None,
            internal_access_path: None,
            instance_uuid: String::new(),
            expires: 0,
            access_url_base: None,
        };
        Row::new(SocketAddr::from(([203, 0, 113, 9], 40_000)), &info, 0)
    }

    fn shown(row: &Row) -> String {
        row.shown().map(|shown| shown.target).unwrap_or_default()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map_in_order(steps in prop::collection::vec((any::<bool>(), 0_u64..200, any::<u16>()), 0..500)) {
            let (mut relays, mut map) = (Relays::default(), BTreeMap::new());
            for (inserts, number, port) in steps {
                if inserts {
                    relays.insert(number, row(port));
                    map.insert(number, format!("h:{port}"));
                } else {
                    prop_assert_eq!(relays.remove(number).as_ref().map(shown), map.remove(&number));
                }
                let all: Vec<_> = relays.above(0).map(|(number, row)| (number, shown(row))).collect();
                let expected: Vec<_> = map.range(1..).map(|(number, text)| (*number, text.clone())).collect();
                prop_assert_eq!(all, expected);
                prop_assert_eq!(relays.get(number).map(shown), map.get(&number).cloned());
                let holes = relays.rows.iter().filter(|(_, row)| row.is_none()).count();
                prop_assert_eq!(relays.holes, holes);
                prop_assert!(holes <= HOLES_MAX.max(relays.rows.len() / 2));
            }
        }
    }
}
