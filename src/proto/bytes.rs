//! [`Chunk`]: the owned buffer that moves through the program, and [`Reader`], a bounds-checked cursor.

use std::fmt;

use crate::secret;

/// Spare bytes in front of every chunk's payload: room for the longest WebSocket frame header a server
/// sends (10 bytes), so header and payload leave in one write.
pub const HEADROOM: usize = 16;

/// Storage of the chunks that socket buffers are copied to and from, from which on the place in a page matters.
const LARGE_BYTES: usize = 8_192;

/// What `rep movsb`, with which the kernel copies, takes for the same place.
const PAGE_BYTES: usize = 4_096;

/// Where in a page a large chunk's bytes begin: AMD's Zen 3 and 4 copy sixteen times slower (22 us instead of 1.3 for
/// 64 KiB) to a place that is 1 to 31 bytes further in its page than the source is in its own. The kernel's buffers mostly
/// begin near the beginning of a page, by a header or a few.
const PAGE_PLACE: usize = 2_048;

/// An owned buffer with spare room in front of its bytes.
///
/// A chunk moves: engine to session with what was read, session to engine with what is to be written.
/// It is never lent, so it belongs to exactly one place at any time.
#[derive(Default)]
pub struct Chunk {
    storage: Box<[u8]>,
    // INVARIANT: start <= end <= self.limit(), which fits u32.
    start: u32,
    end: u32,
}

impl Chunk {
    /// An empty chunk that can take `capacity` bytes behind its headroom. At most 1 GiB.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let storage_bytes = storage_bytes(capacity.min(1 << 30));
        let mut chunk = Self { storage: vec![0; storage_bytes].into_boxed_slice(), start: 0, end: 0 };
        chunk.clear();
        chunk
    }

    /// A chunk holding a copy of `bytes`.
    #[must_use]
    pub fn copied_from(bytes: &[u8]) -> Self {
        let mut chunk = Self::with_capacity(bytes.len());
        chunk.append(bytes);
        chunk
    }

    /// Number of bytes held.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that the chunk can hold in all, headroom left aside.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.len().saturating_sub(if self.is_large() { HEADROOM + PAGE_BYTES } else { HEADROOM })
    }

    fn is_large(&self) -> bool {
        self.storage.len() >= HEADROOM + LARGE_BYTES
    }

    /// Where the bytes of an empty chunk begin.
    fn front(&self) -> usize {
        let front = HEADROOM.min(self.storage.len());
        if !self.is_large() {
            return front;
        }
        let place = (self.storage.as_ptr().addr() + front) % PAGE_BYTES;
        front + (PAGE_BYTES + PAGE_PLACE - place) % PAGE_BYTES
    }

    /// Up to where bytes may be.
    fn limit(&self) -> usize {
        self.front() + self.capacity()
    }

    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start as usize..self.end as usize]
    }

    /// The bytes held, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start as usize..self.end as usize]
    }

    /// The free room behind the bytes. Fill it, then call [`Chunk::commit`].
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let limit = self.limit();
        &mut self.storage[self.end as usize..limit]
    }

    /// Counts `len` bytes of the spare room as held. More than the spare room counts as all of it.
    pub fn commit(&mut self, len: usize) {
        let spare = self.limit() - self.end as usize;
        debug_assert!(len <= spare, "committed more than was spare");
        self.end += u32_of(len.min(spare));
    }

    /// Appends what fits of `bytes` and returns how many bytes that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare_mut();
        let len = bytes.len().min(spare.len());
        spare[..len].copy_from_slice(&bytes[..len]);
        self.commit(len);
        len
    }

    /// Drops `len` bytes from the front.
    pub fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.len(), "advanced past the end");
        self.start += u32_of(len.min(self.len()));
    }

    /// Keeps only the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(u32_of(len)));
    }

    /// Writes `header` in front of the bytes. Returns false, changing nothing, when there is no room.
    #[must_use]
    pub fn prepend(&mut self, header: &[u8]) -> bool {
        let Some(start) = (self.start as usize).checked_sub(header.len()) else { return false };
        self.storage[start..self.start as usize].copy_from_slice(header);
        self.start = u32_of(start);
        true
    }

    /// Overwrites the bytes that were held and are not any more: in front of those that are.
    pub fn wipe_front(&mut self) {
        secret::wipe(&mut self.storage[..self.start as usize]);
    }

    /// Empties the chunk and overwrites what it held, for bytes that must not outlive their use.
    pub fn wipe(&mut self) {
        secret::wipe(&mut self.storage[..self.end as usize]);
        self.clear();
    }

    /// Empties the chunk and restores its headroom.
    pub fn clear(&mut self) {
        self.start = u32_of(self.front());
        self.end = self.start;
    }
}

