//! Standing polls: a socket that is read by calls of their own is watched by one operation for as long as that lasts,
//! so that no read starts an operation and ends it.

use std::num::NonZeroU16;

use super::operation::{Key, Operation};
use super::submission::FileSlot;
use super::{FEW_EVENTS, Returned, UringEngine};
use crate::engine::SessionId;
use crate::session::Side;

/// By how many turns those that say otherwise must be ahead before a crowd has come or gone. A change ends or starts a
/// watch for each socket that is read, so that it may not happen all the time.
const TURNS: u8 = 16;

/// Whether many sockets are ready at once, most of the time.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    there: bool,
    /// Turns that said otherwise, less those that said the same
    against: u8,
}

impl Crowd {
    /// A turn with so many events.
    pub(super) fn turned(&mut self, events: usize) {
        if (events > FEW_EVENTS) == self.there {
            self.against = self.against.saturating_sub(1);
        } else {
            self.against += 1;
        }
        if self.against == TURNS {
            *self = Self { there: !self.there, against: 0 };
        }
    }

    /// Whether reads are the ring's.
    pub(super) fn is_there(&self) -> bool {
        self.there
    }
}

/// What tells that a socket has something to read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Which of the socket's operations it is, if there is one
    number: Option<NonZeroU16>,
    /// How many there were
    count: u16,
    awaiting: Option<Awaiting>,
    /// It told while nothing waited for it.
    told: bool,
    /// It told that the peer sends no more, which it does not tell again.
    last: bool,
}

/// What is to happen when there is something to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaiting {
    /// A read by a call of its own
    Read,
    /// The same into a pipe
    Splice,
}

impl Watch {
    /// The operation that watches, if there is one.
    pub(super) fn key(&self, index: u32, side: Side) -> Option<Key> {
        self.number.map(|number| Key::of_watch(index, side, number))
    }

    /// The number of the next one.
    fn begin(&mut self) -> NonZeroU16 {
        // Those before have been cancelled, and long since where numbers come round.
        self.count = self.count.checked_add(1).unwrap_or(1);
        let number = NonZeroU16::new(self.count).unwrap_or(NonZeroU16::MIN);
        self.number = Some(number);
        number
    }

    /// Whether nothing waits for it.
    pub(super) fn is_free(&self) -> bool {
        self.awaiting.is_none()
    }

    /// Forgets a watch that nothing waits for. Returns the operation, which is to be cancelled.
    pub(super) fn end(&mut self, index: u32, side: Side) -> Option<Key> {
        let key = self.key(index, side);
        *self = Self { count: self.count, ..Self::default() };
        key
    }

    /// The same without forgetting what it has told.
    fn pause(&mut self, index: u32, side: Side) -> Option<Key> {
        let key = self.key(index, side);
        self.number = None;
        key
    }

    /// What was told until now is about to be read.
    pub(super) fn about_to_read(&mut self) {
        self.told = false;
    }

    /// There was nothing to read, whatever has been told.
    pub(super) fn found_nothing(&mut self) {
        (self.told, self.last) = (false, false);
    }
}

impl UringEngine {
    /// Goes on once the socket, which has just been emptied, has something to read.
    pub(super) fn watch(&mut self, id: SessionId, side: Side, awaiting: Awaiting) {
        let Some(connection) = self.connections.live(id) else { return };
        let watch = &mut connection.socket(side).watch;
        debug_assert!(watch.is_free(), "one read is open at a time");
        if std::mem::take(&mut watch.told) || watch.last {
            return self.go_on(id, side, awaiting);
        }
        watch.awaiting = Some(awaiting);
        if watch.number.is_none() {
            let key = Key::of_watch(id.index, side, watch.begin());
            self.ring.start_watch(key, FileSlot::of(id.index, side));
            connection.started(1);
        }
    }

    /// A socket has something to read, or its watch has ended.
    pub(super) fn watched(&mut self, user_data: u64, last: bool, more: bool) {
        let Some((index, side)) = Key::watched(user_data) else { return };
        let Some(id) = self.connections.id(index) else { return };
        let connection = if more {
            self.connections.live(id)
        } else {
            match self.connections.returned(id) {
                Returned::Live(connection) => Some(connection),
                Returned::Closing => None,
                Returned::Over => return self.release(id),
            }
        };
        let Some(connection) = connection else { return };
        let watch = &mut connection.socket(side).watch;
        if watch.key(index, side).map(Key::user_data) != Some(user_data) {
            return;
        }
        if !more {
            watch.number = None;
        }
        watch.last |= last;
        match watch.awaiting.take() {
            Some(awaiting) => self.go_on(id, side, awaiting),
            None if watch.told => {
                // While a relay waits to write, it reads nothing, and each segment that comes would wake the worker to
                // no end.
                let Some(target) = watch.pause(index, side) else { return };
                connection.started(1);
                self.ring.start(Operation::Cancel { id: Some(id), target });
            }
            None => watch.told = true,
        }
    }

    fn go_on(&mut self, id: SessionId, side: Side, awaiting: Awaiting) {
        match awaiting {
            Awaiting::Read => self.to_read.push_back((id, side)),
            Awaiting::Splice => self.splice_in(id, side),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_comes_and_goes_after_a_while() {
        let mut crowd = Crowd::default();
        for _ in 1..TURNS {
            crowd.turned(FEW_EVENTS + 1);
            assert!(!crowd.is_there());
        }
        crowd.turned(1);
        crowd.turned(FEW_EVENTS + 1);
        assert!(!crowd.is_there(), "one turn of few counts against one of many");
        crowd.turned(FEW_EVENTS + 1);
        assert!(crowd.is_there());
        for _ in 0..1_000 {
            crowd.turned(0);
            crowd.turned(100);
        }
        assert!(crowd.is_there(), "as many of one kind as of the other");
        (0..TURNS).for_each(|_| crowd.turned(0));
        assert!(!crowd.is_there());
    }
}
