//! [`Inbox`]: what one side has sent and no step has read yet.

/// A fixed buffer of `N` bytes, filled at one end and read at the other.
///
/// Its size is settled here and not by anything a peer declares.
pub(super) struct Inbox<const N: usize> {
    bytes: [u8; N],
    // INVARIANT: start <= end <= N.
    start: usize,
    end: usize,
}

impl<const N: usize> Inbox<N> {
    pub(super) fn new() -> Self {
        Self { bytes: [0; N], start: 0, end: 0 }
    }

    /// The bytes held.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Keeps what fits of `bytes` while no more than `limit` bytes are held, and returns how many that was.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> usize {
        let len = bytes.len().min(limit.min(N).saturating_sub(self.held().len()));
        if self.end + len > N {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes[self.end..self.end + len].copy_from_slice(&bytes[..len]);
        self.end += len;
        len
    }

    /// Reads `K` bytes once they are all there.
    pub(super) fn take<const K: usize>(&mut self) -> Option<[u8; K]> {
        let taken = *self.held().first_chunk::<K>()?;
        self.start += K;
        Some(taken)
    }

    /// Reads `len` bytes once they are all there.
    pub(super) fn take_slice(&mut self, len: usize) -> Option<&[u8]> {
        let (from, held) = (self.start, self.held().len());
        if held < len {
            return None;
        }
        self.start += len;
        Some(&self.bytes[from..self.start])
    }

    /// Throws away up to `len` bytes and returns how many that was.
    pub(super) fn discard(&mut self, len: usize) -> usize {
        let len = len.min(self.held().len());
        self.start += len;
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_across_the_buffers_end() {
        let mut inbox = Inbox::<4>::new();
        assert_eq!(inbox.push(b"abcdef", 4), 4);
        assert_eq!(inbox.take::<3>(), Some(*b"abc"));
        assert_eq!(inbox.push(b"efg", 4), 3);
        assert_eq!(inbox.take_slice(5), None);
        assert_eq!(inbox.take_slice(2), Some(b"de".as_slice()));
        assert_eq!(inbox.discard(9), 2);
        assert_eq!(inbox.held(), b"");
    }

    #[test]
    fn a_limit_below_the_size_holds() {
        let mut inbox = Inbox::<8>::new();
        assert_eq!(inbox.push(b"abcd", 3), 3);
        assert_eq!(inbox.push(b"d", 3), 0);
        assert_eq!(inbox.push(b"d", 1), 0);
    }
}