/// Bytes of memory that a chunk of `capacity` takes.
#[must_use]
pub const fn storage_bytes(capacity: usize) -> usize {
    let extra = if capacity < LARGE_BYTES { HEADROOM } else { HEADROOM + PAGE_BYTES };
    capacity.saturating_add(extra)
}

/// Lengths inside a chunk fit u32 by its invariant.
#[allow(clippy::cast_possible_truncation, reason = "chunks hold at most 1 GiB")]
fn u32_of(len: usize) -> u32 {
    debug_assert!(u32::try_from(len).is_ok());
    len as u32
}

impl fmt::Debug for Chunk {
    /// Lengths only: payload never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} of {})", self.len(), self.capacity())
    }
}

/// A cursor over received bytes: `None` means "not yet", and leaves the cursor where it was.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    /// The next `len` bytes.
    pub fn take_slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_takes_a_header_without_moving_the_bytes() {
        let mut chunk = Chunk::with_capacity(8);
        assert_eq!(chunk.append(b"payload, too long"), 8);
        assert!(chunk.prepend(&[0x82, 8]));
        assert_eq!(chunk.bytes(), b"\x82\x08payload,");
        assert!(!chunk.prepend(&[0; HEADROOM]), "only fourteen bytes are left in front");
        chunk.advance(2);
        chunk.truncate(3);
        assert_eq!(chunk.bytes(), b"pay");
        chunk.clear();
        assert_eq!((chunk.len(), chunk.capacity()), (0, 8));
    }

    #[test]
    fn large_chunks_begin_at_their_place_in_a_page_and_hold_what_they_are_to() {
        for capacity in (LARGE_BYTES - 40..LARGE_BYTES + 40).chain([65_536, 1 << 20]) {
            let mut chunk = Chunk::with_capacity(capacity);
            assert_eq!((chunk.capacity(), chunk.spare_mut().len()), (capacity, capacity));
            assert_eq!(chunk.storage.len(), storage_bytes(capacity));
            let place = chunk.spare_mut().as_ptr().addr() % PAGE_BYTES;
            assert!(capacity < LARGE_BYTES || place == PAGE_PLACE, "{capacity}: {place}");
            chunk.commit(capacity);
            assert!(chunk.spare_mut().is_empty() && chunk.prepend(&[1; 10]));
            chunk.clear();
            assert_eq!(chunk.spare_mut().len(), capacity);
        }
    }

    #[test]
    fn wiped_bytes_are_gone_and_only_those() {
        let mut chunk = Chunk::copied_from(b"GET /?token\r\n\r\nframe");
        chunk.advance(15);
        chunk.wipe_front();
        assert_eq!(chunk.bytes(), b"frame");
        assert_eq!(chunk.storage[..HEADROOM + 15], [0; HEADROOM + 15]);
        chunk.wipe();
        assert_eq!((chunk.len(), chunk.storage.iter().all(|byte| *byte == 0)), (0, true));
    }

    #[test]
    fn debug_shows_lengths_only() {
        assert_eq!(format!("{:?}", Chunk::copied_from(b"secret")), "Chunk(6 of 6)");
    }

    #[test]
    fn reader_leaves_the_cursor_when_bytes_are_missing() {
        let mut reader = Reader::new(&[0, 1, 2]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u16(), Some(1));
        assert_eq!(reader.take_slice(2), None);
        assert_eq!((reader.u8(), reader.u8()), (Some(2), None));
    }
}
