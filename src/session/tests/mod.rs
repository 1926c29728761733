//! Sessions driven by hand: the harness, and what every test begins with.
//!
//! [`Driver`] stands for an engine and a control thread of which the test decides every move. It checks
//! the drain contract of [`super`] at each call, so each test here is also a test of the contract.

use std::time::{Duration, Instant};

use super::*;
use crate::console::ConsoleType;

mod closing;
mod conversation;
mod encrypting;
mod kernel_tls;
mod lifetime;
mod phases;
mod ping;
mod recording;
mod refusals;
mod residue;
mod secrets;
mod size;
mod splice;
mod splits;
mod tls;
mod tls_peer;
mod upgrade_vectors;
mod vencrypt;
mod web;

/// The token that every upgrade below presents.
const TOKEN: &str = "ab5a1e5e-70c0-4e11-9a55-5ec2e7ab1e00";

/// The time of the tests, for `Date` headers.
const UNIX_S: u64 = 1_800_000_000;

/// A session, and what is under way for it.
struct Driver {
    settings: Settings,
    now: Instant,
    /// What the clock on the wall says
    unix_s: u64,
    session: Session,
    outbox: Outbox,
    /// What the session has asked for, in order and in words
    trace: Vec<String>,
    tenant: Socket,
    compute: Socket,
    /// What the session has told the control thread
    told: Vec<Notice>,
    /// What is in the connection's pipe
    piped: Vec<u8>,
    question: Option<Question>,
    connecting: Option<SocketAddr>,
    /// How long that may take
    within: Option<Duration>,
    wait: Option<Instant>,
    closed: Option<CloseReason>,
    /// What the kernel is to go on with
    handover: Option<Handover>,
}

/// What is under way on one side.
#[derive(Default)]
struct Socket {
    reading: bool,
    /// The open read may be answered with bytes in the pipe
    may_pipe: bool,
    writing: bool,
    /// The open write is a splice
    splicing: bool,
    /// Everything written, and where the test has read it up to
    sent: Vec<u8>,
    taken: usize,
    shut_down: bool,
}

impl Socket {
    fn start_reading(&mut self, may_pipe: bool) {
        assert!(!std::mem::replace(&mut self.reading, true), "one read is open per side");
        self.may_pipe = may_pipe;
    }
}

impl Driver {
    /// A connection that was just accepted.
    fn accept(settings: Settings) -> Self {
        secrets::watch();
        let mut driver = Self {
            settings,
            now: Instant::now(),
            unix_s: UNIX_S,
            session: Session::new(1, SocketAddr::from(([192, 0, 2, 7], 40_000))),
            outbox: Outbox::new(),
            trace: Vec::new(),
            tenant: Socket::default(),
            compute: Socket::default(),
            told: Vec::new(),
            piped: Vec::new(),
            question: None,
            connecting: None,
            within: None,
            wait: None,
            closed: None,
            handover: None,
        };
        driver.session.start(driver.now, driver.unix_s, &driver.settings, &mut driver.outbox);
        driver.collect();
        driver
    }

    /// Hands one input over and carries the outputs out as far as an engine does at once.
    fn input(&mut self, input: Input) {
        assert!(self.closed.is_none(), "no call follows a Close");
        self.session.handle(self.now, self.unix_s, &self.settings, input, &mut self.outbox);
        self.collect();
    }

