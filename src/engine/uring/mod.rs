//! The engine on `io_uring`: one ring for each worker, one system call for each turn.
//!
//! All operations of a turn are handed over by one `io_uring_enter`, which also waits for completions:
//! multishot accept, connect with a linked timeout, receive into a registered ring of buffers, send. That saves
//! calls where many sockets are ready at once. Where few are, and for bulk data, recv(2), send(2) and splice(2) are
//! called after the ring has polled the socket; the ring's own splice and shutdown would go to a thread of the
//! kernel's, which costs ten times the call.
//!
//! It needs what Linux 6.1 has, and is taken by itself from 6.13 on; [`super::detect`] finds out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::Timespec;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, send, socket};

use super::accept::{Pace, set_options};
use super::kernel_tls::{Ended, KernelTls};
use super::pipes::{PipedFrame, Pipes};
use super::pool::Pool;
use super::{
    EVENTS_OF_A_TURN, Engine, Event, PipeBudget, Seat, SessionId, Wake, descriptors, slots_at_start,
};
use crate::proto::bytes::Chunk;
use crate::session::limits::{Limits, size};
use crate::session::{Failure, Handover, Input, Output, Side};

mod acceptor;
mod buffers;
mod connection;
mod direct;
mod operation;
mod probe;
mod ring;
mod splice;
mod submission;
mod watch;

use acceptor::Acceptor;
use connection::{Connections, Returned};
use operation::Operation;
pub use probe::{Unavailable, probe};
use ring::{Completion, Ring};
use submission::FileSlot;
use watch::{Awaiting, Crowd};

/// How many operations a ring of ours knows; the kernel refuses it all others.
pub const OPERATIONS: usize = submission::OPCODES.len();

/// Most connections of one worker: the kernel's file tables hold 2^20 entries.
const CONNECTIONS_MAX: u64 = 500_000;

/// Events of a turn up to which a socket is read and written by calls of their own. The ring saves a call for each
/// operation where many sockets are ready at once, and costs more than the calls where few are.
const FEW_EVENTS: usize = 4;

/// One worker's connections, on `io_uring`. It works only on the thread that made it.
pub struct UringEngine {
    // Dropped first: nothing is under way any more when the sockets close.
    ring: Ring,
    waker: Arc<EventWaker>,
    acceptor: Acceptor,
    seat: Seat,
    connections: Connections,
    completed: Vec<Event>,
    /// Reads that found no buffer in the ring, to be started again in the next turn
    starved: Vec<(SessionId, Side)>,
    /// Times that this happened
    starvations: u64,
    /// Sockets that may have bytes, to be read by calls of their own
    to_read: VecDeque<(SessionId, Side)>,
    /// Buffers for their reads
    pool: Pool,
    /// Events of the last turn
    batch: usize,
    crowd: Crowd,
    now: Instant,
    pipes: Pipes,
}

impl UringEngine {
    /// An engine that accepts from `listener`, and shares with others by its `seat`.
    ///
    /// # Errors
    ///
    /// The kernel denied the ring or something of it: [`probe()`] tells beforehand.
    pub fn new(
        listener: TcpListener,
        mut seat: Seat,
        limits: &Limits,
        pipes: PipeBudget,
    ) -> io::Result<Self> {
        // The kernel makes no file table larger than the descriptor limit.
        let files_max = descriptors::limit().saturating_sub(FileSlot::RESERVED.into());
        let connections_max = limits.sessions_max.min(CONNECTIONS_MAX).min(files_max / 2);
        let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let pool_bytes = size(limits.pool_bytes) / 2;
        let ring = Ring::new(connections_max, size(limits.read_bytes), pool_bytes)
            .map_err(|(step, error)| io::Error::new(error.kind(), format!("{step}: {error}")))?;
        let waker = Arc::new(EventWaker(ring.event()?));
        seat.open(connections_max as usize, waker.clone());
        Ok(Self {
            waker,
            seat,
            acceptor: Acceptor::new(listener, &ring, Pace::new(limits.accepts_per_second_max))?,
            connections: Connections::new(connections_max, slots_at_start(limits)),
            completed: Vec::with_capacity(EVENTS_OF_A_TURN),
            starved: Vec::new(),
            starvations: 0,
            to_read: VecDeque::new(),
            pool: Pool::new(limits, pool_bytes),
            batch: 0,
            crowd: Crowd::default(),
            now: Instant::now(),
            pipes: Pipes::new(pipes, limits),
            ring,
        })
    }

