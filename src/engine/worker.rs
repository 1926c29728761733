//! The one loop, the same for every engine: inputs to sessions, outputs to the engine or the control thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::timers::Timers;
use super::{EVENTS_OF_A_TURN, Engine, Event, SessionId, Wake, slots_at_start};
use crate::proto::bytes::Chunk;
use crate::session::{
    Authorizer, CloseReason, Failure, Input, LOG_TARGET, Outbox, Output, PHASE_NAMES, Question, Session,
    Settings, Traffic, TrafficReply,
};
use crate::telemetry::counters::WorkerCounters;

/// How long a worker that ends waits for Close frames to leave and be answered.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(1_000);

/// Steps of TLS handshakes in one turn. A full one costs as much computing as some hundred steps of a relay, and
/// those of a burst would otherwise all stand in front of a console's next byte.
pub const HANDSHAKES_PER_TURN: usize = 4;

/// What a worker shares with the others.
#[derive(Clone)]
pub struct WorkerSettings {
    /// What the operator decided
    pub settings: Arc<Settings>,
    /// The control thread
    pub authorizer: Arc<dyn Authorizer>,
    /// Counts connections, process-wide: Nova's handler ids
    pub numbers: Arc<AtomicU64>,
}

/// Sends something to a worker from another thread.
#[derive(Clone)]
pub struct WorkerHandle {
    messages: mpsc::Sender<Message>,
    waker: Arc<dyn Wake>,
}

enum Message {
    Answer(SessionId, Input),
    Kill(Arc<[u64]>),
    Traffic(Arc<[u64]>, TrafficReply),
    Drain,
    ShutDown,
    Count(mpsc::Sender<Census>),
}

/// How many connections of a worker are in which phase, in the order of [`PHASE_NAMES`].
pub type Census = [usize; PHASE_NAMES.len()];

impl WorkerHandle {
    /// Stops listening and closes connections that are no consoles; [`Worker::run`] ends with the last console.
    pub fn drain(&self) {
        self.send(Message::Drain);
    }

    /// Asks for the worker's [`Census`], which also shows that it turns.
    pub fn count(&self, reply: mpsc::Sender<Census>) {
        self.send(Message::Count(reply));
    }

    /// Closes all sessions (1001), stops listening and ends [`Worker::run`].
    pub fn shut_down(&self) {
        self.send(Message::ShutDown);
    }

    /// Ends those of the relays that this worker has.
    pub fn kill(&self, numbers: Arc<[u64]>) {
        self.send(Message::Kill(numbers));
    }

    /// Asks what the relays among `numbers` have carried.
    pub fn traffic(&self, numbers: Arc<[u64]>, reply: TrafficReply) {
        self.send(Message::Traffic(numbers, reply));
    }

    fn send(&self, message: Message) {
        // Fails only when the worker is gone, and then nobody waits for the message.
        if self.messages.send(message).is_ok() {
            self.waker.wake();
        }
    }
}

/// One thread's sessions and the engine that moves their bytes. With other workers it shares how many connections each
/// has, and the list of open consoles.
pub struct Worker<E: Engine> {
    engine: E,
    shared: WorkerSettings,
    // Bounded by the sessions: each has at most one question open, and the control thread takes a bounded
    // number of questions.
    messages: mpsc::Receiver<Message>,
    handle: WorkerHandle,
    sessions: Vec<Option<Slot>>,
    live: usize,
    timers: Timers,
    events: Vec<Event>,
    expired: Vec<SessionId>,
    outbox: Outbox,
    /// Inputs of the session that is being stepped: what was known at once of its outputs
    answers: VecDeque<Input>,
    /// Steps of handshakes that wait for their turn, the oldest first. A side has at most one, since it is read again
    /// when that has been taken.
    handshakes: VecDeque<(SessionId, Input)>,
    counters: Arc<WorkerCounters>,
    time_of_day: TimeOfDay,
    draining: bool,
    stop_at: Option<Instant>,
}

/// A session and which of its slot's users it is.
struct Slot {
    generation: u32,
    session: Session,
}

impl<E: Engine> Worker<E> {
    /// A worker on its engine.
    pub fn new(engine: E, shared: WorkerSettings) -> Self {
        let (sender, messages) = mpsc::channel();
        let handle = WorkerHandle { messages: sender, waker: engine.waker() };
        let room = slots_at_start(&shared.settings.limits);
        let timers = Timers::new(engine.now(), room);
        let time_of_day = TimeOfDay::look_up(engine.now());
        let outbox = Outbox::new();
        Self {
            engine,
            shared,
            messages,
            handle,
            sessions: Vec::with_capacity(room),
            live: 0,
            timers,
            events: Vec::with_capacity(EVENTS_OF_A_TURN),
            expired: Vec::new(),
            counters: Arc::clone(outbox.counters()),
            outbox,
            answers: VecDeque::new(),
            handshakes: VecDeque::new(),
            time_of_day,
            draining: false,
            stop_at: None,
        }
    }

