//! Pipes for splicing: pooled, few, and held only while bytes are in them.
//!
//! The kernel lets an unprivileged user have 16,384 pages of pipes in all (`pipe-user-pages-soft`), which is
//! 64 pipes of 1 MiB. So a connection leases a pipe when its socket has bytes, and gives it back when they
//! have left; a connection that is idle, or whose reader is slow at copying, has none.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::pipe2;

use crate::proto::ws::FrameHeader;
use crate::session::limits::{Limits, size};

/// What to ask for when the quota does not allow the full size any more.
const SMALL_PIPE_BYTES: usize = 262_144;

/// A pipe smaller than this moves less per step than a copy does, and is not worth its calls.
const PIPE_BYTES_MIN: usize = 65_536;

/// A worker's idle pipes, and the process's count of all of them.
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    budget: PipeBudget,
    pipe_bytes: usize,
}

/// How many pipes the process may still make. Shared by its workers.
#[derive(Clone, Debug)]
pub struct PipeBudget(Arc<AtomicUsize>);

impl PipeBudget {
    /// A budget of `pipes_max` pipes.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(AtomicUsize::new(size(limits.pipes_max))))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Pipes {
    pub(super) fn new(budget: PipeBudget, limits: &Limits) -> Self {
        Self { idle: Vec::new(), budget, pipe_bytes: size(limits.pipe_bytes) }
    }

    /// An empty pipe, if one may be had.
    pub(super) fn lease(&mut self) -> Option<Pipe> {
        self.idle.pop().or_else(|| {
            if !self.budget.take() {
                return None;
            }
            let pipe = Pipe::new(self.pipe_bytes);
            if pipe.is_none() {
                self.budget.give_back();
            }
            pipe
        })
    }

    /// Takes a pipe back. One that still holds bytes is closed: they were somebody's console. So is one
    /// beyond the first when the budget is used up: what a burst left idle here would be missing elsewhere.
    pub(super) fn put(&mut self, pipe: Pipe) {
        let is_wanted = self.idle.is_empty() || !self.budget.is_used_up();
        if pipe.held == 0 && is_wanted {
            self.idle.push(pipe);
        } else {
            drop(pipe);
            self.budget.give_back();
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        for _ in self.idle.drain(..) {
            self.budget.give_back();
        }
    }
}

/// What a splice came to.
#[derive(Debug)]
pub(super) enum Spliced {
    /// So many bytes moved
    Moved(usize),
    /// The source has ended
    Ended,
    /// Nothing can move now
    WouldBlock,
}

/// A nonblocking pipe and the number of bytes in it. Small, since each connection has a place for one.
#[derive(Debug)]
pub(super) struct Pipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    /// What the kernel made of the size that was asked for. More can be in it: it counts pages, and those of
    /// a socket's buffers are seldom full.
    size: u32,
    held: u32,
}

impl Pipe {
    fn new(wanted: usize) -> Option<Self> {
        let (read_end, write_end) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
        let resize = |bytes: usize| {
            fcntl(&write_end, FcntlArg::F_SETPIPE_SZ(i32::try_from(bytes).unwrap_or(i32::MAX))).ok()
        };
        let size = resize(wanted).or_else(|| resize(SMALL_PIPE_BYTES.min(wanted)));
        let size = size.or_else(|| fcntl(&write_end, FcntlArg::F_GETPIPE_SZ).ok())?;
        let size = u32::try_from(size).ok().filter(|size| *size as usize >= PIPE_BYTES_MIN.min(wanted))?;
        Some(Self { read_end, write_end, size, held: 0 })
    }

    pub(super) fn held(&self) -> usize {
        self.held as usize
    }

    /// Moves what the socket has into the pipe.
    ///
    /// # Errors
    ///
    /// The connection's, or `EINVAL` from a socket that cannot be spliced.
    pub(super) fn fill(&mut self, socket: &impl AsFd) -> io::Result<Spliced> {
        let moved = spliced(socket, &self.write_end, self.size as usize)?;
        if let Spliced::Moved(len) = moved {
            self.held += u32::try_from(len).unwrap_or(u32::MAX);
        }
        Ok(moved)
    }

    /// Moves what the pipe has into the socket.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) fn drain(&mut self, socket: &impl AsFd) -> io::Result<Spliced> {
        let moved = spliced(&self.read_end, socket, self.held as usize)?;
        if let Spliced::Moved(len) = moved {
            self.held = self.held.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
        }
        Ok(moved)
    }
}

