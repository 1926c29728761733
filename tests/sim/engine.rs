//! [`SimEngine`]: a world with a virtual clock in which everything that may happen does, in any order.
//!
//! Each `wait` picks among all that can happen next (bytes arrive, a read ends short, a peer acts, the
//! control thread answers), until something is to be reported or the worker's deadline has come. When
//! nothing can happen, time passes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use consolegate::engine::{Engine, Event, SessionId, Wake};
use consolegate::proto::Side;
use consolegate::session::limits::size;
use consolegate::session::{Failure, Input, Offloaded, Output, Settings};

use crate::conn::{Conn, Read, State, Write};
use crate::control::{Asked, SimAuthorizer};
use crate::coverage::{Coverage, Fault};
use crate::faults::can_fault;
use crate::frames;
use crate::oracle::{self, Violation};
use crate::plan::Dial;
use crate::planted::Bug;
use crate::prng::Prng;
use crate::tcp::Socket;

/// A tenant that is still there by then hangs up, so that every schedule ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Steps after which a schedule is taken to run for ever.
const STEPS_MAX: usize = 60_000;

/// What sealing may add to a write, with what TLS has to say itself.
const TLS_OVERHEAD: usize = 256;

/// Something that can happen next.
#[derive(Clone, Copy)]
enum Happening {
    Accept,
    ToProxy(Side),
    ToPeer(Side),
    Read(Side),
    Write(Side),
    Dialed,
    Send(Side),
    Receive(Side),
    Report(usize),
    Fault,
    Release,
}

pub(crate) struct SimEngine {
    base: Instant,
    pub(crate) now: Duration,
    pub(crate) rng: Prng,
    pub(crate) conns: Vec<Conn>,
    /// The generation of each slot, and whether it is taken
    slots: Vec<(u32, bool)>,
    accepted: u64,
    accepting: bool,
    wake: Arc<SimWake>,
    pub(crate) authorizer: Arc<SimAuthorizer>,
    pub(crate) questions: Vec<(Duration, Asked)>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) planted: Option<Bug>,
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Option<Vec<String>>,
    /// A fault says that the process is to end
    pub(crate) shut_down: bool,
    steps: usize,
    possible: Vec<(usize, Happening)>,
}

struct SimWake(AtomicBool);

impl Wake for SimWake {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SimEngine {
    pub(crate) fn new(
        base: Instant,
        rng: Prng,
        conns: Vec<Conn>,
        authorizer: Arc<SimAuthorizer>,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            base,
            now: Duration::ZERO,
            rng,
            conns,
            slots: Vec::new(),
            accepted: 0,
            accepting: true,
            wake: Arc::new(SimWake(AtomicBool::new(false))),
            authorizer,
            questions: Vec::new(),
            settings,
            planted: None,
            coverage: Coverage::default(),
            violation: None,
            trace: None,
            shut_down: false,
            steps: 0,
            possible: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms  {}", self.now.as_secs_f64() * 1e3, text()));
        }
    }

    pub(crate) fn violate(&mut self, invariant: &'static str, text: String) {
        self.note(|| format!("{invariant} VIOLATED: {text}"));
        self.violation.get_or_insert(Violation { invariant, text });
    }

    fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violate(violation.invariant, violation.text);
        }
    }

    /// Every tenant has seen the end of its connection.
    pub(crate) fn is_over(&self) -> bool {
        self.conns
            .iter()
            .all(|conn| conn.is_over(self.now) || (conn.state == State::Waiting && !self.accepting))
    }

    /// Takes the sessions' phases after a turn of the worker.
    pub(crate) fn observe<'a>(&mut self, sessions: impl Iterator<Item = (u64, &'a str)> + Clone) {
        for index in 0..self.conns.len() {
            let conn = &mut self.conns[index];
            if conn.state != State::Live {
                continue;
            }
            let Some((_, name)) = sessions.clone().find(|(number, _)| *number == conn.number) else {
                self.violate("L3", format!("session {} is gone, its sockets are not", index));
                continue;
            };
            let phase = crate::coverage::PHASES.iter().find(|phase| **phase == name).copied();
            let phase = phase.unwrap_or("closed");
            if phase != conn.phase {
                let before = std::mem::replace(&mut conn.phase, phase);
                conn.phase_since = self.now;
                conn.facts.relayed |= phase == "relaying";
                if phase == "closing" {
                    conn.facts.closing_since = Some(self.now);
                }
                self.note(|| format!("#{index} {before} -> {phase}"));
            }
            let result = oracle::check_time(&self.conns[index], self.now, &self.settings);
            self.check(result);
        }
    }

    /// The slots that are taken: none when all is over.
    pub(crate) fn taken_slots(&self) -> usize {
        self.slots.iter().filter(|(_, taken)| *taken).count()
    }

    fn conn_of(&self, id: SessionId) -> Option<usize> {
        self.conns.iter().position(|conn| conn.state == State::Live && conn.id == id)
    }

    /// Everything that can happen now.
    fn look_around(&mut self) {
        let now = self.now;
        self.possible.clear();
        let possible = &mut self.possible;
        for (index, conn) in self.conns.iter().enumerate() {
            let mut add = |can: bool, happening: Happening| {
                if can {
                    possible.push((index, happening));
                }
            };
            match conn.state {
                State::Waiting => {
                    add(self.accepting && now >= conn.start_at, Happening::Accept);
                    continue;
                }
                State::Live => {
                    for side in [Side::Tenant, Side::Compute] {
                        add(conn.can_read(side), Happening::Read(side));
                        add(conn.can_write(side), Happening::Write(side));
                    }
                    let dialed = match conn.dialing {
                        Some(Dial::Accepted(at) | Dial::Refused(at)) => now >= at,
                        Some(Dial::Hangs) | None => false,
                    };
                    add(dialed, Happening::Dialed);
                    for (position, (at, _)) in conn.ready.iter().enumerate() {
                        add(now >= *at, Happening::Report(position));
                    }
                    add(self.accepting && can_fault(conn), Happening::Fault);
                }
                State::Closed(at) => add(now >= at, Happening::Release),
                State::Released => {}
            }
            let socket = &conn.tenant_socket;
            add(socket.to_proxy.can_transfer(), Happening::ToProxy(Side::Tenant));
            add(socket.to_peer.can_transfer(), Happening::ToPeer(Side::Tenant));
            add(conn.tenant.can_send(now, socket), Happening::Send(Side::Tenant));
            add(conn.tenant.can_read(now, socket), Happening::Receive(Side::Tenant));
            if let Some(socket) = &conn.compute_socket {
                add(socket.to_proxy.can_transfer(), Happening::ToProxy(Side::Compute));
                add(socket.to_peer.can_transfer(), Happening::ToPeer(Side::Compute));
                add(conn.compute.can_send(now, socket), Happening::Send(Side::Compute));
                add(conn.compute.can_read(now, socket), Happening::Receive(Side::Compute));
            }
        }
    }

    /// When something may happen by itself, if nothing can now.
    fn next_time(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.questions.iter().map(|(at, _)| *at).collect();
        for conn in &self.conns {
            match conn.state {
                State::Waiting if self.accepting => times.push(conn.start_at),
                State::Closed(at) => times.push(at),
                _ => {}
            }
            times.extend(conn.ready.iter().map(|(at, _)| *at));
            if let Some(Dial::Accepted(at) | Dial::Refused(at)) = conn.dialing {
                times.push(at);
            }
            times.extend(conn.tenant.wakes_at(self.now));
            times.extend(conn.compute.actor.wakes_at(self.now));
            if conn.state == State::Live && !conn.tenant_socket.peer_reset {
                times.push(PATIENCE);
            }
        }
        times.into_iter().filter(|at| *at > self.now).min()
    }

    fn happen(&mut self, index: usize, happening: Happening, events: &mut Vec<Event>) {
        let (now, rng) = (self.now, &mut self.rng);
        let conn = &mut self.conns[index];
        match happening {
            Happening::Accept => self.accept(index, events),
            Happening::ToProxy(side) => {
                if let Some(socket) = conn.socket(side) {
                    socket.transfer_to_proxy(rng);
                }
            }
            Happening::ToPeer(side) => {
                if let Some(socket) = conn.socket(side) {
                    socket.to_peer.transfer(rng);
                }
            }
            Happening::Read(side) => conn.read(side, now, size(self.settings.limits.read_bytes), rng),
            Happening::Write(side) => conn.write(side, now, rng),
            Happening::Dialed => match conn.dialing.take() {
                Some(Dial::Accepted(_)) => {
                    conn.compute_socket = Some(Socket::new(rng));
                    conn.complete(Input::Connected, now, rng);
                }
                _ => {
                    let refused = io::ErrorKind::ConnectionRefused.into();
                    conn.complete(Input::Failed(Failure::Connect(refused)), now, rng);
                }
            },
            Happening::Send(Side::Tenant) => conn.tenant.send(now, &mut conn.tenant_socket, rng),
            Happening::Receive(Side::Tenant) => conn.tenant.read(&mut conn.tenant_socket, rng),
            Happening::Send(Side::Compute) => {
                if let Some(socket) = &mut conn.compute_socket {
                    conn.compute.send(now, socket, rng);
                }
            }
            Happening::Receive(Side::Compute) => {
                if let Some(socket) = &mut conn.compute_socket {
                    conn.compute.read(socket, rng);
                }
            }
            Happening::Report(position) => self.report(index, position, events),
            Happening::Fault => self.inject(index, events),
            Happening::Release => {
                conn.state = State::Released;
                let id = conn.id;
                self.slots[id.index as usize] = (id.generation + 1, false);
                events.push(Event::Released { id });
            }
        }
        let result = oracle::check_bytes(&mut self.conns[index], &self.settings);
        self.check(result);
    }

    fn accept(&mut self, index: usize, events: &mut Vec<Event>) {
        let slot = self.slots.iter().position(|(_, taken)| !taken).unwrap_or_else(|| {
            self.slots.push((0, false));
            self.slots.len() - 1
        });
        self.slots[slot].1 = true;
        self.accepted += 1;
        let conn = &mut self.conns[index];
        conn.state = State::Live;
        conn.number = self.accepted;
        conn.phase = "request";
        conn.phase_since = self.now;
        conn.id = SessionId { index: u32::try_from(slot).unwrap(), generation: self.slots[slot].0 };
        let id = conn.id;
        events.push(Event::Accepted { id, peer: ([203, 0, 113, 9], 40_000).into() });
        self.note(|| format!("#{index} accepted as {id:?}"));
    }

    fn report(&mut self, index: usize, position: usize, events: &mut Vec<Event>) {
        let input = self.take_report(index, position);
        events.push(Event::Completed { id: self.conns[index].id, input });
    }

    fn take_report(&mut self, index: usize, position: usize) -> Input {
        let conn = &mut self.conns[index];
        let (_, mut input) = conn.ready.swap_remove(position);
        conn.reported(&input, self.now);
        if let Some(bug) = self.planted {
            bug.corrupt(conn.phase, &mut input);
        }
        self.note(|| format!("#{index} <- {input:?}"));
        input
    }

    /// Nothing can happen now: time passes.
    fn rest(&mut self, deadline: Option<Duration>) -> io::Result<()> {
        for index in 0..self.conns.len() {
            let result = oracle::check_rest(&self.conns[index], self.now);
            self.check(result);
        }
        let next = self.next_time();
        let Some(at) = [next, deadline].into_iter().flatten().min() else {
            self.violate("L3", "nothing will ever happen, and sessions are left".to_owned());
            return Err(io::Error::other("the simulation is stuck"));
        };
        self.now = self.now.max(at);
        if next.is_none_or(|next| next > at) && self.rng.one_in(4) {
            // A kernel may be late, never early.
            self.now += self.rng.millis(0..=30);
        }
        if self.now >= PATIENCE {
            for conn in &mut self.conns {
                if conn.state == State::Live && !conn.tenant_socket.peer_reset {
                    conn.tenant_socket.reset_by_peer(&mut self.rng);
                }
            }
        }
        Ok(())
    }

    /// Answers of the control thread that are due.
    fn answer(&mut self) {
        while let Some(position) = self.questions.iter().position(|(at, _)| *at <= self.now) {
            let (_, asked) = self.questions.swap_remove(position);
            self.note(|| format!("#{} answer to {:?}", asked.tenant, asked.question));
            self.authorizer.answer(asked);
        }
    }
}