    /// Operations that the kernel has not completed.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.ring.under_way()
    }

    /// Times that a read found no buffer, because more sockets had bytes at once than the ring has buffers.
    #[must_use]
    pub fn starvations(&self) -> u64 {
        self.starvations
    }

    /// Times that completions did not fit the queue.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.ring.overflows()
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { result, more } => self.acceptor.completed(result, more),
            Completion::Woken => {
                self.seat.woken();
                self.completed.push(Event::Woken);
            }
            Completion::Received { id, from, result, more } => self.received(id, from, result, more),
            Completion::Sent { id, to, chunk, result } => self.sent(id, to, chunk, result),
            Completion::Connected { id, result } => self.connected(id, result),
            Completion::Polled { id, side } => self.polled(id, side),
            Completion::Watched { user_data, last, more } => self.watched(user_data, last, more),
            Completion::Counted(id) => {
                if matches!(self.connections.returned(id), Returned::Over) {
                    self.release(id);
                }
            }
            Completion::Nothing => {}
        }
    }

    fn report(&mut self, id: SessionId, input: Input) {
        self.completed.push(Event::Completed { id, input });
    }

    /// Gives connections that were accepted their slots, here or at a worker that has fewer, as long as there are any.
    fn place(&mut self) {
        self.adopt_waiting();
        while self.acceptor.has_surplus() {
            let room = self.connections.has_room();
            let lighter = self.seat.lighter(room);
            if !room && lighter.is_none() {
                return;
            }
            let Some(stream) = self.acceptor.next() else { return };
            // Fails for a connection that has been reset meanwhile.
            let Ok(peer) = stream.peer_addr() else { continue };
            let Some(to) = lighter else {
                self.seat.taken();
                self.adopt(stream, peer);
                continue;
            };
            if let Err(returned) = self.seat.hand_over(to, stream, peer) {
                self.seat.keep(returned);
                self.adopt_waiting();
            }
        }
    }

    /// Takes what other workers handed over, as long as there is room for it.
    fn adopt_waiting(&mut self) {
        while self.connections.has_room()
            && let Some((stream, peer)) = self.seat.next()
        {
            self.adopt(stream, peer);
        }
    }

    /// Gives a connection its slot.
    fn adopt(&mut self, stream: TcpStream, peer: SocketAddr) {
        let id = self.connections.insert(stream);
        if let Err(error) = self.register(id, Side::Tenant) {
            tracing::warn!("a connection could not be taken: {error}");
            self.connections.close(id);
            self.connections.remove(id, &mut self.pool);
            return self.seat.left();
        }
        self.completed.push(Event::Accepted { id, peer });
    }

    /// Puts a socket into the ring's file table.
    fn register(&mut self, id: SessionId, side: Side) -> io::Result<()> {
        let Some(connection) = self.connections.live(id) else { return Ok(()) };
        let stream = connection.socket(side).stream.as_ref();
        self.ring.set_file(FileSlot::of(id.index, side), stream.map(AsFd::as_fd))
    }

    fn read(&mut self, id: SessionId, from: Side) {
        let Some(connection) = self.connections.live(id) else { return };
        let socket = connection.socket(from);
        if socket.stream.is_none() {
            return;
        }
        debug_assert!(socket.receiving.is_none() && socket.watch.is_free(), "one read is open at a time");
        let wait_first = std::mem::take(&mut socket.drained);
        self.pool.settle(&mut socket.read_size);
        let direct = !self.crowd.is_there() || socket.read_size.is_at_least(self.ring.buffer_bytes() / 2);
        // With kernel TLS half a record makes a socket readable, and polling would never wait.
        if direct && socket.kernel_tls.is_none() {
            if wait_first {
                self.watch(id, from, Awaiting::Read);
            } else {
                self.to_read.push_back((id, from));
            }
            return;
        }
        // The receive waits by itself.
        let watched = socket.watch.end(id.index, from);
        socket.receiving = Some(self.ring.start(Operation::Recv { id, from, wait_first }));
        connection.started(1 + u16::from(watched.is_some()));
        if let Some(target) = watched {
            self.ring.start(Operation::Cancel { id: Some(id), target });
        }
    }

    fn received(&mut self, id: SessionId, from: Side, result: io::Result<Chunk>, more: bool) {
        let connection = match self.connections.returned(id) {
            Returned::Live(connection) => connection,
            Returned::Closing => return self.recycle_result(result),
            Returned::Over => {
                self.recycle_result(result);
                return self.release(id);
            }
        };
        let socket = connection.socket(from);
        socket.receiving = None;
        match result {
            Ok(chunk) if chunk.is_empty() => {
                self.recycle(chunk);
                self.report(id, Input::Ended { from });
            }
            Ok(chunk) => {
                socket.read_size.brought(chunk.len());
                socket.drained = !more;
                self.report(id, Input::Received { from, chunk });
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.starvations += 1;
                self.starved.push((id, from));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read(id, from),
            Err(source) => self.read_failed(id, from, source),
        }
    }

    fn read_failed(&mut self, id: SessionId, from: Side, source: io::Error) {
        let Some(connection) = self.connections.live(id) else { return };
        let socket = connection.socket(from);
        let failed = match (&socket.stream, &mut socket.kernel_tls) {
            (Some(stream), Some(tls)) => tls.read_failed(stream, source),
            _ => Some(Err(source)),
        };
        match failed {
            None => self.read(id, from),
            Some(Ok(Ended)) => self.report(id, Input::Ended { from }),
            Some(Err(source)) => self.report(id, Input::Failed(Failure::Read { from, source })),
        }
    }

    /// Sends the chunk: a large one or one of a few by a call of its own, the others by the ring.
    fn write(&mut self, id: SessionId, to: Side, chunk: Chunk) -> Option<Input> {
        if chunk.len() < self.ring.buffer_bytes() && self.batch > FEW_EVENTS {
            self.send(id, to, chunk);
            return None;
        }
        let stream = self.connections.live(id).and_then(|connection| connection.socket(to).stream.as_ref());
        let Some(stream) = stream else {
            self.recycle(chunk);
            return None;
        };
        let mut chunk = chunk;
        match send_now(stream, &mut chunk) {
            Ok(()) => {
                self.recycle(chunk);
                Some(Input::Written { to })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let rest = self.pool.shrink(chunk);
                self.send(id, to, rest);
                None
            }
            Err(source) => {
                self.recycle(chunk);
                Some(Input::Failed(Failure::Write { to, source }))
            }
        }
    }

    /// Sends the chunk by the ring, which waits for room where there is none.
    fn send(&mut self, id: SessionId, to: Side, chunk: Chunk) {
        let Some(connection) = self.connections.live(id) else { return self.recycle(chunk) };
        let socket = connection.socket(to);
        debug_assert!(socket.sending.is_none(), "one write is open at a time");
        if socket.stream.is_none() {
            return self.recycle(chunk);
        }
        if chunk.is_empty() {
            self.recycle(chunk);
            return self.report(id, Input::Written { to });
        }
        let whole = socket.kernel_tls.is_none();
        socket.sending = Some(self.ring.start(Operation::Send { id, to, chunk, whole }));
        connection.started(1);
    }

    fn sent(&mut self, id: SessionId, to: Side, mut chunk: Chunk, result: io::Result<usize>) {
        let connection = match self.connections.returned(id) {
            Returned::Live(connection) => connection,
            Returned::Closing => return self.recycle(chunk),
            Returned::Over => {
                self.recycle(chunk);
                return self.release(id);
            }
        };
        let socket = connection.socket(to);
        socket.sending = None;
        let input = match result {
            Ok(len) if len > 0 => {
                chunk.advance(len);
                if !chunk.is_empty() {
                    return self.send(id, to, chunk);
                }
                Input::Written { to }
            }
            Ok(_) => Input::Failed(Failure::Write { to, source: ErrorKind::WriteZero.into() }),
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.send(id, to, chunk),
            Err(source) => Input::Failed(Failure::Write { to, source }),
        };
        if std::mem::take(&mut socket.fin_due) {
            self.shut_down_write(id, to);
        }
        self.recycle(chunk);
        self.report(id, input);
    }

    /// Sends FIN behind what is being sent. A failure means that the connection is gone, which reading tells.
    fn shut_down_write(&mut self, id: SessionId, to: Side) {
        let Some(connection) = self.connections.live(id) else { return };
        let socket = connection.socket(to);
        if socket.sending.is_some() {
            socket.fin_due = true;
        } else if let (Some(stream), true) = (&socket.stream, socket.kernel_tls.is_some()) {
            if !KernelTls::shut_down(stream) {
                socket.fin_due = true;
                socket.sending = Some(self.ring.start(Operation::Poll { id, side: to }));
                connection.started(1);
            }
        } else if let Some(stream) = &socket.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Counts bytes that are about to be written, for kernel TLS, which may not seal any number.
    fn count(&mut self, id: SessionId, to: Side, len: usize) -> io::Result<()> {
        let connection = self.connections.live(id);
        connection.and_then(|c| c.socket(to).kernel_tls.as_mut()).map_or(Ok(()), |tls| tls.count(len))
    }

    /// Lets the kernel go on with TLS.
    fn offload(&mut self, id: SessionId, side: Side, handover: Handover) -> Option<Input> {
        let socket = self.connections.live(id)?.socket(side);
        debug_assert!(socket.receiving.is_none() && socket.sending.is_none(), "nothing is under way");
        let (kernel_tls, answer) = KernelTls::take_over(socket.stream.as_ref()?, side, handover);
        socket.kernel_tls = kernel_tls;
        // Whether there is something to read is another question from now on.
        socket.drained = false;
        Some(answer)
    }

    fn connect(&mut self, id: SessionId, address: SocketAddr, within: Duration) {
        let Some(connection) = self.connections.live(id) else { return };
        let stream = match new_socket(address) {
            Ok(stream) => stream,
            Err(error) => return self.report(id, Input::Failed(Failure::Connect(error))),
        };
        // A socket that failed to connect is replaced by the next address's, in the file table too.
        let socket = connection.socket(Side::Compute);
        debug_assert!(socket.sending.is_none() && socket.receiving.is_none());
        if let Some(failed) = socket.stream.replace(stream) {
            // A connect that was given up in time must not be made after all.
            let _ = failed.shutdown(Shutdown::Both);
        }
        if let Err(error) = self.register(id, Side::Compute) {
            return self.report(id, Input::Failed(Failure::Connect(error)));
        }
        let address = Box::new(SockaddrStorage::from(address));
        let after = Box::new(Timespec::from(within));
        let key = self
            .ring
            .start_with_timeout(Operation::Connect { id, address }, Operation::ConnectTimeout { id, after });
        if let Some(connection) = self.connections.live(id) {
            connection.socket(Side::Compute).sending = Some(key);
            connection.started(2);
        }
    }

    fn connected(&mut self, id: SessionId, result: io::Result<()>) {
        let connection = match self.connections.returned(id) {
            Returned::Live(connection) => connection,
            Returned::Closing => return,
            Returned::Over => return self.release(id),
        };
        connection.socket(Side::Compute).sending = None;
        let input = match result {
            Ok(()) => Input::Connected,
            // Only the linked timeout cancels the connect of a live session.
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {
                Input::Failed(Failure::Connect(ErrorKind::TimedOut.into()))
            }
            Err(error) => Input::Failed(Failure::Connect(error)),
        };
        self.report(id, input);
    }

    /// Cancels what is under way. The slot is freed when all of it has come back.
    fn close(&mut self, id: SessionId) {
        let Some(connection) = self.connections.live(id) else { return };
        let targets = connection.to_cancel(id.index);
        for target in targets {
            self.ring.start(Operation::Cancel { id: Some(id), target });
            if let Some(connection) = self.connections.live(id) {
                connection.started(1);
            }
        }
        if self.connections.close(id) {
            self.release(id);
        }
    }

    /// Frees the slot of a connection that has nothing under way.
    fn release(&mut self, id: SessionId) {
        let (streams, pipe) = self.connections.remove(id, &mut self.pool);
        self.seat.left();
        if let Some(pipe) = pipe {
            self.pipes.put(pipe);
        }
        for (side, stream) in [Side::Tenant, Side::Compute].into_iter().zip(streams) {
            let Some(stream) = stream else { continue };
            // Kernels before 6.13 keep a file that left the table until older operations of the whole ring
            // have ended, which can take hours: the peer is told now. Fails where the connection is over.
            let _ = stream.shutdown(Shutdown::Both);
            if let Err(error) = self.ring.set_file(FileSlot::of(id.index, side), None) {
                tracing::warn!("a socket could not be taken out of the ring: {error}");
            }
        }
        self.completed.push(Event::Released { id });
    }

    fn recycle(&mut self, chunk: Chunk) {
        if let Some(chunk) = self.ring.recycle(chunk) {
            self.pool.put(chunk);
        }
    }

    fn recycle_result(&mut self, result: io::Result<Chunk>) {
        if let Ok(chunk) = result {
            self.recycle(chunk);
        }
    }
}

impl Engine for UringEngine {
    fn now(&self) -> Instant {
        self.now
    }

    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input> {
        match output {
            Output::Read(side) => self.read(id, side),
            Output::SpliceIn { from } => self.splice_in(id, from),
            Output::Write { to, chunk } => {
                if let Err(source) = self.count(id, to, chunk.len()) {
                    self.recycle(chunk);
                    return Some(Input::Failed(Failure::Write { to, source }));
                }
                return self.write(id, to, chunk);
            }
            Output::SpliceOut { to, header, len } => {
                if let Err(source) = self.count(id, to, len as usize) {
                    return Some(Input::Failed(Failure::Write { to, source }));
                }
                return self.splice_out(id, to, PipedFrame::new(header));
            }
            Output::Offload { side, handover } => return self.offload(id, side, handover),
            Output::Recycle(chunk) => self.recycle(chunk),
            Output::ShutdownWrite(side) => self.shut_down_write(id, side),
            Output::Connect { address, within } => self.connect(id, address, within),
            Output::Close(_) => self.close(id),
            Output::Ask(_) | Output::Tell(_) | Output::Wait(_) => {
                debug_assert!(false, "these are the worker's")
            }
        }
        None
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        // The last turn's buffers are back in the ring.
        for (id, from) in std::mem::take(&mut self.starved) {
            self.read(id, from);
        }
        // Those for whom it was too early, or for whom there was no slot: no completion will come for them.
        self.place();
        let room = self.connections.has_room() || self.seat.lighter(false).is_some();
        self.acceptor.update(&mut self.ring, room);
        let deadline = [deadline, self.acceptor.paused_until()].into_iter().flatten().min();
        let want = usize::from(self.completed.is_empty() && self.to_read.is_empty());
        self.ring.enter_until(want, deadline, self.now)?;
        self.now = Instant::now();
        while let Some(completion) = self.ring.next() {
            self.complete(completion);
        }
        self.read_some();
        self.place();
        self.batch = self.completed.len();
        self.crowd.turned(self.batch);
        events.append(&mut self.completed);
        Ok(())
    }

    fn stop_accepting(&mut self) {
        self.acceptor.stop(&mut self.ring);
        self.seat.close();
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }
}

/// Sends what the socket has room for, and fails with `WouldBlock` when that is not all of it.
fn send_now(stream: &TcpStream, chunk: &mut Chunk) -> io::Result<()> {
    while !chunk.is_empty() {
        match send(stream.as_raw_fd(), chunk.bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(len) => chunk.advance(len),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes to the counter that the ring reads.
struct EventWaker(File);

impl Wake for EventWaker {
    fn wake(&self) {
        if let Err(error) = (&self.0).write_all(&1_u64.to_ne_bytes()) {
            tracing::error!("a worker could not be woken: {error}");
        }
    }
}

/// A socket to connect to `address`. Nonblocking for splice(2); the ring waits for registered files whether they
/// are or not.
fn new_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    set_options(&socket)?;
    Ok(TcpStream::from(socket))
}
