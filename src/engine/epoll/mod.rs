//! The engine for every kernel: epoll through mio, nonblocking calls, one worker's connections.
//!
//! It makes completions out of readiness: an operation is tried at once, parks when it would block, and is
//! tried again when epoll says so. Polling is edge-triggered, so readiness is remembered per socket.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::accept::{ACCEPT_PAUSE, Pace, is_of_one_connection, set_options};
use super::alarm::Alarm;
use super::pipes::{Pipe, PipedFrame, Pipes};
use super::pool::Pool;
use super::spread::Lighter;
use super::{
    BYTES_PER_TURN, EVENTS_OF_A_TURN, Engine, Event, PipeBudget, READS_PER_TURN, Seat, SessionId, Wake,
    slots_at_start,
};
use crate::session::limits::{Limits, size};
use crate::session::{Failure, Input, Output, Side};
use crate::telemetry::counters::accept_pauses;
use crate::telemetry::labels::AcceptPause;

mod socket;

use socket::{Reading, Socket, Writing};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Connections accepted in one turn, so that a burst of them does not hold up live sessions.
const ACCEPTS_PER_TURN: usize = 64;

/// Connects under way that there is room for from the start.
const CONNECTS_AT_START: usize = 64;

/// Turns without asking the kernel for new readiness, as long as there is something to read: a bulk session's
/// steps need no polling, but others must not wait for them long.
const TURNS_WITHOUT_POLL: u32 = 4;

/// One worker's connections, on epoll.
pub struct EpollEngine {
    poll: Poll,
    polled: Events,
    alarm: Alarm,
    waker: Arc<MioWaker>,
    listener: Option<mio::net::TcpListener>,
    /// The listener has connections that were not accepted yet.
    accept_ready: bool,
    accept_paused_until: Option<Instant>,
    pace: Pace,
    seat: Seat,
    connections: Vec<Connection>,
    free: Vec<u32>,
    connections_max: usize,
    completed: Vec<Event>,
    /// Sockets that may have what is wanted of them
    to_read: VecDeque<(SessionId, Side)>,
    /// Connects by when their time is over, with their numbers; some are done long since
    connecting: BinaryHeap<Reverse<(Instant, NonZeroU32, SessionId)>>,
    next_connect: NonZeroU32,
    turns_without_poll: u32,
    now: Instant,
    pool: Pool,
    pipes: Pipes,
}

/// A slot: the two sockets of a session, or nothing.
#[derive(Default)]
struct Connection {
    generation: u32,
    live: bool,
    tenant: Option<Socket>,
    compute: Option<Socket>,
    /// Leased while the compute node's bytes are in it
    pipe: Option<Pipe>,
}