/// Whether this turn brings something for that session already.
fn is_batched(events: &[Event], session: SessionId) -> bool {
    events.iter().any(|event| match event {
        Event::Accepted { id, .. } | Event::Completed { id, .. } => *id == session,
        Event::Released { .. } | Event::Woken => false,
    })
}

impl Engine for SimEngine {
    fn now(&self) -> Instant {
        self.base + self.now
    }

    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input> {
        let Some(index) = self.conn_of(id) else {
            self.violate("contract", format!("{output:?} for a connection that is closed"));
            return None;
        };
        self.note(|| format!("#{index} -> {output:?}"));
        let conn = &mut self.conns[index];
        let is_there = |side| side == Side::Tenant || conn.compute_socket.is_some();
        let write_to = match output {
            Output::Write { to, .. } | Output::SpliceOut { to, .. } => Some(to),
            _ => None,
        };
        let mut refused = None;
        let fault = match output {
            Output::Read(side) | Output::SpliceIn { from: side } if !is_there(side) => {
                Some("a read without a socket")
            }
            Output::Read(side) => conn.start_read(side, Read::Open),
            Output::SpliceIn { from: side } => conn.start_read(side, Read::Splice),
            Output::Write { to: side, .. } if !is_there(side) => Some("a write without a socket"),
            Output::Write { to: side, chunk } => {
                // Control frames wait in the session: too many of them would show here at last.
                let is_tls = match side {
                    Side::Tenant => conn.tenant.actor.tls.is_some(),
                    Side::Compute => conn.compute.is_under_tls(),
                };
                let most = oracle::held_bytes_max(conn, side.other(), &self.settings);
                let most = most + if is_tls { TLS_OVERHEAD } else { 0 };
                let operations = &mut conn.operations[side as usize];
                let fault = if chunk.is_empty() {
                    Some("an empty write")
                } else if conn.tenant.seen.upgraded && chunk.len() > most {
                    Some("a write longer than a session may hold")
                } else if operations.shut {
                    Some("a write behind the FIN")
                } else if operations.write_open {
                    Some("two writes open")
                } else {
                    None
                };
                operations.write_open = true;
                match side {
                    Side::Tenant if is_tls => {}
                    Side::Tenant => conn.facts.to_tenant += data_len(chunk.bytes()),
                    Side::Compute => conn.facts.to_compute += chunk.len(),
                }
                self.start_write(index, side, Write { chunk, reported: false, spliced: false });
                fault
            }
            Output::ShutdownWrite(side) => {
                let shut = std::mem::replace(&mut conn.operations[side as usize].shut, true);
                conn.socket(side)?.to_peer.finish();
                shut.then_some("two FINs")
            }
            Output::Connect { within, .. } => {
                let fault =
                    (conn.dialing.is_some() || conn.compute_socket.is_some()).then_some("two connects");
                let dial = conn.dials.pop_front().unwrap_or(Dial::Hangs);
                conn.dialing = Some(match dial {
                    Dial::Accepted(delay) => Dial::Accepted(self.now + delay),
                    Dial::Refused(delay) => Dial::Refused(self.now + delay),
                    Dial::Hangs => Dial::Refused(self.now + within),
                });
                if let Some((phase, planned @ (Fault::ConnectRefused | Fault::ConnectHangs))) = conn.fault {
                    self.count(index, phase, planned);
                }
                fault
            }
            Output::Close(reason) => {
                conn.facts.reason = Some(reason);
                conn.facts.closed_at = Some(self.now);
                conn.close();
                conn.phase = "closed";
                conn.state = State::Closed(self.now + self.rng.millis(0..=30));
                None
            }
            Output::SpliceOut { to, header, len } => match conn.splice_out(to, header, len) {
                Ok(write) => {
                    self.start_write(index, to, write);
                    None
                }
                Err(fault) => Some(fault),
            },
            // As a kernel does whose peer has half closed the connection just now.
            Output::Offload { side, handover } => {
                refused = Some(Input::Offloaded { side, outcome: Offloaded::Not(handover) });
                (side != Side::Tenant).then_some("a handover of no TLS")
            }
            Output::Recycle(_) => None,
            Output::Ask(_) | Output::Tell(_) | Output::Wait(_) => Some("an output that is the worker's"),
        };
        if let Some(fault) = fault {
            self.violate("contract", format!("#{index}: {fault}"));
        }
        let answer = write_to.and_then(|side| self.write_at_once(index, side));
        let result = oracle::check_bytes(&mut self.conns[index], &self.settings);
        self.check(result);
        answer.or(refused)
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        let deadline = deadline.map(|at| at.saturating_duration_since(self.base));
        loop {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.violate("L3", "the schedule does not end".to_owned());
            }
            if self.violation.is_some() {
                return Err(io::Error::other("an invariant is violated"));
            }
            self.take_questions();
            self.answer();
            if events.is_empty() && self.wake.0.swap(false, Ordering::Relaxed) {
                events.push(Event::Woken);
                return Ok(());
            }
            if self.shut_down || deadline.is_some_and(|at| at <= self.now) || self.is_over() {
                return Ok(());
            }
            if self.rng.one_in(200) {
                return Ok(());
            }
            self.look_around();
            if self.possible.is_empty() {
                if !events.is_empty() {
                    return Ok(());
                }
                self.rest(deadline)?;
                continue;
            }
            let choice = self.rng.below(self.possible.len());
            let (index, happening) = self.possible[choice];
            // One input of a session a turn: the oracle must know the phase that takes it.
            if matches!(happening, Happening::Report(_)) && is_batched(events, self.conns[index].id) {
                return Ok(());
            }
            self.now += Duration::from_micros(self.rng.below(100) as u64);
            self.happen(index, happening, events);
            if !events.is_empty() && self.rng.one_in(2) {
                return Ok(());
            }
        }
    }

    fn stop_accepting(&mut self) {
        self.accepting = false;
        for conn in &mut self.conns {
            conn.facts.killed = true;
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.wake.clone()
    }
}