fn spliced(from: &impl AsFd, to: &impl AsFd, len: usize) -> io::Result<Spliced> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        return match splice(from, None, to, None, len, flags) {
            Ok(0) => Ok(Spliced::Ended),
            Ok(len) => Ok(Spliced::Moved(len)),
            Err(Errno::EAGAIN) => Ok(Spliced::WouldBlock),
            Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// A frame whose payload is in a pipe, and how far its header has got.
#[derive(Debug)]
pub(super) struct PipedFrame {
    header: FrameHeader,
    sent: u8,
}

impl PipedFrame {
    pub(super) fn new(header: FrameHeader) -> Self {
        Self { header, sent: 0 }
    }

    /// Sends on, as far as the socket takes it. True once all of the frame is with the kernel.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) fn send(&mut self, pipe: Option<&mut Pipe>, socket: &impl AsFd) -> io::Result<bool> {
        let pipe = pipe.ok_or_else(|| io::Error::other("there is no pipe to write from"))?;
        loop {
            let unsent = &self.header.as_slice()[self.sent.into()..];
            if unsent.is_empty() {
                break;
            }
            match send_header(socket, unsent)? {
                Some(len) => self.sent += u8::try_from(len).unwrap_or(u8::MAX),
                None => return Ok(false),
            }
        }
        while pipe.held() > 0 {
            match pipe.drain(socket)? {
                Spliced::Moved(_) => {}
                Spliced::WouldBlock => return Ok(false),
                Spliced::Ended => return Err(io::Error::other("a pipe held less than was put into it")),
            }
        }
        Ok(true)
    }
}

/// Sends the bytes that stand in front of what is spliced next, so that both leave in one segment. Returns
/// how many went, or `None` when the socket takes nothing now.
///
/// # Errors
///
/// The connection's.
fn send_header(socket: &impl AsFd, header: &[u8]) -> io::Result<Option<usize>> {
    let flags = MsgFlags::from_bits_retain(libc::MSG_MORE) | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        return match send(socket.as_fd().as_raw_fd(), header, flags) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn limits(pipes_max: u64) -> Limits {
        Limits { pipes_max, pipe_bytes: 131_072, ..Limits::default() }
    }

    #[test]
    fn bytes_go_through_a_pipe_and_the_pipe_comes_back() {
        let limits = limits(1);
        let mut pipes = Pipes::new(PipeBudget::new(&limits), &limits);
        let mut pipe = pipes.lease().unwrap();
        assert!(pipes.lease().is_none(), "the budget is one");
        let (mut source, from) = UnixStream::pair().unwrap();
        let (to, mut sink) = UnixStream::pair().unwrap();
        from.set_nonblocking(true).unwrap();
        assert!(matches!(pipe.fill(&from), Ok(Spliced::WouldBlock)));
        source.write_all(b"pixels").unwrap();
        assert!(matches!(pipe.fill(&from), Ok(Spliced::Moved(6))));
        assert_eq!(send_header(&to, b"head").unwrap(), Some(4));
        assert!(matches!(pipe.drain(&to), Ok(Spliced::Moved(6))));
        let mut received = [0; 10];
        sink.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"headpixels");
        drop(source);
        assert!(matches!(pipe.fill(&from), Ok(Spliced::Ended)));
        pipes.put(pipe);
        assert!(pipes.lease().is_some());
    }

    #[test]
    fn a_worker_that_had_all_pipes_leaves_one_to_the_others() {
        let limits = limits(3);
        let budget = PipeBudget::new(&limits);
        let mut greedy = Pipes::new(budget.clone(), &limits);
        let mut other = Pipes::new(budget, &limits);
        let leased: Vec<_> = std::iter::from_fn(|| greedy.lease()).collect();
        assert_eq!(leased.len(), 3);
        assert!(other.lease().is_none());
        leased.into_iter().for_each(|pipe| greedy.put(pipe));
        let first = other.lease().expect("the budget has a place again");
        // And each pipe that comes back while there is none makes room for the next.
        let again = greedy.lease().unwrap();
        greedy.put(again);
        assert!(other.lease().is_some());
        drop(first);
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_never_leased_again() {
        let limits = limits(1);
        let mut pipes = Pipes::new(PipeBudget::new(&limits), &limits);
        let mut pipe = pipes.lease().unwrap();
        let (mut source, from) = UnixStream::pair().unwrap();
        source.write_all(b"another tenant's").unwrap();
        assert!(matches!(pipe.fill(&from), Ok(Spliced::Moved(16))));
        pipes.put(pipe);
        let pipe = pipes.lease().expect("the budget has the place back");
        assert_eq!(pipe.held(), 0);
    }
}
