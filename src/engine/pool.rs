//! The worker's buffers: last in, first out, so that the same hot memory serves every session.

use crate::proto::bytes::Chunk;
use crate::session::limits::{Limits, size};

/// Idle chunks of two sizes. A session at rest owns none of them: the engine takes one when bytes are there,
/// and it returns when they have been written.
///
/// The large ones are for sockets that fill the others: half of what bulk data costs is waking the peers, so
/// what counts is how much a step moves. There are few of them, since a peer that stops reading keeps one.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Vec<Chunk>,
    chunk_bytes: usize,
    idle_max: usize,
    idle_large: Vec<Chunk>,
    large_bytes: usize,
    /// Large chunks that may be lent yet
    large_left: usize,
}

/// What a socket's last reads say of its next one.
#[derive(Debug, Default)]
pub(super) struct ReadSize {
    /// Bytes of the last read, or half of this for the read before: the small rest behind a large read says little
    recent: u32,
    /// The last chunk was a large one. It counts as lent until the next read: each direction of a session has one
    /// chunk at most, wherever it is by then.
    large: bool,
}

impl ReadSize {
    /// The last reads brought about so many bytes, or more.
    pub(super) fn is_at_least(&self, bytes: usize) -> bool {
        self.recent as usize >= bytes
    }

    /// A read brought `len` bytes.
    pub(super) fn brought(&mut self, len: usize) {
        self.recent = u32::try_from(len).unwrap_or(u32::MAX).max(self.recent / 2);
    }
}

impl Pool {
    /// A pool of the chunks that `limits` allows, keeping at most `pool_bytes` of the smaller ones.
    pub(super) fn new(limits: &Limits, pool_bytes: usize) -> Self {
        let large_bytes = size(limits.bulk_read_bytes);
        let pool = Self::of_one_size(size(limits.read_bytes), pool_bytes);
        if large_bytes <= pool.chunk_bytes {
            return pool;
        }
        Self { large_bytes, large_left: size(limits.bulk_buffers_max), ..pool }
    }

    /// A pool of chunks of `chunk_bytes`, keeping at most `pool_bytes` of them.
    pub(super) fn of_one_size(chunk_bytes: usize, pool_bytes: usize) -> Self {
        let idle_max = pool_bytes / chunk_bytes.max(1);
        let (idle, idle_large) = (Vec::new(), Vec::new());
        Self { idle, chunk_bytes, idle_max, idle_large, large_bytes: 0, large_left: 0 }
    }

    /// Bytes that each of the smaller chunks can hold.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// An empty chunk.
    pub(super) fn take(&mut self) -> Chunk {
        self.idle.pop().unwrap_or_else(|| Chunk::with_capacity(self.chunk_bytes))
    }

    /// An empty chunk for the next read of a socket: a large one if the last read was full, and one is left.
    pub(super) fn take_for(&mut self, reads: &mut ReadSize) -> Chunk {
        self.settle(reads);
        if !reads.is_at_least(self.chunk_bytes) || self.large_left == 0 {
            return self.take();
        }
        self.large_left -= 1;
        reads.large = true;
        self.idle_large.pop().unwrap_or_else(|| Chunk::with_capacity(self.large_bytes))
    }

    /// The socket has no large chunk any more.
    pub(super) fn settle(&mut self, reads: &mut ReadSize) {
        self.large_left += usize::from(std::mem::take(&mut reads.large));
    }

    /// Takes a chunk back. Chunks of other sizes, made by sessions for their own messages, are freed.
    pub(super) fn put(&mut self, mut chunk: Chunk) {
        chunk.clear();
        if chunk.capacity() == self.chunk_bytes && self.idle.len() < self.idle_max {
            self.idle.push(chunk);
        } else if chunk.capacity() == self.large_bytes && self.idle_large.len() < IDLE_LARGE_MAX {
            self.idle_large.push(chunk);
        }
    }

    /// The same bytes in a buffer that fits them, when much of this one would be held for nothing: what a
    /// stalled reader leaves behind may stay for hours.
    pub(super) fn shrink(&mut self, chunk: Chunk) -> Chunk {
        if chunk.len() * 2 > chunk.capacity() {
            return chunk;
        }
        let small = Chunk::copied_from(chunk.bytes());
        self.put(chunk);
        small
    }
}

/// Large chunks kept for reuse: one is in use at a time, unless peers are slow.
const IDLE_LARGE_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two idle chunks of 64 bytes, and at most two large ones.
    fn pool() -> Pool {
        let limits =
            Limits { read_bytes: 64, bulk_read_bytes: 256, bulk_buffers_max: 2, ..Limits::default() };
        Pool::new(&limits, 128)
    }

    #[test]
    fn the_last_chunk_returned_is_the_next_one_taken() {
        let mut pool = pool();
        let (mut first, second) = (pool.take(), pool.take());
        first.append(b"hot");
        let address = first.bytes().as_ptr();
        pool.put(second);
        pool.put(first);
        let again = pool.take();
        assert!(again.is_empty());
        let mut again = again;
        again.append(b"x");
        assert_eq!(again.bytes().as_ptr(), address);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_bound_and_no_other_sizes() {
        let mut pool = pool();
        for _ in 0..5 {
            pool.put(Chunk::with_capacity(64));
            pool.put(Chunk::with_capacity(256));
        }
        pool.put(Chunk::with_capacity(32));
        assert_eq!((pool.idle.len(), pool.idle_large.len()), (2, IDLE_LARGE_MAX));
    }

    #[test]
    fn a_few_bytes_left_do_not_hold_a_whole_buffer() {
        let mut pool = pool();
        let mut chunk = pool.take();
        chunk.append(b"rest");
        let small = pool.shrink(chunk);
        assert_eq!((small.bytes(), small.capacity()), (b"rest".as_slice(), 4));
        assert_eq!(pool.idle.len(), 1);
    }

    #[test]
    fn a_socket_that_fills_its_buffers_reads_into_a_large_one_while_there_are_any() {
        let mut pool = pool();
        let mut sockets: Vec<_> = (0..3).map(|_| ReadSize::default()).collect();
        let capacities = |pool: &mut Pool, sockets: &mut [ReadSize]| {
            sockets.iter_mut().map(|reads| pool.take_for(reads).capacity()).collect::<Vec<_>>()
        };
        assert_eq!(capacities(&mut pool, &mut sockets), [64, 64, 64]);
        sockets.iter_mut().for_each(|reads| reads.brought(64));
        assert_eq!(capacities(&mut pool, &mut sockets), [256, 256, 64]);
        // What was lent is lent anew, or goes to others.
        assert_eq!(capacities(&mut pool, &mut sockets), [256, 256, 64]);
        sockets[0].brought(63);
        assert_eq!(capacities(&mut pool, &mut sockets), [64, 256, 256]);
        assert!(sockets[0].is_at_least(32) && sockets[1].is_at_least(64));
        sockets[0].brought(1);
        assert!(!sockets[0].is_at_least(32), "two small reads in a row");
        sockets.iter_mut().for_each(|reads| pool.settle(reads));
        assert_eq!(pool.large_left, 2);
    }

    #[test]
    fn without_a_larger_size_there_is_one_size() {
        let limits = Limits { bulk_read_bytes: 64, read_bytes: 64, ..Limits::default() };
        let (mut pool, mut reads) = (Pool::new(&limits, 128), ReadSize::default());
        reads.brought(64);
        assert_eq!(pool.take_for(&mut reads).capacity(), 64);
    }
}