    fn collect(&mut self) {
        let outputs: Vec<_> = self.outbox.drain().collect();
        match outputs.iter().position(|output| matches!(output, Output::Wait(_))) {
            Some(place) => assert_eq!(place, outputs.len() - 1, "Wait is the last output: {outputs:?}"),
            None => {
                assert_eq!(self.session.deadline(self.now), self.wait, "the deadline stands: {outputs:?}")
            }
        }
        for output in outputs {
            assert!(
                self.closed.is_none() || matches!(output, Output::Wait(None)),
                "{output:?} behind a Close"
            );
            match output {
                Output::Ask(question) => {
                    self.trace.push(format!("ask {}", question_name(&question)));
                    assert!(self.question.replace(question).is_none(), "one question is open at a time");
                }
                Output::Connect { address, within } => {
                    assert!(within > Duration::ZERO, "an address gets some time");
                    self.within = Some(within);
                    self.trace.push(format!("connect {address}"));
                    assert!(self.connecting.replace(address).is_none(), "one connect is open at a time");
                }
                Output::Read(side) => self.socket(side).start_reading(false),
                Output::SpliceIn { from } => {
                    assert!(self.piped.is_empty(), "the pipe is emptied before it is filled again");
                    self.socket(from).start_reading(true);
                }
                Output::Write { to, chunk } => {
                    assert!(!chunk.is_empty(), "nothing is written to the {to}");
                    self.trace.push(format!("write {to} {}", chunk.len()));
                    let socket = self.socket(to);
                    assert!(!socket.shut_down, "a write to the {to} behind its FIN");
                    assert!(!std::mem::replace(&mut socket.writing, true), "one write is open per side");
                    socket.sent.extend_from_slice(chunk.bytes());
                }
                Output::SpliceOut { to, header, len } => {
                    self.trace.push(format!("splice {to} {len}"));
                    let piped = std::mem::take(&mut self.piped);
                    assert_eq!(piped.len(), len as usize, "all that is in the pipe");
                    let socket = self.socket(to);
                    assert!(!std::mem::replace(&mut socket.writing, true), "one write is open per side");
                    socket.splicing = true;
                    socket.sent.extend_from_slice(header.as_slice());
                    socket.sent.extend(piped);
                }
                Output::ShutdownWrite(side) => {
                    self.trace.push(format!("shutdown {side}"));
                    let socket = self.socket(side);
                    assert!(!socket.writing, "FIN to the {side} before its last write was done");
                    assert!(!std::mem::replace(&mut socket.shut_down, true), "one FIN per side");
                }
                Output::Offload { side, handover } => {
                    self.trace.push(format!("offload {side}"));
                    let socket = self.socket(side);
                    assert!(
                        !socket.reading && !socket.writing && !socket.shut_down,
                        "something is under way"
                    );
                    assert!(self.handover.replace(handover).is_none(), "one answer is awaited");
                }
                Output::Close(reason) => {
                    self.trace.push(format!("close {}", reason.name()));
                    self.closed = Some(reason);
                }
                Output::Tell(notice) => self.told.push(notice),
                Output::Recycle(_) => {}
                Output::Wait(at) => self.wait = at,
            }
        }
        assert_eq!(self.closed.is_some(), self.phase() == "closed");
    }

    fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Tenant => &mut self.tenant,
            Side::Compute => &mut self.compute,
        }
    }

    fn phase(&self) -> &'static str {
        self.session.phase_name()
    }

    /// Answers the open read of `from` with bytes.
    fn receive(&mut self, from: Side, bytes: &[u8]) {
        let reading = &mut self.socket(from).reading;
        assert!(std::mem::replace(reading, false), "the {from} is not being read");
        let mut chunk = Chunk::with_capacity(bytes.len().max(256));
        chunk.append(bytes);
        self.input(Input::Received { from, chunk });
    }

    /// Answers the open read of the compute node with bytes in the pipe.
    fn pipe(&mut self, bytes: &[u8]) {
        assert!(std::mem::replace(&mut self.compute.reading, false), "the compute is not being read");
        assert!(self.compute.may_pipe, "the session did not ask for a splice");
        assert!(self.piped.is_empty(), "the pipe still holds bytes");
        self.piped = bytes.to_vec();
        self.input(Input::Piped { from: Side::Compute, len: u32::try_from(bytes.len()).unwrap() });
    }

    /// Answers the open read of `from` with its FIN.
    fn end(&mut self, from: Side) {
        let reading = &mut self.socket(from).reading;
        assert!(std::mem::replace(reading, false), "the {from} is not being read");
        self.input(Input::Ended { from });
    }

    /// Answers the open read of `from` with a reset.
    fn reset(&mut self, from: Side) {
        let reading = &mut self.socket(from).reading;
        assert!(std::mem::replace(reading, false), "the {from} is not being read");
        let source = std::io::ErrorKind::ConnectionReset.into();
        self.input(Input::Failed(Failure::Read { from, source }));
    }

    /// Answers the open write to `to`.
    fn written(&mut self, to: Side) {
        let socket = self.socket(to);
        assert!(std::mem::replace(&mut socket.writing, false), "nothing is being written to the {to}");
        let spliced = std::mem::replace(&mut socket.splicing, false);
        self.input(if spliced { Input::Spliced { to } } else { Input::Written { to } });
    }

    /// Answers the open write to `to` with a reset.
    fn write_fails(&mut self, to: Side) {
        let writing = &mut self.socket(to).writing;
        assert!(std::mem::replace(writing, false), "nothing is being written to the {to}");
        let source = std::io::ErrorKind::BrokenPipe.into();
        self.input(Input::Failed(Failure::Write { to, source }));
    }

    /// Answers all writes, and those that follow from them.
    fn flush(&mut self) {
        while self.closed.is_none() && (self.tenant.writing || self.compute.writing) {
            if self.tenant.writing {
                self.written(Side::Tenant);
            }
            if self.compute.writing && self.closed.is_none() {
                self.written(Side::Compute);
            }
        }
    }

    /// What was written to `side` since the last call.
    fn take_sent(&mut self, side: Side) -> Vec<u8> {
        let socket = self.socket(side);
        let sent = socket.sent[socket.taken..].to_vec();
        socket.taken = socket.sent.len();
        sent
    }

    /// Takes the open question.
    fn take_question(&mut self) -> Question {
        self.question.take().expect("a question is open")
    }

    /// Answers the open question or connect with `input`.
    fn answer(&mut self, input: Input) {
        assert!(self.question.take().is_some(), "no question is open");
        self.input(input);
    }

    /// Answers the open connect.
    fn connected(&mut self) {
        assert!(self.connecting.take().is_some(), "no connect is open");
        self.input(Input::Connected);
    }

    fn connect_fails(&mut self) {
        assert!(self.connecting.take().is_some(), "no connect is open");
        self.input(Input::Failed(Failure::Connect(std::io::ErrorKind::ConnectionRefused.into())));
    }

    /// How long the session waits from now.
    fn waits(&self) -> Option<Duration> {
        self.wait.map(|at| at.saturating_duration_since(self.now))
    }

    fn sleep(&mut self, time: Duration) {
        self.now += time;
        assert!(self.wait.is_none_or(|at| at > self.now), "the deadline comes first");
    }

    /// Sleeps until the session's deadline and delivers it.
    fn expire(&mut self) {
        self.now = self.wait.expect("a deadline is set").max(self.now);
        self.input(Input::Deadline);
    }

    /// A compute node answers our FIN with its own.
    fn compute_leaves(&mut self) {
        if self.closed.is_none() && self.compute.shut_down && self.compute.reading {
            self.end(Side::Compute);
        }
    }

    /// The tenant's own end of an orderly close: its FIN answers ours.
    fn finish(mut self) -> CloseReason {
        self.flush();
        self.compute_leaves();
        if self.closed.is_none() {
            self.end(Side::Tenant);
        }
        self.closed.expect("the tenant's FIN ends the session")
    }
}

fn question_name(question: &Question) -> &'static str {
    match question {
        Question::Authorize { .. } => "authorize",
        Question::Resolve { .. } => "resolve",
        Question::OpenFile { .. } => "open",
        Question::ReadFile { .. } => "read",
    }
}
