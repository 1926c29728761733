//! Many sockets that all do the same, on a thread of their own: the compute node, or the tenants of a bulk run.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::Outcome;

const LISTENER: Token = Token(usize::MAX);

/// What one look at the stop flag may cost.
const TICK: Duration = Duration::from_millis(20);

/// Most bytes one receive discards.
const SINK_BYTES: usize = 1 << 20;

/// What the sockets do.
#[derive(Clone)]
pub(crate) enum Role {
    /// Sends these bytes over and over, one write each, once it is told to go
    Source(Vec<u8>),
    /// Discards what comes without copying it (`MSG_TRUNC`): the proxy is measured, not this
    Sink,
    /// Sends back what comes
    Echo,
    /// Sends this once and discards what comes
    Banner(&'static [u8]),
}

/// What the station and whoever started it share.
#[derive(Default)]
pub(crate) struct Shared {
    go: AtomicBool,
    stop: AtomicBool,
    /// Bytes received
    received: AtomicU64,
    /// Connections accepted
    accepted: AtomicU64,
}

/// A running station.
pub(crate) struct Station {
    shared: Arc<Shared>,
    thread: JoinHandle<Outcome<Floor>>,
}

impl Station {
    /// The compute node.
    pub(crate) fn listen(port: u16, role: Role) -> Outcome<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Self::start(Some(TcpListener::from_std(listener)), Vec::new(), role)
    }

    /// Tenants that are connected.
    pub(crate) fn of(streams: Vec<TcpStream>, role: Role) -> Outcome<Self> {
        Self::start(None, streams, role)
    }

    fn start(listener: Option<TcpListener>, streams: Vec<TcpStream>, role: Role) -> Outcome<Self> {
        let mut floor = Floor {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            listener,
            sockets: Vec::new(),
            active: Vec::new(),
            role,
            gone: false,
            shared: Arc::default(),
            buffer: vec![0; SINK_BYTES],
        };
        if let Some(listener) = &mut floor.listener {
            floor.poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        for stream in streams {
            stream.set_nonblocking(true)?;
            floor.adopt(mio::net::TcpStream::from_std(stream))?;
        }
        Ok(Self::resume(floor))
    }

    /// A floor on a thread of its own, which waits while there is nothing to do.
    pub(crate) fn resume(floor: Floor) -> Self {
        let shared = Arc::clone(&floor.shared);
        shared.stop.store(false, Ordering::Relaxed);
        Self { shared, thread: thread::spawn(move || floor.run()) }
    }

    /// Lets sources send.
    pub(crate) fn go(&self) {
        self.shared.go.store(true, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Waits until so many connections were accepted.
    pub(crate) fn wait_for(&self, connections: usize) -> Outcome<()> {
        for _ in 0..1_000 {
            if self.shared.accepted.load(Ordering::Relaxed) >= u64::try_from(connections)? {
                return Ok(());
            }
            thread::sleep(TICK);
        }
        Err("the proxy did not reach the compute node".into())
    }

    /// Ends the thread; its sockets are closed.
    pub(crate) fn stop(self) -> Outcome<()> {
        self.take_over().map(drop)
    }

    /// Ends the thread. What it did is the caller's to do from now on.
    pub(crate) fn take_over(self) -> Outcome<Floor> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
    }
}

/// The sockets of a station.
pub(crate) struct Floor {
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    sockets: Vec<Option<Socket>>,
    /// Which of them may have something to do
    active: Vec<usize>,
    role: Role,
    /// Sources send
    gone: bool,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
}

struct Socket {
    stream: mio::net::TcpStream,
    /// There may be something to do
    active: bool,
    /// Of the bytes that a source repeats
    sent: usize,
    /// What an echo could not send yet
    owed: Vec<u8>,
}

impl Floor {
    fn adopt(&mut self, mut stream: mio::net::TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let index = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), interest)?;
        let mut socket = Socket { stream, active: false, sent: 0, owed: Vec::new() };
        if let Role::Banner(bytes) = self.role {
            socket.stream.write_all(bytes)?;
        }
        if index == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[index] = Some(socket);
        self.activate(index);
        Ok(())
    }

    /// The next turn has something to do already.
    pub(crate) fn is_busy(&self) -> bool {
        !self.active.is_empty()
    }

    fn activate(&mut self, index: usize) {
        if let Some(Some(socket)) = self.sockets.get_mut(index)
            && !mem::replace(&mut socket.active, true)
        {
            self.active.push(index);
        }
    }

    fn run(mut self) -> Outcome<Self> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if !self.gone && self.shared.go.load(Ordering::Relaxed) {
                self.gone = true;
                (0..self.sockets.len()).for_each(|index| self.activate(index));
            }
            self.turn(TICK)?;
        }
        Ok(self)
    }

    /// One step of each socket that has something to do. Waits for one when none has.
    pub(crate) fn turn(&mut self, wait: Duration) -> Outcome<()> {
        let wait = if self.is_busy() { Duration::ZERO } else { wait };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let tokens: Vec<_> = self.events.iter().map(Event::token).collect();
        for token in tokens {
            if token == LISTENER {
                self.accept()?;
            } else {
                self.activate(token.0);
            }
        }
        for index in mem::take(&mut self.active) {
            let slot = &mut self.sockets[index];
            let Some(socket) = slot else { continue };
            match socket.step(&self.role, self.gone, &mut self.buffer) {
                Ok(received) => {
                    self.shared.received.fetch_add(received, Ordering::Relaxed);
                    if socket.active {
                        self.active.push(index);
                    }
                }
                // Ended: proxies end a session in their own ways, and the figures show if it was early.
                Err(_) => *slot = None,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Outcome<()> {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.adopt(stream)?;
                    self.shared.accepted.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsRawFd for Floor {
    /// Readable when a turn has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl Socket {
    /// One step. Bytes received; an error when the connection is over.
    fn step(&mut self, role: &Role, gone: bool, buffer: &mut [u8]) -> io::Result<u64> {
        match role {
            Role::Source(bytes) if gone => self.send(bytes),
            Role::Source(_) => {
                self.active = false;
                Ok(0)
            }
            Role::Sink | Role::Banner(_) => self.discard(buffer),
            Role::Echo => self.echo(buffer),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<u64> {
        match self.stream.write(&bytes[self.sent..]) {
            Ok(len) => self.sent = (self.sent + len) % bytes.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.active = false,
            Err(error) => return Err(error),
        }
        Ok(0)
    }

    fn discard(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        match recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => Ok(u64::try_from(len).unwrap_or(u64::MAX)),
            Err(Errno::EAGAIN) => {
                self.active = false;
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        let mut received = 0;
        if self.owed.is_empty() {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    received = u64::try_from(len).unwrap_or(u64::MAX);
                    self.owed.extend(&buffer[..len]);
                    // A short read emptied the socket: new bytes make a new edge.
                    self.active = len == buffer.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.active = false,
                Err(error) => return Err(error),
            }
        }
        while !self.owed.is_empty() {
            match self.stream.write(&self.owed) {
                Ok(len) => drop(self.owed.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.active = false;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }
}
