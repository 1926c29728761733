//! How a stream is cut into reads: shared by the fuzz targets and the property tests of every protocol
//! machine. Include it beside a machine's invariants with `#[path]`.

/// Sizes of successive reads, repeated until the stream is used up.
///
/// A size of 0 stands for 256, except that [`Plan::WHOLE`] has no sizes at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    sizes: &'a [u8],
}

impl<'a> Plan<'a> {
    /// One read of everything.
    pub(crate) const WHOLE: Self = Self { sizes: &[] };
    /// One byte a read.
    pub(crate) const BYTEWISE: Self = Self { sizes: &[1] };

    /// A plan of these sizes.
    pub(crate) fn new(sizes: &'a [u8]) -> Self {
        Self { sizes }
    }

    /// Splits a fuzzer's input: the low four bits of its first byte say how many sizes follow, the rest
    /// is the stream.
    pub(crate) fn from_front(data: &'a [u8]) -> (Self, &'a [u8]) {
        let Some((first, rest)) = data.split_first() else { return (Self::WHOLE, data) };
        let (sizes, stream) = rest.split_at(rest.len().min(usize::from(first & 0x0F)));
        (Self::new(sizes), stream)
    }

    /// Cuts `stream` as planned. An empty stream has no reads.
    pub(crate) fn reads<'s>(self, mut stream: &'s [u8]) -> impl Iterator<Item = &'s [u8]> + use<'s, 'a> {
        let mut sizes = self.sizes.iter().cycle();
        std::iter::from_fn(move || {
            let size = sizes.next().map_or(usize::MAX, |size| usize::from(size.wrapping_sub(1)) + 1);
            let (read, rest) = stream.split_at(stream.len().min(size));
            stream = rest;
            (!read.is_empty()).then_some(read)
        })
    }
}