    /// To reach this worker from other threads.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// What this worker and its sessions count.
    pub fn counters(&self) -> Arc<WorkerCounters> {
        Arc::clone(&self.counters)
    }

    /// Turns until [`WorkerHandle::shut_down`].
    ///
    /// # Errors
    ///
    /// The engine became unusable.
    pub fn run(&mut self) -> io::Result<()> {
        keep_freed_memory();
        while self.turn()? {}
        Ok(())
    }

    /// One turn: waits for what happens, and lets every session concerned take it. False when the worker has
    /// been shut down and its sessions are gone.
    ///
    /// # Errors
    ///
    /// The engine became unusable.
    pub fn turn(&mut self) -> io::Result<bool> {
        let at_once = (!self.handshakes.is_empty()).then(|| self.engine.now());
        let deadline = [at_once, self.timers.next(), self.stop_at].into_iter().flatten().min();
        let mut events = std::mem::take(&mut self.events);
        self.engine.wait(deadline, &mut events)?;
        let now = self.engine.now();
        let unix_s = self.time_of_day.unix_seconds(now);
        for event in events.drain(..) {
            match event {
                Event::Accepted { id, peer } => self.accept(now, unix_s, id, peer),
                Event::Completed { id, input } => self.completed(now, unix_s, id, input),
                Event::Released { .. } => {}
                Event::Woken => self.take_messages(now, unix_s),
            }
        }
        self.events = events;
        // Behind what the others wait for.
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((id, input)) = self.handshakes.pop_front() else { break };
            self.step(now, unix_s, id, input);
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expire(now, &mut expired);
        for id in expired.drain(..) {
            self.step(now, unix_s, id, Input::Deadline);
        }
        self.expired = expired;
        let drained = self.draining && self.live == 0;
        Ok(!drained && self.stop_at.is_none_or(|at| self.live > 0 && now < at))
    }

    /// Sessions that are not over, probes and web requests included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// The sessions, for tests that look inside.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().flatten().map(|slot| &slot.session)
    }

    /// The engine, for tests that look inside.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The same, to be changed.
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    fn accept(&mut self, now: Instant, unix_s: u64, id: SessionId, peer: SocketAddr) {
        let index = id.index as usize;
        if index >= self.sessions.len() {
            self.sessions.resize_with(index + 1, || None);
        }
        debug_assert!(self.sessions[index].is_none(), "a slot is released before it is taken again");
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(target: LOG_TARGET, "{}: new handler Process", peer.ip());
        let mut session = Session::new(number, peer);
        session.start(now, unix_s, &self.shared.settings, &mut self.outbox);
        self.sessions[index] = Some(Slot { generation: id.generation, session });
        self.live += 1;
        self.counters.connections_opened.add_alone(1);
        self.carry_out(now, id);
        if self.draining || self.stop_at.is_some() {
            self.answers.push_back(Input::Kill(CloseReason::ShuttingDown));
        }
        if let Some(input) = self.answers.pop_front() {
            self.step(now, unix_s, id, input);
        }
    }

    /// Lets a session take what its engine has done, or puts that off.
    fn completed(&mut self, now: Instant, unix_s: u64, id: SessionId, input: Input) {
        match session(&mut self.sessions, id) {
            Some(session) if session.shakes_hands(&input) => self.put_off(id, input),
            _ => self.step(now, unix_s, id, input),
        }
    }

    /// Keeps a step of a handshake for its turn, in a buffer that fits: of a burst there may be as many as connections.
    fn put_off(&mut self, id: SessionId, input: Input) {
        let input = match input {
            Input::Received { from, mut chunk } => {
                let small = Chunk::copied_from(chunk.bytes());
                // Behind a proxy's header it may be a request in the clear after all, with a token in it.
                chunk.wipe();
                self.engine.submit(id, Output::Recycle(chunk));
                Input::Received { from, chunk: small }
            }
            input => input,
        };
        self.handshakes.push_back((id, input));
    }

    /// Lets one session take one input, and what follows from it at once.
    fn step(&mut self, now: Instant, unix_s: u64, id: SessionId, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            let Some(session) = session(&mut self.sessions, id) else { return self.answers.clear() };
            session.handle(now, unix_s, &self.shared.settings, input, &mut self.outbox);
            self.carry_out(now, id);
            next = self.answers.pop_front();
        }
    }

    /// Carries out the outputs of one call. What is known of them at once goes to the answers.
    fn carry_out(&mut self, now: Instant, id: SessionId) {
        for output in self.outbox.drain() {
            let answer = match output {
                Output::Wait(at) => {
                    self.timers.set(id, at);
                    None
                }
                Output::Ask(question) => ask(&self.shared, &self.handle, id, question),
                Output::Tell(notice) => {
                    self.shared.authorizer.tell(notice, now);
                    None
                }
                Output::Close(reason) => {
                    if let Some(slot) = self.sessions[id.index as usize].take() {
                        let number = slot.session.number();
                        tracing::debug!(target: LOG_TARGET, " {number:2}: connection closed: {reason}");
                        self.live -= 1;
                        self.counters.connections_closed.add_alone(1);
                    }
                    self.engine.submit(id, Output::Close(reason))
                }
                output => self.engine.submit(id, output),
            };
            if let Some(answer) = answer {
                self.answers.push_back(answer);
            }
        }
    }

    fn take_messages(&mut self, now: Instant, unix_s: u64) {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Answer(id, input) => self.step(now, unix_s, id, input),
                Message::Kill(numbers) => {
                    for id in self.ids(|session| numbers.binary_search(&session.number()).is_ok()) {
                        self.step(now, unix_s, id, Input::Kill(CloseReason::Killed));
                    }
                }
                Message::Traffic(numbers, reply) => reply(self.traffic(&numbers)),
                Message::Drain => self.drain(now, unix_s),
                Message::ShutDown => self.shut_down(now, unix_s),
                // Whoever asked may have given up.
                Message::Count(reply) => drop(reply.send(self.census())),
            }
        }
    }

    fn census(&self) -> Census {
        let mut census = [0; PHASE_NAMES.len()];
        for session in self.sessions() {
            let place = PHASE_NAMES.iter().position(|name| *name == session.phase_name());
            if let Some(count) = place.and_then(|place| census.get_mut(place)) {
                *count += 1;
            }
        }
        census
    }

    fn drain(&mut self, now: Instant, unix_s: u64) {
        if self.draining || self.stop_at.is_some() {
            return;
        }
        self.draining = true;
        self.engine.stop_accepting();
        // A connection that is kept alive could become a session yet.
        for id in self.ids(|session| !session.is_console()) {
            self.step(now, unix_s, id, Input::Kill(CloseReason::ShuttingDown));
        }
    }

    fn shut_down(&mut self, now: Instant, unix_s: u64) {
        // A further signal does not begin the grace anew.
        if self.stop_at.is_some() {
            return;
        }
        self.stop_at = Some(now + SHUTDOWN_GRACE);
        if !self.draining {
            self.engine.stop_accepting();
        }
        for id in self.ids(|_| true) {
            self.step(now, unix_s, id, Input::Kill(CloseReason::ShuttingDown));
        }
    }

    /// The sessions that `wanted` picks.
    fn ids(&self, wanted: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let picked = |(index, slot): (u32, &Option<Slot>)| {
            let slot = slot.as_ref().filter(|slot| wanted(&slot.session))?;
            Some(SessionId { index, generation: slot.generation })
        };
        (0..).zip(&self.sessions).filter_map(picked).collect()
    }

    /// What the relays among `numbers`, which ascend, have carried.
    fn traffic(&self, numbers: &[u64]) -> Vec<Traffic> {
        let carried = |session: &Session| {
            numbers.binary_search(&session.number()).ok()?;
            let (from_tenant, from_compute) = session.relayed_bytes()?;
            Some(Traffic { number: session.number(), from_tenant, from_compute })
        };
        if numbers.is_empty() { Vec::new() } else { self.sessions().filter_map(carried).collect() }
    }
}

