//! One socket: what epoll last said of it, and what is parked on it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::num::NonZeroU32;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::Pool;
use crate::engine::kernel_tls::{Ended, KernelTls};
use crate::engine::pipes::{Pipe, PipedFrame, Pipes, Spliced};
use crate::engine::pool::ReadSize;
use crate::proto::bytes::Chunk;
use crate::session::{Failure, Handover, Input, Side};

/// A nonblocking TCP socket, with at most one read and one write parked on it. Small, since each relay has two.
pub(super) struct Socket {
    stream: TcpStream,
    readable: bool,
    /// Epoll does not tell whether there is something to read.
    muted: bool,
    writable: bool,
    /// The peer's FIN or a reset is somewhere behind the bytes: read on without waiting for an edge.
    read_closed: bool,
    /// The connect that is under way
    connecting: Option<NonZeroU32>,
    reading: Option<Reading>,
    read_size: ReadSize,
    writing: Option<Writing>,
    /// It waits for its turn to be read
    queued: bool,
    /// The kernel does TLS on it
    kernel_tls: Option<Box<KernelTls>>,
    /// Of that, `close_notify` and FIN wait for room
    fin_due: bool,
}

/// How bytes are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// In a buffer
    Copy,
    /// In the connection's pipe, or in a buffer if none can be had
    Splice,
}

/// What is being written.
#[derive(Debug)]
pub(super) enum Writing {
    /// A buffer
    Chunk(Chunk),
    /// A frame whose payload is in the connection's pipe
    Pipe(PipedFrame),
}

/// A write that is not over.
enum Unwritten {
    WouldBlock(Writing),
    Failed(io::Error),
}

