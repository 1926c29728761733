//! How many consoles may be open at a time: in all, of one source, of one instance.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::session::{AuthorizeError, Crowd, Limits, Place};

/// Counts the consoles that are open or about to be. A bound of 0 is none, and costs nothing.
#[derive(Debug)]
pub(super) struct Places {
    process_max: u64,
    source_max: u64,
    instance_max: u64,
    counts: Arc<Mutex<Counts>>,
}

/// Sessions end on other threads.
#[derive(Debug, Default)]
struct Counts {
    all: u64,
    of_source: HashMap<IpAddr, u64>,
    of_instance: HashMap<String, u64>,
}

/// A place that is taken; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    counts: Arc<Mutex<Counts>>,
    source: Option<IpAddr>,
    instance: Option<String>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            process_max: limits.consoles_max,
            source_max: limits.consoles_per_source_max,
            instance_max: limits.consoles_per_instance_max,
            counts: Arc::default(),
        }
    }

    /// Takes a place for a token that is about to be looked up: a source at its bound costs no query. None where
    /// nothing is bounded.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError::TooMany`]
    pub(super) fn take(&self, tenant: IpAddr) -> Result<Option<Taken>, AuthorizeError> {
        if (self.process_max, self.source_max, self.instance_max) == (0, 0, 0) {
            return Ok(None);
        }
        let mut counts = lock(&self.counts);
        if self.process_max > 0 && counts.all >= self.process_max {
            return Err(AuthorizeError::TooMany(Crowd::Process));
        }
        let source = (self.source_max > 0).then(|| source(tenant));
        if let Some(source) = source
            && !add_one(&mut counts.of_source, source, self.source_max)
        {
            return Err(AuthorizeError::TooMany(Crowd::Source));
        }
        counts.all += 1;
        Ok(Some(Taken { counts: Arc::clone(&self.counts), source, instance: None }))
    }

    /// Says whose console it is, and makes the place the session's.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError::TooMany`]; the place is free again.
    pub(super) fn settle(&self, taken: Option<Taken>, instance: &str) -> Result<Place, AuthorizeError> {
        let Some(mut taken) = taken else { return Ok(Place::default()) };
        if self.instance_max > 0 {
            if !add_one(&mut lock(&self.counts).of_instance, instance.to_owned(), self.instance_max) {
                return Err(AuthorizeError::TooMany(Crowd::Instance));
            }
            taken.instance = Some(instance.to_owned());
        }
        Ok(Place::new(taken))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.all -= 1;
        if let Some(source) = self.source {
            take_one(&mut counts.of_source, source);
        }
        if let Some(instance) = self.instance.take() {
            take_one(&mut counts.of_instance, instance);
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever has an IPv6 address has the 64 bits behind its network, too.
fn source(tenant: IpAddr) -> IpAddr {
    match tenant.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// False when there are `max` already.
fn add_one<K: Hash + Eq>(counts: &mut HashMap<K, u64>, key: K, max: u64) -> bool {
    let count = counts.entry(key).or_default();
    if *count >= max {
        return false;
    }
    *count += 1;
    true
}

/// Those that have none are not remembered, or the map would grow with every address there ever was.
fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, u64>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: u64, of_source: u64, of_instance: u64) -> Places {
        Places::new(&Limits {
            consoles_max: all,
            consoles_per_source_max: of_source,
            consoles_per_instance_max: of_instance,
            ..Limits::default()
        })
    }

    fn open(places: &Places, tenant: &str, instance: &str) -> Result<Place, Crowd> {
        let place = places.take(tenant.parse().unwrap()).and_then(|taken| places.settle(taken, instance));
        place.map_err(|error| match error {
            AuthorizeError::TooMany(crowd) => crowd,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn each_bound_refuses_what_is_beyond_it_and_takes_more_when_one_ends() {
        for (places, crowd) in [
            (places(2, 0, 0), Crowd::Process),
            (places(0, 2, 0), Crowd::Source),
            (places(0, 0, 2), Crowd::Instance),
        ] {
            let first = open(&places, "192.0.2.1", "a").unwrap();
            let second = open(&places, "192.0.2.1", "a").unwrap();
            assert_eq!(open(&places, "192.0.2.1", "a").unwrap_err(), crowd);
            // Whoever is not of the crowd is not concerned.
            assert_eq!(open(&places, "192.0.2.2", "b").is_ok(), crowd != Crowd::Process);
            drop(first);
            let third = open(&places, "192.0.2.1", "a").unwrap();
            assert_eq!(open(&places, "192.0.2.1", "a").unwrap_err(), crowd);
            drop((second, third));
            let counts = lock(&places.counts);
            assert_eq!((counts.all, counts.of_source.len(), counts.of_instance.len()), (0, 0, 0));
        }
    }

    #[test]
    fn a_refused_instance_gives_the_other_places_back() {
        let places = places(9, 9, 1);
        let _first = open(&places, "192.0.2.1", "a").unwrap();
        assert_eq!(open(&places, "192.0.2.1", "a").unwrap_err(), Crowd::Instance);
        let counts = lock(&places.counts);
        assert_eq!((counts.all, counts.of_source.len()), (1, 1));
    }

    #[test]
    fn sources_are_networks_of_ipv6_and_addresses_of_ipv4() {
        let same = |one: &str, other: &str| {
            let places = places(0, 1, 0);
            let _first = open(&places, one, "a").unwrap();
            open(&places, other, "a").is_err()
        };
        assert!(
            same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2") && !same("2001:db8:0:1::1", "2001:db8:0:2::1")
        );
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn without_bounds_nothing_is_counted() {
        assert!(places(0, 0, 0).take("192.0.2.1".parse().unwrap()).unwrap().is_none());
    }
}
