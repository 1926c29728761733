//! Many connections on one thread, each sending and checking a stream of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::client::masked;

/// Length of the pattern that every stream is cut from.
const PATTERN_LEN: usize = 1 << 20;

/// Bytes without a period shorter than themselves.
pub(crate) fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(PATTERN_LEN);
    while bytes.len() < PATTERN_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// A stream: `len` bytes of the pattern from `start` on, around its end and on from its front.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) start: usize,
    pub(crate) len: usize,
    done: usize,
}

impl Stream {
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start: start % PATTERN_LEN, len, done: 0 }
    }

    /// The next bytes, at most `max`, as they lie in the pattern.
    pub(crate) fn next<'a>(&mut self, pattern: &'a [u8], max: usize) -> &'a [u8] {
        let at = (self.start + self.done) % PATTERN_LEN;
        let len = max.min(self.len - self.done).min(PATTERN_LEN - at);
        self.done += len;
        &pattern[at..at + len]
    }

    /// Compares received bytes with the pattern, every one of them.
    pub(crate) fn check(&mut self, pattern: &[u8], mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(self.done < self.len, "{} bytes too many", bytes.len());
            let at = self.done;
            let expected = self.next(pattern, bytes.len());
            assert!(
                bytes[..expected.len()] == *expected,
                "bytes differ in the {} behind {at}",
                expected.len()
            );
            bytes = &bytes[expected.len()..];
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.len
    }
}

/// One connection.
pub(crate) struct Pump {
    stream: mio::net::TcpStream,
    pub(crate) sends: Stream,
    pub(crate) receives: Stream,
    /// Whether this end is a WebSocket client
    framed: bool,
    /// Wire bytes that are on their way
    wire: Vec<u8>,
    /// Bytes of a frame header that is not complete yet
    header: Vec<u8>,
    /// Bytes left of the present frame
    frame_left: usize,
    /// Does not read before this time
    pub(crate) stalled_until: Option<Instant>,
}

impl Pump {
    pub(crate) fn new(stream: TcpStream, sends: Stream, receives: Stream, framed: bool) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self {
            stream: mio::net::TcpStream::from_std(stream),
            sends,
            receives,
            framed,
            wire: Vec::new(),
            header: Vec::new(),
            frame_left: 0,
            stalled_until: None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.sends.is_done() && self.wire.is_empty() && self.receives.is_done()
    }

    fn drive(&mut self, pattern: &[u8], buffer: &mut [u8]) {
        self.send(pattern).unwrap();
        if self.stalled_until.is_none_or(|until| Instant::now() >= until) {
            self.stalled_until = None;
            self.receive(pattern, buffer).unwrap();
        }
    }

    fn send(&mut self, pattern: &[u8]) -> io::Result<()> {
        loop {
            if self.wire.is_empty() {
                if self.sends.is_done() {
                    return Ok(());
                }
                // Frames of many sizes, the same for the same stream.
                let size = 1 + (self.sends.done.wrapping_mul(2_654_435_761) >> 7) % 30_000;
                let bytes = self.sends.next(pattern, size);
                self.wire = if self.framed { masked(0x82, bytes) } else { bytes.to_vec() };
            }
            match self.stream.write(&self.wire) {
                Ok(len) => drop(self.wire.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, pattern: &[u8], buffer: &mut [u8]) -> io::Result<()> {
        while !self.receives.is_done() {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) if self.framed => self.unframe(pattern, &buffer[..len]),
                Ok(len) => self.receives.check(pattern, &buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unframe(&mut self, pattern: &[u8], mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.frame_left == 0 {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
                self.frame_left = frame_len(&mut self.header);
            } else {
                let len = bytes.len().min(self.frame_left);
                self.receives.check(pattern, &bytes[..len]);
                self.frame_left -= len;
                bytes = &bytes[len..];
            }
        }
    }
}

/// Length of the frame whose header is complete; clears it then. 0 while it is not.
fn frame_len(header: &mut Vec<u8>) -> usize {
    let len = match header[..] {
        [0x82, len @ 0..126] => usize::from(len),
        [0x82, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
        [0x82, 127, a, b, c, d, e, f, g, h] => {
            usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).unwrap()
        }
        [first, ..] => {
            assert_eq!(first, 0x82, "only whole binary frames are expected");
            return 0;
        }
        [] => return 0,
    };
    header.clear();
    assert!(len > 0, "an empty frame");
    len
}

/// Moves all bytes of all connections. Panics when that takes longer than `limit`.
pub(crate) fn run(pumps: &mut [Pump], pattern: &[u8], limit: Duration) {
    let mut poll = Poll::new().unwrap();
    for (index, pump) in pumps.iter_mut().enumerate() {
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut pump.stream, Token(index), interest).unwrap();
    }
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 1 << 16]);
    let until = Instant::now() + limit;
    let mut left: Vec<usize> = (0..pumps.len()).collect();
    while !left.is_empty() {
        assert!(Instant::now() < until, "{} of {} connections are not done", left.len(), pumps.len());
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        for event in &events {
            pumps[event.token().0].drive(pattern, &mut buffer);
        }
        // Those that stalled have no event coming for what they left unread.
        for index in &left {
            if pumps[*index].stalled_until.is_some_and(|until| Instant::now() >= until) {
                pumps[*index].drive(pattern, &mut buffer);
            }
        }
        left.retain(|index| !pumps[*index].is_done());
    }
}
