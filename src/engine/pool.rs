//! The worker's buffers: last in, first out, so that the same hot memory serves every session.

use crate::proto::bytes::Chunk;

/// Idle chunks of one size. A session at rest owns none of them: the engine takes one when bytes are there,
/// and it returns when they have been written.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Vec<Chunk>,
    chunk_bytes: usize,
    idle_max: usize,
}

impl Pool {
    /// A pool of chunks of `chunk_bytes`, keeping at most `pool_bytes` of them.
    pub(super) fn new(chunk_bytes: usize, pool_bytes: usize) -> Self {
        Self { idle: Vec::new(), chunk_bytes, idle_max: pool_bytes / chunk_bytes.max(1) }
    }

    /// Bytes that each of the pool's chunks can hold.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// An empty chunk.
    pub(super) fn take(&mut self) -> Chunk {
        self.idle.pop().unwrap_or_else(|| Chunk::with_capacity(self.chunk_bytes))
    }

    /// Takes a chunk back. Chunks of other sizes, made by sessions for their own messages, are freed.
    pub(super) fn put(&mut self, mut chunk: Chunk) {
        if chunk.capacity() == self.chunk_bytes && self.idle.len() < self.idle_max {
            chunk.clear();
            self.idle.push(chunk);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_returned_is_the_next_one_taken() {
        let mut pool = Pool::new(64, 128);
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
        let mut pool = Pool::new(64, 128);
        for _ in 0..5 {
            pool.put(Chunk::with_capacity(64));
        }
        pool.put(Chunk::with_capacity(32));
        assert_eq!(pool.idle.len(), 2);
    }

    #[test]
    fn a_few_bytes_left_do_not_hold_a_whole_buffer() {
        let mut pool = Pool::new(64, 128);
        let mut chunk = pool.take();
        chunk.append(b"rest");
        let small = pool.shrink(chunk);
        assert_eq!((small.bytes(), small.capacity()), (b"rest".as_slice(), 4));
        assert_eq!(pool.idle.len(), 1);
    }
}
