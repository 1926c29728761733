//! [`Chunk`]: the owned buffer that moves through the program, and [`Reader`], a bounds-checked cursor.

use std::fmt;

use crate::secret;

/// Spare bytes in front of every chunk's payload: room for the longest WebSocket frame header a server
/// sends (10 bytes), so header and payload leave in one write.
pub const HEADROOM: usize = 16;

/// An owned buffer with spare room in front of its bytes.
///
/// A chunk moves: engine to session with what was read, session to engine with what is to be written.
/// It is never lent, so it belongs to exactly one place at any time.
#[derive(Default)]
pub struct Chunk {
    storage: Box<[u8]>,
    // INVARIANT: start <= end <= storage.len(), which fits u32.
    start: u32,
    end: u32,
}

impl Chunk {
    /// An empty chunk that can take `capacity` bytes behind its headroom. At most 1 GiB.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.min(1 << 30);
        let start = u32_of(HEADROOM);
        Self { storage: vec![0; HEADROOM + capacity].into_boxed_slice(), start, end: start }
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
        self.storage.len().saturating_sub(HEADROOM)
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
        &mut self.storage[self.end as usize..]
    }

    /// Counts `len` bytes of the spare room as held. More than the spare room counts as all of it.
    pub fn commit(&mut self, len: usize) {
        let spare = self.storage.len() - self.end as usize;
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
        self.start = u32_of(HEADROOM.min(self.storage.len()));
        self.end = self.start;
    }
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