impl Socket {
    /// Takes the stream into the poll.
    pub(super) fn register(mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            readable: true,
            muted: false,
            writable: true,
            read_closed: false,
            connecting: None,
            reading: None,
            read_size: ReadSize::default(),
            writing: None,
            queued: false,
            kernel_tls: None,
            fin_due: false,
        })
    }

    /// Closes the stream, which takes it out of the poll: no other descriptor is that connection's. The buffer of a
    /// write that was parked goes back.
    pub(super) fn close(mut self, pool: &mut Pool) {
        pool.settle(&mut self.read_size);
        if let Some(Writing::Chunk(chunk)) = self.writing {
            pool.put(chunk);
        }
    }

    pub(super) fn start_connecting(&mut self, number: NonZeroU32) {
        self.connecting = Some(number);
        self.readable = false;
        self.writable = false;
    }

    /// Whether the connect of that number is under way here.
    pub(super) fn is_connecting(&self, number: NonZeroU32) -> bool {
        self.connecting == Some(number)
    }

    pub(super) fn start_reading(&mut self, how: Reading) {
        debug_assert!(self.reading.is_none(), "one read is open at a time");
        self.reading = Some(how);
    }

    /// Whether trying to read may bring something, and the queue of such sockets does not know it yet.
    pub(super) fn enters_queue(&mut self) -> bool {
        let enters = self.readable && self.reading.is_some() && !self.queued;
        self.queued |= enters;
        enters
    }

    pub(super) fn leaves_queue(&mut self) {
        self.queued = false;
    }

    pub(super) fn start_writing(&mut self, what: Writing) {
        debug_assert!(self.writing.is_none(), "one write is open at a time");
        self.writing = Some(what);
    }

    /// Counts bytes that are about to be written, for kernel TLS.
    ///
    /// # Errors
    ///
    /// They must not be.
    pub(super) fn count(&mut self, len: usize) -> io::Result<()> {
        self.kernel_tls.as_mut().map_or(Ok(()), |tls| tls.count(len))
    }

    /// Sends FIN. A failure means that the connection is gone, which reading will tell.
    pub(super) fn shutdown_write(&mut self) {
        if self.kernel_tls.is_some() {
            self.fin_due = true;
            self.try_fin();
        } else {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Carries on with the end of kernel TLS, if that is due.
    pub(super) fn try_fin(&mut self) {
        if self.fin_due && self.writing.is_none() {
            self.fin_due = !KernelTls::shut_down(&self.stream);
        }
    }

    /// Lets the kernel go on with TLS.
    pub(super) fn offload(&mut self, side: Side, handover: Handover) -> Input {
        debug_assert!(self.reading.is_none() && self.writing.is_none(), "nothing is under way");
        let (kernel_tls, answer) = KernelTls::take_over(&self.stream, side, handover);
        self.kernel_tls = kernel_tls;
        // Whether there is something to read is another question from now on.
        self.readable = true;
        answer
    }

    /// Remembers what epoll said. While a relay waits to write, it reads nothing, and each segment that comes would
    /// wake the worker to no end: what it is told again is not told any more.
    pub(super) fn ready(&mut self, event: &Event, registry: &Registry, token: Token) {
        if event.is_readable() && self.readable && self.reading.is_none() && !self.muted {
            // If the kernel refuses, it goes on being woken.
            self.muted = registry.reregister(&mut self.stream, token, Interest::WRITABLE).is_ok();
        }
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
    }

    /// Wants to be told again, once there is nothing to read. What has come meanwhile makes an event of its own.
    pub(super) fn unmute_if_drained(&mut self, registry: &Registry, token: Token) {
        if self.muted && !self.readable {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.muted = registry.reregister(&mut self.stream, token, both).is_err();
            // Nobody else would tell.
            self.readable = self.muted;
        }
    }

    /// Whether the connection that was started has been made, once that is known.
    pub(super) fn try_connect(&mut self) -> Option<Input> {
        if self.connecting.is_none() || !self.writable {
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
        self.connecting = None;
        self.readable = true;
        Some(match error {
            None => Input::Connected,
            Some(error) => Input::Failed(Failure::Connect(error)),
        })
    }

    /// Carries on with a read that was asked for, and says what came of it once that is known.
    pub(super) fn try_read(
        &mut self,
        from: Side,
        pipe: &mut Option<Pipe>,
        pool: &mut Pool,
        pipes: &mut Pipes,
    ) -> Option<Input> {
        if !self.readable {
            return None;
        }
        pool.settle(&mut self.read_size);
        let result = match self.reading? {
            Reading::Copy => self.copy_in(from, pool),
            Reading::Splice => match pipes.lease() {
                None => self.copy_in(from, pool),
                Some(leased) => self.splice_in(from, leased, pipe, pool, pipes),
            },
        };
        let input = match result {
            Ok(input) => input?,
            Err(source) => Input::Failed(Failure::Read { from, source }),
        };
        self.reading = None;
        Some(input)
    }

    fn copy_in(&mut self, from: Side, pool: &mut Pool) -> io::Result<Option<Input>> {
        let mut chunk = pool.take_for(&mut self.read_size);
        let result = loop {
            match self.stream.read(chunk.spare_mut()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        if let Ok(len @ 1..) = result {
            // Less than asked for means that the socket is empty, and new bytes make a new edge: this saves
            // the call that would only say WouldBlock. A FIN may have been reported already, and kernel TLS stops
            // in front of what is no application data.
            self.readable = self.read_closed || self.kernel_tls.is_some() || len == chunk.spare_mut().len();
            self.read_size.brought(len);
            chunk.commit(len);
            return Ok(Some(Input::Received { from, chunk }));
        }
        pool.put(chunk);
        pool.settle(&mut self.read_size);
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(error) => match &mut self.kernel_tls {
                None => Err(error),
                Some(tls) => match tls.read_failed(&self.stream, error) {
                    // A record that is passed over. What is behind it has its turn.
                    None => Ok(None),
                    Some(Ok(Ended)) => Ok(Some(Input::Ended { from })),
                    Some(Err(error)) => Err(error),
                },
            },
            Ok(_) => Ok(Some(Input::Ended { from })),
        }
    }

    fn splice_in(
        &mut self,
        from: Side,
        mut leased: Pipe,
        pipe: &mut Option<Pipe>,
        pool: &mut Pool,
        pipes: &mut Pipes,
    ) -> io::Result<Option<Input>> {
        debug_assert!(pipe.is_none(), "a connection has one pipe");
        match leased.fill(&self.stream) {
            Ok(Spliced::Moved(len)) => {
                *pipe = Some(leased);
                Ok(Some(Input::Piped { from, len: u32::try_from(len).unwrap_or(u32::MAX) }))
            }
            other => {
                pipes.put(leased);
                match other {
                    Ok(Spliced::WouldBlock) => {
                        self.readable = false;
                        Ok(None)
                    }
                    // Not every kernel splices from every socket; reading says what is wrong otherwise.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.copy_in(from, pool),
                    Err(error) => Err(error),
                    Ok(_) => Ok(Some(Input::Ended { from })),
                }
            }
        }
    }

    /// Carries on with a write that was asked for, and says what came of it once that is known.
    pub(super) fn try_write(
        &mut self,
        to: Side,
        pipe: &mut Option<Pipe>,
        pool: &mut Pool,
        pipes: &mut Pipes,
    ) -> Option<Input> {
        if self.writing.is_none() || !self.writable || self.connecting.is_some() {
            return None;
        }
        let (result, done) = match self.writing.take()? {
            Writing::Chunk(chunk) => (self.copy_out(chunk, pool), Input::Written { to }),
            Writing::Pipe(mut frame) => {
                let result = match frame.send(pipe.as_mut(), &self.stream) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Unwritten::WouldBlock(Writing::Pipe(frame))),
                    Err(error) => Err(Unwritten::Failed(error)),
                };
                if !matches!(result, Err(Unwritten::WouldBlock(_)))
                    && let Some(pipe) = pipe.take()
                {
                    pipes.put(pipe);
                }
                (result, Input::Spliced { to })
            }
        };
        match result {
            Ok(()) => Some(done),
            Err(Unwritten::WouldBlock(writing)) => {
                self.writable = false;
                self.writing = Some(writing);
                None
            }
            Err(Unwritten::Failed(source)) => Some(Input::Failed(Failure::Write { to, source })),
        }
    }

    fn copy_out(&mut self, mut chunk: Chunk, pool: &mut Pool) -> Result<(), Unwritten> {
        while !chunk.is_empty() {
            match self.stream.write(chunk.bytes()) {
                Ok(len) => chunk.advance(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Unwritten::WouldBlock(Writing::Chunk(pool.shrink(chunk))));
                }
                Err(error) => {
                    pool.put(chunk);
                    return Err(Unwritten::Failed(error));
                }
            }
        }
        pool.put(chunk);
        Ok(())
    }
}
