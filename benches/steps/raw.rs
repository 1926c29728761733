//! What the kernel alone costs: bytes are received and sent as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use consolegate::proto::bytes::Chunk;
use mio::{Events, Interest, Poll, Token};

use crate::harness::{Direction, Ends, Relay};

/// As large as the program's.
const BUFFER_BYTES: usize = 65_536;

/// `recv` and `send`, with epoll in front or not.
pub(crate) struct Raw {
    ends: Vec<Ends>,
    /// Our ends
    tenants: Vec<mio::net::TcpStream>,
    computes: Vec<mio::net::TcpStream>,
    poll: Option<Poll>,
    events: Events,
    /// One of the program's: where it begins in its page decides how fast it is copied
    buffer: Chunk,
    /// Bytes of the last run in each session
    each: usize,
}

impl Raw {
    pub(crate) fn new(sessions: usize, polled: bool) -> Self {
        let mut raw = Self {
            ends: Vec::new(),
            tenants: Vec::new(),
            computes: Vec::new(),
            poll: polled.then(|| Poll::new().unwrap()),
            events: Events::with_capacity(1_024),
            buffer: Chunk::with_capacity(BUFFER_BYTES),
            each: 0,
        };
        for _ in 0..sessions {
            let ((tenant, our_tenant), (compute, our_compute)) = (pair(), pair());
            raw.ends.push(Ends { tenant, compute });
            raw.tenants.push(mio::net::TcpStream::from_std(our_tenant));
            raw.computes.push(mio::net::TcpStream::from_std(our_compute));
        }
        if let Some(poll) = &raw.poll {
            let interest = Interest::READABLE | Interest::WRITABLE;
            for (index, stream) in raw.tenants.iter_mut().enumerate() {
                poll.registry().register(stream, Token(2 * index), interest).unwrap();
            }
            for (index, stream) in raw.computes.iter_mut().enumerate() {
                poll.registry().register(stream, Token(2 * index + 1), interest).unwrap();
            }
        }
        raw
    }

    /// What session `index` has in that direction.
    fn relay(&mut self, direction: Direction, index: usize) -> usize {
        let (from, to) = match direction {
            Direction::ToTenant => (&mut self.computes[index], &mut self.tenants[index]),
            Direction::ToCompute => (&mut self.tenants[index], &mut self.computes[index]),
        };
        let mut moved = 0;
        loop {
            let buffer = self.buffer.spare_mut();
            let len = match from.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
                result => result.unwrap(),
            };
            to.write_all(&buffer[..len]).unwrap();
            moved += len;
            // A short read has emptied the socket.
            if len < buffer.len() {
                return moved;
            }
        }
    }
}

impl Relay for Raw {
    fn name(&self) -> &'static str {
        if self.poll.is_some() { "raw relay" } else { "recv+send" }
    }

    fn framed(&self) -> bool {
        false
    }

    fn ends(&mut self) -> &mut [Ends] {
        &mut self.ends
    }

    fn run(&mut self, direction: Direction, waiting: usize) {
        let mut moved = 0;
        self.each = waiting / self.ends.len();
        while moved < waiting {
            let Some(mut poll) = self.poll.take() else {
                moved += (0..self.ends.len()).map(|index| self.relay(direction, index)).sum::<usize>();
                continue;
            };
            poll.poll(&mut self.events, None).unwrap();
            let side = usize::from(direction == Direction::ToTenant);
            let ready: Vec<_> = self.events.iter().map(|event| event.token().0).collect();
            for token in ready.into_iter().filter(|token| token % 2 == side) {
                moved += self.relay(direction, token / 2);
            }
            self.poll = Some(poll);
        }
    }

    fn sent(&self, _session: usize) -> usize {
        self.each
    }
}

/// A connection: the harness's end, blocking, and the relay's, not.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    for stream in [&theirs, &ours] {
        stream.set_nodelay(true).unwrap();
    }
    ours.set_nonblocking(true).unwrap();
    (theirs, ours)
}