impl SimEngine {
    fn start_write(&mut self, index: usize, side: Side, write: Write) {
        let conn = &mut self.conns[index];
        let writes = &mut conn.operations[side as usize].writes;
        let done = write.done(side);
        match self.planted {
            Some(bug) if bug != Bug::RequestTraced && side == Side::Tenant && conn.tenant.seen.upgraded => {
                if bug.start_write(writes, write) {
                    conn.complete(done, self.now, &mut self.rng);
                }
            }
            _ => writes.push_back(write),
        }
    }

    /// Some writes are done before `submit` returns.
    fn write_at_once(&mut self, index: usize, side: Side) -> Option<Input> {
        let conn = &mut self.conns[index];
        if self.planted.is_some() || !conn.can_write(side) || self.rng.one_in(2) {
            return None;
        }
        conn.write(side, self.now, &mut self.rng);
        let is_answer = |input: &Input| match input {
            Input::Written { to } | Input::Spliced { to } => *to == side,
            Input::Failed(Failure::Write { to, .. }) => *to == side,
            _ => false,
        };
        let position = conn.ready.iter().position(|(at, input)| *at <= self.now && is_answer(input))?;
        Some(self.take_report(index, position))
    }
}

/// Payload bytes of the binary frames that a write consists of.
fn data_len(mut bytes: &[u8]) -> usize {
    let mut data_len = 0;
    while let Some((first, payload, len)) = frames::parse(bytes) {
        if first == 0x82 {
            data_len += payload.len();
        }
        bytes = &bytes[len..];
    }
    data_len
}