/// Twice as much stays with the process when it is free: more than rustls takes to seal the largest read, and less than
/// anybody would miss.
const KEPT_BYTES: usize = 2 << 20;

/// Lets glibc keep what is freed. By default it gives the end of its heap back to the kernel at 128 KiB, and each step of
/// bulk under TLS would fetch a megabyte anew, page by page, at four times the cost. It learns better from the first
/// large block that is freed (mallopt(3), `M_MMAP_THRESHOLD`), if there ever is one: this is one.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BYTES)));
}

/// The time of day for `Date` headers and the ends of tokens, right to a few milliseconds. It is asked for in every
/// turn, and looked up once a second, in case somebody sets it.
struct TimeOfDay {
    looked_up: Instant,
    since_1970: Duration,
}

impl TimeOfDay {
    fn look_up(now: Instant) -> Self {
        let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
        Self { looked_up: now, since_1970: time.map(Duration::from).unwrap_or_default() }
    }

    fn unix_seconds(&mut self, now: Instant) -> u64 {
        let mut passed = now.saturating_duration_since(self.looked_up);
        if passed >= Duration::from_secs(1) {
            (*self, passed) = (Self::look_up(now), Duration::ZERO);
        }
        (self.since_1970 + passed).as_secs()
    }
}

/// The session, unless it has ended: a stale id is that of an answer that comes too late.
fn session(sessions: &mut [Option<Slot>], id: SessionId) -> Option<&mut Session> {
    let slot = sessions.get_mut(id.index as usize)?.as_mut()?;
    (slot.generation == id.generation).then_some(&mut slot.session)
}

fn ask(shared: &WorkerSettings, handle: &WorkerHandle, id: SessionId, question: Question) -> Option<Input> {
    let handle = handle.clone();
    let reply = Box::new(move |input| handle.send(Message::Answer(id, input)));
    let overloaded = shared.authorizer.ask(question, reply).err()?;
    Some(Input::Failed(Failure::Overloaded(overloaded)))
}