impl EpollEngine {
    /// An engine that accepts from `listener`, which must be nonblocking, and shares with others by its `seat`.
    ///
    /// # Errors
    ///
    /// The kernel gave no epoll instance or event descriptor.
    pub fn new(
        listener: TcpListener,
        mut seat: Seat,
        limits: &Limits,
        pipes: PipeBudget,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let alarm = Alarm::new()?;
        let descriptor = alarm.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), ALARM, Interest::READABLE)?;
        let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?));
        let connections_max = size(limits.sessions_max);
        seat.open(connections_max, waker.clone());
        Ok(Self {
            poll,
            polled: Events::with_capacity(EVENTS_MAX),
            alarm,
            waker,
            listener: Some(listener),
            accept_ready: true,
            accept_paused_until: None,
            pace: Pace::new(limits.accepts_per_second_max),
            seat,
            connections: Vec::with_capacity(slots_at_start(limits)),
            free: Vec::with_capacity(slots_at_start(limits)),
            connections_max,
            completed: Vec::with_capacity(EVENTS_OF_A_TURN),
            to_read: VecDeque::new(),
            connecting: BinaryHeap::with_capacity(CONNECTS_AT_START),
            next_connect: NonZeroU32::MIN,
            turns_without_poll: 0,
            now: Instant::now(),
            pool: Pool::new(limits, size(limits.pool_bytes)),
            pipes: Pipes::new(pipes, limits),
        })
    }

    fn accept(&mut self) {
        if self.accept_paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.accept_paused_until = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { break };
            let room = self.has_room();
            let lighter = self.seat.lighter(room);
            if !room && lighter.is_none() {
                // The rest waits in the listen queue; a closing connection looks here again.
                return;
            }
            if let Err(until) = self.pace.take(Instant::now) {
                accept_pauses().of(AcceptPause::Pace).add(1);
                self.accept_paused_until = Some(until);
                return;
            }
            match listener.accept() {
                Ok((stream, peer)) => self.accepted(stream, peer, lighter),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pace.give_back();
                    self.accept_ready = false;
                    return;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!("no connection can be accepted for {ACCEPT_PAUSE:?}: {error}");
                    accept_pauses().of(AcceptPause::Failed).add(1);
                    self.accept_paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Keeps the connection, or hands it to the worker that has fewer.
    fn accepted(&mut self, stream: mio::net::TcpStream, peer: SocketAddr, lighter: Option<Lighter>) {
        let Some(to) = lighter else {
            self.seat.taken();
            return self.adopt(stream, peer);
        };
        let Err((stream, peer)) = self.seat.hand_over(to, stream.into(), peer) else { return };
        self.seat.keep((stream, peer));
        self.adopt_waiting();
    }

    /// Takes what other workers handed over, as long as there is room for it.
    fn adopt_waiting(&mut self) {
        while self.has_room()
            && let Some((stream, peer)) = self.seat.next()
        {
            self.adopt(mio::net::TcpStream::from_std(stream), peer);
        }
    }

    /// Gives a connection its slot.
    fn adopt(&mut self, stream: mio::net::TcpStream, peer: SocketAddr) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            u32::try_from(self.connections.len() - 1).unwrap_or(u32::MAX)
        });
        let connection = &mut self.connections[index as usize];
        let id = SessionId { index, generation: connection.generation };
        match Socket::register(stream, self.poll.registry(), token(id, Side::Tenant)) {
            Ok(socket) => {
                connection.live = true;
                connection.tenant = Some(socket);
                self.completed.push(Event::Accepted { id, peer });
            }
            Err(error) => {
                tracing::warn!("a connection could not be taken: {error}");
                self.free.push(index);
                self.seat.left();
            }
        }
    }

    fn connect(&mut self, id: SessionId, address: SocketAddr, within: Duration) -> Option<Input> {
        let connection = live(&mut self.connections, id)?;
        // A socket that failed to connect is replaced by the next address's.
        if let Some(old) = connection.compute.take() {
            old.close(&mut self.pool);
        }
        let socket = mio::net::TcpStream::connect(address).and_then(|stream| {
            set_options(&stream)?;
            Socket::register(stream, self.poll.registry(), token(id, Side::Compute))
        });
        match socket {
            Ok(mut socket) => {
                let number = self.next_connect;
                // Numbers that come round find nobody: the time of the first is over by then.
                self.next_connect = number.checked_add(1).unwrap_or(NonZeroU32::MIN);
                socket.start_connecting(number);
                connection.compute = Some(socket);
                self.forget_connects_that_are_over();
                self.connecting.push(Reverse((Instant::now() + within, number, id)));
                None
            }
            Err(error) => Some(Input::Failed(Failure::Connect(error))),
        }
    }

    /// Keeps the list of connects from growing with those that were made long before their time was over: when it is
    /// full those leave it, and it grows only if more than half of it is still under way.
    fn forget_connects_that_are_over(&mut self) {
        if self.connecting.len() < self.connecting.capacity() {
            return;
        }
        let connections = &mut self.connections;
        self.connecting.retain(|Reverse((_, number, id))| {
            let compute = live(connections, *id).and_then(|connection| connection.compute.as_ref());
            compute.is_some_and(|socket| socket.is_connecting(*number))
        });
        if self.connecting.len() > self.connecting.capacity() / 2 {
            self.connecting.reserve(self.connecting.capacity());
        }
    }

    /// Fails the connects whose time is over.
    fn give_up_connects(&mut self) {
        if self.connecting.is_empty() {
            return;
        }
        let now = self.now;
        while let Some(Reverse((until, number, id))) = self.connecting.peek().copied()
            && until <= now
        {
            self.connecting.pop();
            let Some(connection) = live(&mut self.connections, id) else { continue };
            if let Some(socket) = connection.compute.take_if(|socket| socket.is_connecting(number)) {
                socket.close(&mut self.pool);
                let timed_out = io::ErrorKind::TimedOut.into();
                complete(&mut self.completed, id, Input::Failed(Failure::Connect(timed_out)));
            }
        }
    }

    fn close(&mut self, id: SessionId) {
        let Some(connection) = live(&mut self.connections, id) else { return };
        for socket in [connection.tenant.take(), connection.compute.take()].into_iter().flatten() {
            socket.close(&mut self.pool);
        }
        if let Some(pipe) = connection.pipe.take() {
            self.pipes.put(pipe);
        }
        connection.live = false;
        connection.generation = connection.generation.wrapping_add(1);
        self.free.push(id.index);
        self.seat.left();
        self.completed.push(Event::Released { id });
    }

    fn read(&mut self, id: SessionId, from: Side, how: Reading) {
        let Some((socket, _)) = live(&mut self.connections, id).and_then(|c| c.parts(from)) else { return };
        socket.start_reading(how);
        if socket.enters_queue() {
            self.to_read.push_back((id, from));
        }
    }

    /// Reads from some of the sockets that may have something.
    fn read_some(&mut self) {
        let (mut reads, mut bytes) = (0, 0);
        while reads < READS_PER_TURN
            && bytes < BYTES_PER_TURN
            && let Some((id, from)) = self.to_read.pop_front()
        {
            let parts = live(&mut self.connections, id).and_then(|c| c.parts(from));
            let Some((socket, pipe)) = parts else { continue };
            socket.leaves_queue();
            reads += 1;
            let input = socket.try_read(from, pipe, &mut self.pool, &mut self.pipes);
            socket.unmute_if_drained(self.poll.registry(), token(id, from));
            let Some(input) = input else {
                if socket.enters_queue() {
                    self.to_read.push_back((id, from));
                }
                continue;
            };
            bytes += match &input {
                Input::Received { chunk, .. } => chunk.len(),
                Input::Piped { len, .. } => *len as usize,
                _ => 0,
            };
            complete(&mut self.completed, id, input);
        }
    }

    fn write(&mut self, id: SessionId, to: Side, what: Writing, len: usize) -> Option<Input> {
        let (socket, pipe) = live(&mut self.connections, id).and_then(|c| c.parts(to))?;
        if let Err(source) = socket.count(len) {
            return Some(Input::Failed(Failure::Write { to, source }));
        }
        socket.start_writing(what);
        socket.try_write(to, pipe, &mut self.pool, &mut self.pipes)
    }

    /// Waits for readiness and lets what was parked go on.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.polled, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.polled {
            match event.token() {
                LISTENER => self.accept_ready = true,
                WAKER => {
                    self.seat.woken();
                    self.completed.push(Event::Woken);
                }
                ALARM => self.alarm.rang(),
                token => {
                    let (id, side) = from_token(token);
                    // An event for a connection that was closed in this very turn.
                    let Some(connection) = live_masked(&mut self.connections, id) else { continue };
                    let id = SessionId { index: id.index, generation: connection.generation };
                    let Some((socket, pipe)) = connection.parts(side) else { continue };
                    socket.ready(event, self.poll.registry(), event.token());
                    if let Some(input) = socket.try_connect() {
                        complete(&mut self.completed, id, input);
                    }
                    if let Some(input) = socket.try_write(side, pipe, &mut self.pool, &mut self.pipes) {
                        complete(&mut self.completed, id, input);
                    }
                    socket.try_fin();
                    if socket.enters_queue() {
                        self.to_read.push_back((id, side));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Engine for EpollEngine {
    fn now(&self) -> Instant {
        self.now
    }

    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input> {
        match output {
            Output::Read(side) => self.read(id, side, Reading::Copy),
            Output::SpliceIn { from } => self.read(id, from, Reading::Splice),
            Output::Write { to, chunk } => {
                let len = chunk.len();
                return self.write(id, to, Writing::Chunk(chunk), len);
            }
            Output::SpliceOut { to, header, len } => {
                return self.write(id, to, Writing::Pipe(PipedFrame::new(header)), len as usize);
            }
            Output::Recycle(chunk) => self.pool.put(chunk),
            Output::ShutdownWrite(side) => {
                if let Some((socket, _)) = live(&mut self.connections, id).and_then(|c| c.parts(side)) {
                    socket.shutdown_write();
                }
            }
            Output::Offload { side, handover } => {
                let (socket, _) = live(&mut self.connections, id).and_then(|c| c.parts(side))?;
                return Some(socket.offload(side, handover));
            }
            Output::Connect { address, within } => return self.connect(id, address, within),
            Output::Close(_) => self.close(id),
            Output::Ask(_) | Output::Tell(_) | Output::Wait(_) => {
                debug_assert!(false, "these are the worker's")
            }
        }
        None
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        // Those for whom there was no room.
        self.adopt_waiting();
        let busy = !self.completed.is_empty() || !self.to_read.is_empty();
        if !busy || self.turns_without_poll >= TURNS_WITHOUT_POLL {
            self.turns_without_poll = 0;
            let connecting = self.connecting.peek().map(|Reverse((until, ..))| *until);
            let deadline = [deadline, self.accept_paused_until, connecting].into_iter().flatten().min();
            let at_once = busy || (self.accept_ready && self.can_accept());
            let waits = !at_once && self.alarm.set(deadline, self.now)?;
            self.poll((!waits).then_some(Duration::ZERO))?;
        } else {
            self.turns_without_poll += 1;
        }
        self.now = Instant::now();
        self.read_some();
        self.give_up_connects();
        // They have waited longer than what is in the listen queue.
        self.adopt_waiting();
        if self.accept_ready {
            self.accept();
        }
        events.append(&mut self.completed);
        Ok(())
    }

    fn stop_accepting(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            let _ = listener.deregister(self.poll.registry());
        }
        self.accept_ready = false;
        self.accept_paused_until = None;
        self.seat.close();
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }
}

impl EpollEngine {
    fn can_accept(&self) -> bool {
        self.accept_paused_until.is_none()
            && self.listener.is_some()
            && (self.has_room() || self.seat.lighter(false).is_some())
    }

    fn has_room(&self) -> bool {
        self.connections.len() - self.free.len() < self.connections_max
    }
}

impl Connection {
    /// A side's socket, and the place of the connection's pipe.
    fn parts(&mut self, side: Side) -> Option<(&mut Socket, &mut Option<Pipe>)> {
        let socket = match side {
            Side::Tenant => self.tenant.as_mut(),
            Side::Compute => self.compute.as_mut(),
        };
        Some((socket?, &mut self.pipe))
    }
}

struct MioWaker(Waker);

impl Wake for MioWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!("a worker could not be woken: {error}");
        }
    }
}

