//! One socket: what epoll last said of it, and what is parked on it.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{Pool, forget};
use crate::engine::accept::set_options;
use crate::proto::bytes::Chunk;
use crate::session::{Failure, Input, Side};

/// A nonblocking TCP socket, with at most one read and one write parked on it.
pub(super) struct Socket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer's FIN or a reset is somewhere behind the bytes: read on without waiting for an edge.
    read_closed: bool,
    connecting: bool,
    wants_read: bool,
    writing: Option<Chunk>,
}

impl Socket {
    /// Takes the stream into the poll.
    pub(super) fn register(mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        set_options(&stream)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            readable: true,
            writable: true,
            read_closed: false,
            connecting: false,
            wants_read: false,
            writing: None,
        })
    }

    /// Takes the stream out of the poll and closes it. Returns the buffer of a write that was parked.
    pub(super) fn deregister(mut self, registry: &Registry) -> Option<Chunk> {
        forget(&mut self.stream, registry);
        self.writing
    }

    pub(super) fn start_connecting(&mut self) {
        self.connecting = true;
        self.readable = false;
        self.writable = false;
    }

    pub(super) fn start_reading(&mut self) {
        debug_assert!(!self.wants_read, "one read is open at a time");
        self.wants_read = true;
    }

    pub(super) fn start_writing(&mut self, chunk: Chunk) {
        debug_assert!(self.writing.is_none(), "one write is open at a time");
        self.writing = Some(chunk);
    }

    /// Sends FIN. A failure means that the connection is gone, which reading will tell.
    pub(super) fn shutdown_write(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Remembers what epoll said.
    pub(super) fn ready(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
    }

    /// Whether the connection that was started has been made, once that is known.
    pub(super) fn try_connect(&mut self) -> Option<Input> {
        if !self.connecting || !self.writable {
            return None;
        }
        let error = match self.stream.take_error() {
            Ok(None) => match self.stream.peer_addr() {
                Ok(_) => None,
                // Not connected yet: a spurious event.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    self.writable = false;
                    return None;
                }
                Err(error) => Some(error),
            },
            Ok(Some(error)) | Err(error) => Some(error),
        };
        self.connecting = false;
        self.readable = true;
        Some(match error {
            None => Input::Connected,
            Some(error) => Input::Failed(Failure::Connect(error)),
        })
    }

    /// Carries on with a read that was asked for, and says what came of it once that is known.
    pub(super) fn try_read(&mut self, from: Side, pool: &mut Pool) -> Option<Input> {
        if !self.wants_read || !self.readable {
            return None;
        }
        let mut chunk = pool.take();
        let result = loop {
            match self.stream.read(chunk.spare_mut()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let input = match result {
            Ok(0) => Input::Ended { from },
            Ok(len) => {
                // Less than asked for means that the socket is empty, and new bytes make a new edge: this
                // saves the call that would only say WouldBlock. A FIN may have been reported already.
                self.readable = self.read_closed || len == chunk.spare_mut().len();
                chunk.commit(len);
                self.wants_read = false;
                return Some(Input::Received { from, chunk });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                pool.put(chunk);
                return None;
            }
            Err(source) => Input::Failed(Failure::Read { from, source }),
        };
        pool.put(chunk);
        self.wants_read = false;
        Some(input)
    }

    /// Carries on with a write that was asked for, and says what came of it once that is known.
    pub(super) fn try_write(&mut self, to: Side, pool: &mut Pool) -> Option<Input> {
        if !self.writable || self.connecting {
            return None;
        }
        let mut chunk = self.writing.take()?;
        let input = loop {
            if chunk.is_empty() {
                break Input::Written { to };
            }
            match self.stream.write(chunk.bytes()) {
                Ok(len) => chunk.advance(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    self.writing = Some(pool.shrink(chunk));
                    return None;
                }
                Err(source) => break Input::Failed(Failure::Write { to, source }),
            }
        };
        pool.put(chunk);
        Some(input)
    }
}
