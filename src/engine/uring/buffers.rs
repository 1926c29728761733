//! The registered ring of receive buffers: the kernel picks one when bytes are there, so a read that waits
//! holds none.
//!
//! A used buffer leaves the ring as a [`Chunk`] of its own, and another chunk takes its place at once: however
//! long a session keeps what it got, the ring is as full as before.
#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::engine::pool::Pool;
use crate::proto::bytes::Chunk;

/// Buffers in the ring. With 16 KiB each the ring is 512 KiB: the kernel walks through all of them, and more
/// would push everything else out of the processor's cache.
pub(super) const BUFFERS: u16 = 32;

/// Most bytes of one buffer.
pub(super) const BUFFER_BYTES_MAX: usize = 16 << 10;

/// The one buffer group.
pub(super) const GROUP: u16 = 0;

/// Bytes of the ring's entries.
const ENTRIES_BYTES: usize = BUFFERS as usize * size_of::<BufRingEntry>();

/// Buffers that the kernel may fill.
pub(super) struct BufferRing {
    /// INVARIANT: a mapping of `ENTRIES_BYTES`, ours alone besides the kernel's, until `drop`.
    entries: NonNull<BufRingEntry>,
    /// INVARIANT: `chunks[bid]` is the chunk whose spare room the ring's entry of that `bid` names. It is not
    /// touched until the kernel has handed that `bid` back.
    chunks: Vec<Chunk>,
    /// Where the next entry goes; the kernel takes entries up to it
    tail: u16,
    pool: Pool,
}

impl BufferRing {
    /// A full ring of buffers of `chunk_bytes`, whose idle chunks take at most `pool_bytes`.
    pub(super) fn new(chunk_bytes: usize, pool_bytes: usize) -> io::Result<Self> {
        // SAFETY: mmap of anonymous memory at an address that the kernel chooses touches nothing that exists.
        let address = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), ENTRIES_BYTES, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let entries = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut ring =
            Self { entries, chunks: Vec::new(), tail: 0, pool: Pool::of_one_size(chunk_bytes, pool_bytes) };
        for bid in 0..BUFFERS {
            let chunk = ring.pool.take();
            ring.chunks.push(chunk);
            ring.offer(bid);
        }
        Ok(ring)
    }

    /// Tells the kernel about the ring.
    ///
    /// # Safety
    ///
    /// When the ring is dropped, no operation of the submitter's `io_uring` may be under way, nor may one be
    /// started afterwards.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the address is that of a page-aligned mapping of BUFFERS entries, which lives until `drop`,
        // and the caller promises that nothing uses it after that.
        unsafe { submitter.register_buf_ring_with_flags(self.entries.as_ptr() as u64, BUFFERS, GROUP, 0) }
    }

    /// Takes out the chunk that the kernel filled with `len` bytes, and puts an empty one in its place. None
    /// for a number that is no buffer's.
    pub(super) fn take(&mut self, bid: u16, len: usize) -> Option<Chunk> {
        let empty = self.pool.take();
        let mut chunk = std::mem::replace(self.chunks.get_mut(usize::from(bid))?, empty);
        self.offer(bid);
        chunk.commit(len);
        Some(chunk)
    }

    /// Bytes of each buffer.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.pool.chunk_bytes()
    }

    /// Takes back a chunk that came from here.
    pub(super) fn put(&mut self, chunk: Chunk) {
        self.pool.put(chunk);
    }

    /// Puts `chunks[bid]` at the ring's tail.
    fn offer(&mut self, bid: u16) {
        let spare = self.chunks[usize::from(bid)].spare_mut();
        let (address, len) = (spare.as_mut_ptr() as u64, u32::try_from(spare.len()).unwrap_or(0));
        let at = usize::from(self.tail % BUFFERS);
        // SAFETY: `at` is below BUFFERS, so the entry is inside the mapping. The kernel reads entries only up
        // to the tail that was published, and this one is not behind it: there are BUFFERS chunks and BUFFERS
        // entries, and this chunk's former entry has been used up. The fields are set one by one because the
        // last two bytes of the first entry are the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(address);
            entry.set_len(len);
            entry.set_bid(bid);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the address of the first entry, which is initialised (the mapping is zeroed);
        // its tail field is two bytes, aligned to two, and read by the kernel with acquire ordering.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and is not used after this. The kernel holds
        // the pages on its own account as long as it needs them.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), ENTRIES_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_taken_is_replaced_at_once() {
        let mut ring = BufferRing::new(64, 1 << 20).unwrap();
        assert_eq!(ring.tail, BUFFERS);
        let held: Vec<_> = (0..1_000).map(|turn| ring.take(turn % BUFFERS, 10).unwrap()).collect();
        assert!(held.iter().all(|chunk| chunk.len() == 10));
        assert_eq!(ring.chunks.len(), usize::from(BUFFERS));
        assert!(ring.chunks.iter().all(Chunk::is_empty));
        assert_eq!(ring.tail, BUFFERS + 1_000);
        assert!(ring.take(BUFFERS, 1).is_none());
    }
}