fn live(connections: &mut [Connection], id: SessionId) -> Option<&mut Connection> {
    connections.get_mut(id.index as usize).filter(|c| c.live && c.generation == id.generation)
}

fn complete(completed: &mut Vec<Event>, id: SessionId, input: Input) {
    completed.push(Event::Completed { id, input });
}

/// What a token holds of a generation: enough to tell the users of a slot within one batch of events apart.
const GENERATION_BITS: u32 = 31;

/// Slot, side and generation of a socket, as the kernel hands them back.
#[allow(clippy::cast_possible_truncation, reason = "usize is 64 bits wide wherever this runs")]
fn token(id: SessionId, side: Side) -> Token {
    let generation = u64::from(id.generation & (u32::MAX >> 1));
    let bits = generation << 33 | u64::from(id.index) << 1 | u64::from(side == Side::Compute);
    Token(bits as usize)
}

#[allow(clippy::cast_possible_truncation, reason = "the inverse of `token`")]
fn from_token(token: Token) -> (SessionId, Side) {
    let bits = token.0 as u64;
    let side = if bits & 1 == 1 { Side::Compute } else { Side::Tenant };
    (SessionId { index: (bits >> 1) as u32, generation: (bits >> 33) as u32 }, side)
}

/// The connection of a token, whose generation lacks its top bit.
fn live_masked(connections: &mut [Connection], id: SessionId) -> Option<&mut Connection> {
    let mask = (1 << GENERATION_BITS) - 1;
    connections.get_mut(id.index as usize).filter(|c| c.live && c.generation & mask == id.generation)
}
