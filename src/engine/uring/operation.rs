//! What is under way in the kernel: one entry for each operation, and the memory that the kernel may touch.

use std::num::{NonZeroU16, NonZeroU64};

use io_uring::types::Timespec;
use nix::sys::socket::SockaddrStorage;

use crate::engine::SessionId;
use crate::proto::bytes::Chunk;
use crate::session::Side;

/// One operation, with whatever memory its submission names. All of that memory is on the heap, so it stays
/// where it is when an entry moves.
pub(super) enum Operation {
    /// Accept connections until something ends it
    Accept,
    /// Read the counter of the waker
    ReadEvent(Box<u64>),
    /// Tell each time that the alarm rings
    AwaitAlarm,
    /// Receive into a buffer that the kernel picks when bytes are there
    Recv {
        /// Whose
        id: SessionId,
        /// From which side
        from: Side,
        /// The socket was empty when last read: waiting comes before trying
        wait_first: bool,
    },
    /// Send all of the chunk
    Send {
        /// Whose
        id: SessionId,
        /// To which side
        to: Side,
        /// The bytes; the kernel reads them until the completion
        chunk: Chunk,
        /// It completes when all are sent; kernel TLS does not know how
        whole: bool,
    },
    /// Connect to a compute node
    Connect {
        /// Whose
        id: SessionId,
        /// The compute node
        address: Box<SockaddrStorage>,
    },
    /// Ends the connect before it in the queue, once its time is over
    ConnectTimeout {
        /// Whose
        id: SessionId,
        /// From now
        after: Box<Timespec>,
    },
    /// Wait until a socket has room for bytes
    Poll {
        /// Whose
        id: SessionId,
        /// Which side's socket
        side: Side,
    },
    /// Cancel another operation
    Cancel {
        /// Whose, unless it is the listener's
        id: Option<SessionId>,
        /// Which
        target: Key,
    },
}

/// Names an operation while it is under way, in the kernel's `user_data` too: entry and generation, so that a
/// completion can never be taken for that of a later operation in the same entry.
///
/// The polls that tell each time that a socket has got bytes, until they are cancelled, have no entry: each relay at rest
/// has two, and nothing is to be kept of them. Their keys say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(NonZeroU64);

impl Key {
    fn new(index: u32, generation: u32) -> Self {
        let bits = u64::from(generation | TAKEN) << 32 | u64::from(index);
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// A socket's standing poll. All those of a slot have come back before it is used again.
    pub(super) fn of_watch(index: u32, side: Side, number: NonZeroU16) -> Self {
        let side = u64::from(side == Side::Compute);
        let bits = u64::from(number.get()) << 33 | side << 32 | u64::from(index);
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// The slot and the socket of a standing poll.
    pub(super) fn watched(user_data: u64) -> Option<(u32, Side)> {
        let side = if user_data >> 32 & 1 == 1 { Side::Compute } else { Side::Tenant };
        let is_watch = user_data >> 63 == 0 && user_data >> 33 > 0;
        is_watch.then(|| (Self::index(user_data), side))
    }

    /// As the kernel carries it.
    pub(super) fn user_data(self) -> u64 {
        self.0.get()
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    fn index(user_data: u64) -> u32 {
        user_data as u32
    }
}

/// Set in every key's generation, so that 0 is no key.
const TAKEN: u32 = 1 << 31;

/// Operations that there is room for from the start. More make the lists grow, once.
const ROOM: usize = 256;

/// All operations whose completion has not come back.
pub(super) struct Operations {
    entries: Vec<Entry>,
    free: Vec<u32>,
    watches: usize,
}

#[derive(Default)]
struct Entry {
    /// Counts the entry's users, in 31 bits
    generation: u32,
    operation: Option<Operation>,
}

impl Default for Operations {
    fn default() -> Self {
        Self { entries: Vec::with_capacity(ROOM), free: Vec::with_capacity(ROOM), watches: 0 }
    }
}

impl Operations {
    /// Keeps an operation until [`Operations::take`].
    pub(super) fn insert(&mut self, operation: Operation) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            // None is free now, and all may be one day.
            self.free.reserve(self.entries.len());
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[index as usize];
        entry.operation = Some(operation);
        Key::new(index, entry.generation)
    }

    /// The operation that a completion is of. None for a completion that nobody waits for.
    pub(super) fn get_mut(&mut self, user_data: u64) -> Option<&mut Operation> {
        let index = Key::index(user_data);
        let entry = self.entries.get_mut(index as usize)?;
        if Key::new(index, entry.generation).user_data() != user_data {
            return None;
        }
        entry.operation.as_mut()
    }

    /// Takes the operation out, which the kernel must have completed.
    pub(super) fn take(&mut self, user_data: u64) -> Option<Operation> {
        self.get_mut(user_data)?;
        let index = Key::index(user_data);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1) & !TAKEN;
        self.free.push(index);
        entry.operation.take()
    }

    /// Counts a standing poll that begins.
    pub(super) fn watch_begun(&mut self) {
        self.watches += 1;
    }

    /// Counts one that has come back.
    pub(super) fn watch_ended(&mut self) {
        self.watches = self.watches.saturating_sub(1);
    }

    /// Number of operations under way.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len() + self.watches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_of_an_earlier_user_of_an_entry_is_nobodys() {
        let mut operations = Operations::default();
        let first = operations.insert(Operation::Accept).user_data();
        assert!(operations.take(first).is_some());
        assert!(operations.take(first).is_none(), "completed twice");
        let second = operations.insert(Operation::ReadEvent(Box::default())).user_data();
        assert_eq!(Key::index(first), Key::index(second), "the entry is used again");
        assert!(operations.get_mut(first).is_none());
        assert!(matches!(operations.take(second), Some(Operation::ReadEvent(_))));
        assert_eq!(operations.len(), 0);
    }

    #[test]
    fn memory_stays_where_it_is_while_others_come_and_go() {
        let mut operations = Operations::default();
        let chunk = Chunk::copied_from(b"in flight");
        let address = chunk.bytes().as_ptr();
        let id = SessionId { index: 0, generation: 0 };
        let key = operations.insert(Operation::Send { id, to: Side::Tenant, chunk, whole: true });
        for _ in 0..1_000 {
            operations.insert(Operation::Accept);
        }
        let Some(Operation::Send { chunk, .. }) = operations.take(key.user_data()) else { panic!() };
        assert_eq!(chunk.bytes().as_ptr(), address);
        assert_eq!(operations.len(), 1_000);
    }

    #[test]
    fn the_key_of_a_watch_says_whose_it_is_and_is_no_other_operations() {
        let mut operations = Operations::default();
        let other = operations.insert(Operation::Accept);
        assert_eq!(Key::watched(other.user_data()), None);
        for index in [0, 1, u32::MAX] {
            for side in [Side::Tenant, Side::Compute] {
                for number in [NonZeroU16::MIN, NonZeroU16::MAX] {
                    let key = Key::of_watch(index, side, number).user_data();
                    assert_eq!(Key::watched(key), Some((index, side)));
                    assert!(operations.get_mut(key).is_none());
                }
            }
        }
        assert_eq!([0, 1, 2, u64::MAX].map(Key::watched), [None; 4]);
    }

    #[test]
    fn garbage_from_the_kernel_finds_no_operation() {
        let mut operations = Operations::default();
        operations.insert(Operation::Accept);
        for user_data in [0, 1, u64::MAX, 7 << 32] {
            assert!(operations.take(user_data).is_none());
        }
    }
}
