//! A whole session under any schedule of inputs: bytes of both sides, answers of the control thread and of the kernel,
//! time. Shared by the fuzz target `session` and by `tests/fuzzed.rs`.
//!
//! What is asserted is the drain contract of `session`, that no schedule keeps a session alive once its peers are
//! silent and its deadlines come, and, where both peers are real ones under TLS, that what arrives is what was said.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::proto::http::FileMeta;
use consolegate::proto::rfb::{AuthScheme, VncPassword};
use consolegate::proto::ws::TextPolicy;
use consolegate::session::{
    Admitted, AuthorizeError, CloseReason, Failure, FileEvent, FileHandle, Input, Outbox, Output, Question,
    Security, Session, Settings,
};

#[path = "session_tls.rs"]
mod tls;

use crate::reference;
use tls::Peer;

/// The token of the seeds. It must not be seen in anything that can be formatted.
pub(crate) const TOKEN: &str = "ab5a1e5e-70c0-4e11-9a55-5ec2e7ab1e00";

/// The password of compute nodes that want one. It must not be seen in what can be formatted, nor in what is written.
pub(crate) const PASSWORD: &str = "q7Vn0x_Z";

const UNIX_S: u64 = 1_800_000_000;

/// Deadlines after which a session whose peers are silent has to be over: each phase has one, and some are met twice.
const DEADLINES_MAX: usize = 40;

/// Outputs of one call: an input cannot lead to more than a few.
const OUTPUTS_MAX: usize = 32;

/// The last one asks for `VeNCrypt`.
const CONSOLES: [ConsoleType; 4] =
    [ConsoleType::NoVnc, ConsoleType::SpiceHtml5, ConsoleType::Serial, ConsoleType::NoVnc];

/// Every invariant, for one schedule.
pub(crate) fn session(data: &[u8]) {
    run(data);
}

/// The phases that the session of a schedule was in.
#[allow(dead_code, reason = "for tests/fuzzed.rs")]
pub(crate) fn phases(data: &[u8]) -> BTreeSet<&'static str> {
    run(data).map_or_else(BTreeSet::new, |world| world.phases)
}

/// Console bytes that the real peers of a schedule got, if there are any: the tenant, and the compute node.
#[allow(dead_code, reason = "for tests/fuzzed.rs")]
pub(crate) fn carried(data: &[u8]) -> Option<[Option<Vec<u8>>; 2]> {
    let [tenant, compute] = run(data)?.peers;
    let shown = tenant.map(|tenant| unframed(behind_the_head(&tenant.heard)));
    Some([shown, compute.map(|compute| compute.heard)])
}

/// Runs one schedule: a byte of settings, then steps.
fn run(data: &[u8]) -> Option<World> {
    let (first, mut rest) = data.split_first()?;
    let mut world = World::new(*first);
    while !world.closed {
        let Some((step, after)) = rest.split_first() else { break };
        rest = world.step(*step, after);
    }
    world.check_relayed();
    world.let_time_pass();
    Some(world)
}

#[derive(Default)]
struct Socket {
    reading: bool,
    may_pipe: bool,
    writing: bool,
    splicing: bool,
    /// A write has failed
    broken: bool,
    shut_down: bool,
}

struct World {
    settings: Settings,
    now: Instant,
    session: Session,
    outbox: Outbox,
    sockets: [Socket; 2],
    question: Option<Question>,
    connecting: bool,
    piped: u32,
    wait: Option<Instant>,
    closed: bool,
    /// All that a side has said
    heard: [Vec<u8>; 2],
    /// Sides that are real peers under TLS
    peers: [Option<Peer>; 2],
    /// What was last written to the compute node
    last_write: Vec<u8>,
    /// The time has come for something
    expired: bool,
    phases: BTreeSet<&'static str>,
}

impl World {
    fn new(first: u8) -> Self {
        let mut settings = Settings::for_console(CONSOLES[usize::from(first & 0x03)]);
        (settings.tls.acceptor, settings.compute_tls.connector) = tls::own_ends();
        if first & 0x03 == 3 {
            settings.security = Security::Rfb(vec![AuthScheme::VeNCrypt, AuthScheme::None]);
        }
        // All that an operator may allow beyond Nova: VNC has no TLS from the first byte on, and the others no passwords.
        let beyond_nova = first & 0x80 != 0;
        if matches!(settings.security, Security::Rfb(_)) {
            settings.vnc.password.replace(VncPassword::new(PASSWORD.as_bytes()).filter(|_| beyond_nova));
            settings.vnc.password_in_clear = beyond_nova;
            settings.vnc.rfb_33 = beyond_nova;
        } else {
            settings.compute_tls.whole = beyond_nova;
        }
        settings.explain_refusals = first & 0x04 != 0;
        settings.ping_strict = first & 0x08 != 0;
        settings.upgrade.strict = first & 0x10 != 0;
        settings.proxy_protocol = first & 0x20 != 0;
        settings.trusted_proxies = vec!["192.0.2.7".parse().expect("an address")];
        settings.limits.splice_from_bytes = 64;
        settings.limits.splice_until_bytes = 32;
        // Otherwise a quiet relay lives for ever, as it should.
        settings.limits.idle_timeout_ms = 60_000;
        settings.limits.ping_interval_ms = if first & 0x40 == 0 { 0 } else { 25_000 };
        let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
        let mut world = Self {
            settings,
            now: Instant::now(),
            session: Session::new(1, peer),
            outbox: Outbox::new(),
            sockets: Default::default(),
            question: None,
            connecting: false,
            piped: 0,
            wait: None,
            closed: false,
            heard: Default::default(),
            peers: Default::default(),
            last_write: Vec::new(),
            expired: false,
            phases: BTreeSet::new(),
        };
        world.session.start(world.now, UNIX_S, &world.settings, &mut world.outbox);
        world.carry_out();
        world
    }

    /// Takes one step, where it is possible, and returns what is left of the schedule.
    fn step<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        let side = if step & 0x80 == 0 { Side::Tenant } else { Side::Compute };
        let argument = step >> 4 & 0x07;
        match step & 0x0f {
            0..=5 => {
                let Some((len, after)) = rest.split_first() else { return rest };
                if self.peers[index(side)].is_some() && (step & 0x0f) % 3 == 1 {
                    self.deliver(side, usize::from(*len));
                    return after;
                }
                let (bytes, after) = after.split_at(usize::from(*len).min(after.len()));
                let reading = self.socket(side).reading;
                match &mut self.peers[index(side)] {
                    Some(peer) if step & 0x0f == 0 || step & 0x0f == 3 => peer.say(bytes),
                    Some(peer) if !bytes.is_empty() && reading => {
                        peer.corrupted = true;
                        self.received(side, bytes, argument);
                    }
                    None if !bytes.is_empty() && reading => self.received(side, bytes, argument),
                    _ => {}
                }
                return after;
            }
            6 | 7 if self.socket(side).writing => self.written(side),
            8 if self.question.is_some() => self.answer(argument),
            9 if self.connecting => self.connected(argument),
            10 if self.socket(side).reading => {
                self.socket(side).reading = false;
                self.input(Input::Ended { from: side });
            }
            11 if self.socket(side).reading && argument == 0 => {
                self.socket(side).reading = false;
                let source = std::io::ErrorKind::ConnectionReset.into();
                self.input(Input::Failed(Failure::Read { from: side, source }));
            }
            12 if self.socket(side).writing && argument == 0 => {
                let socket = self.socket(side);
                (socket.writing, socket.broken) = (false, true);
                let source = std::io::ErrorKind::BrokenPipe.into();
                self.input(Input::Failed(Failure::Write { to: side, source }));
            }
            13 => {
                self.now += Duration::from_millis(1 << (argument * 2));
                if self.wait.is_some_and(|at| at <= self.now) {
                    self.input(Input::Deadline);
                }
            }
            14 if argument == 1 => self.start_tls(side),
            14 if argument == 2 => {
                if let Some(peer) = &mut self.peers[index(side)] {
                    peer.end();
                }
            }
            14 if argument == 7 => self.input(Input::Kill(CloseReason::ShuttingDown)),
            // A look at the clock that comes too early changes nothing but must do no harm.
            15 if self.wait.is_some() => self.input(Input::Deadline),
            _ => {}
        }
        rest
    }

    /// From here on the side is a real peer under TLS; what it is to say and to deliver are steps of their own.
    fn start_tls(&mut self, side: Side) {
        let peer = &mut self.peers[index(side)];
        if peer.is_some() {
            return;
        }
        let peer = peer.insert(if side == Side::Tenant { Peer::tenant() } else { Peer::compute() });
        // The hello leaves with the last byte in the clear.
        if side == Side::Compute && self.last_write.starts_with(&[0x16, 0x03, 0x01]) {
            peer.hear(&self.last_write);
        }
    }

    /// Delivers wire bytes of a peer's: `len` of them, or all.
    fn deliver(&mut self, side: Side, len: usize) {
        if !self.socket(side).reading {
            return;
        }
        let (phase, len) = (self.session.phase_name(), if len == 0 { usize::MAX } else { len });
        let Some(peer) = &mut self.peers[index(side)] else { return };
        let bytes = peer.deliver(len, phase);
        if !bytes.is_empty() {
            self.received(side, &bytes, 0);
        }
    }

    fn received(&mut self, from: Side, bytes: &[u8], argument: u8) {
        let socket = self.socket(from);
        socket.reading = false;
        if socket.may_pipe && argument & 0x01 != 0 {
            self.piped = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let len = self.piped;
            return self.input(Input::Piped { from, len });
        }
        let mut chunk = Chunk::with_capacity(bytes.len());
        chunk.append(bytes);
        self.heard[index(from)].extend_from_slice(bytes);
        self.input(Input::Received { from, chunk });
    }

    fn written(&mut self, to: Side) {
        let socket = self.socket(to);
        socket.writing = false;
        let spliced = std::mem::take(&mut socket.splicing);
        self.input(if spliced { Input::Spliced { to } } else { Input::Written { to } });
    }

    fn connected(&mut self, argument: u8) {
        self.connecting = false;
        self.input(if argument & 0x03 == 3 {
            Input::Failed(Failure::Connect(std::io::ErrorKind::ConnectionRefused.into()))
        } else {
            Input::Connected
        });
    }

    fn answer(&mut self, argument: u8) {
        let Some(question) = self.question.take() else { return };
        let fails = argument & 0x03 == 3;
        self.input(match question {
            Question::Authorize { .. } if fails => {
                Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid))
            }
            Question::Authorize { .. } => Input::Authorized(Admitted::boxed(self.connect_info(argument))),
            Question::Resolve { .. } if fails => Input::Failed(Failure::Resolve("no such name".to_owned())),
            Question::Resolve { .. } => {
                let address = SocketAddr::from(([198, 51, 100, 1], 5900));
                Input::Resolved(vec![address; 1 + usize::from(argument & 0x01)])
            }
            Question::OpenFile { .. } | Question::ReadFile { .. } if fails => Input::File(FileEvent::Missing),
            Question::OpenFile { wants_bytes, .. } => Input::File(FileEvent::Opened {
                file: FileHandle::new(()),
                meta: Box::new(FileMeta {
                    len: 300,
                    modified_unix_ns: 0,
                    gzip: false,
                    media_type: "text/html",
                }),
                first: if wants_bytes { Chunk::copied_from(&[b'x'; 200]) } else { Chunk::default() },
            }),
            Question::ReadFile { .. } => Input::File(FileEvent::Piece(Chunk::copied_from(&[b'x'; 100]))),
        });
    }

    fn connect_info(&self, argument: u8) -> ConnectInfo {
        ConnectInfo {
            console_type: if argument & 0x04 == 0 {
                self.settings.console_type
            } else {
                ConsoleType::RdpHtml5
            },
            host: "compute-1.example".to_owned(),
            port: (argument & 0x40 == 0).then_some(5900),
            tls_port: Some(5901),
            internal_access_path: (argument & 0x03 == 1).then(|| "/console?ref=OpaqueRef:1".to_owned()),
            instance_uuid: "2f4d3a55-0000-4000-8000-000000000001".to_owned(),
            expires: 1_800_000_600,
            access_url_base: None,
        }
    }

    fn socket(&mut self, side: Side) -> &mut Socket {
        &mut self.sockets[index(side)]
    }

    fn input(&mut self, input: Input) {
        if self.closed {
            return;
        }
        self.phases.insert(self.session.phase_name());
        self.expired = matches!(input, Input::Deadline);
        self.session.handle(self.now, UNIX_S, &self.settings, input, &mut self.outbox);
        self.carry_out();
        self.check_secret(&format!("{:?}", self.session));
    }

    /// A token that came as one, in a query and nowhere else, is not to be seen; nor is the password.
    fn check_secret(&self, shown: &str) {
        let came_otherwise = || self.times_heard(TOKEN) > self.times_heard(&format!("?token={TOKEN}"));
        assert!(!shown.contains(TOKEN) || came_otherwise(), "the token shows in {shown}");
        self.check_password(shown);
    }

    /// The password is not to be seen, unless a peer has guessed it.
    fn check_password(&self, shown: &str) {
        assert!(!shown.contains(PASSWORD) || self.times_heard(PASSWORD) > 0, "the password shows in {shown}");
    }

    fn times_heard(&self, text: &str) -> usize {
        let said = self.peers.iter().flatten().map(|peer| &peer.said);
        let heard = self.heard.iter().chain(said).map(|bytes| String::from_utf8_lossy(bytes));
        heard.map(|heard| heard.matches(text).count()).sum()
    }

    /// The drain contract, call by call.
    fn carry_out(&mut self) {
        let outputs: Vec<_> = self.outbox.drain().collect();
        assert!(outputs.len() <= OUTPUTS_MAX, "{} outputs of one call", outputs.len());
        let waits = outputs.iter().position(|output| matches!(output, Output::Wait(_)));
        assert!(waits.is_none_or(|place| place == outputs.len() - 1), "Wait is the last output");
        self.check_secret(&format!("{outputs:?}"));
        for output in outputs {
            assert!(!self.closed || matches!(output, Output::Wait(None)), "{output:?} behind a Close");
            match output {
                Output::Ask(question) => assert!(self.question.replace(question).is_none(), "two questions"),
                Output::Tell(_) | Output::Recycle(_) => {}
                Output::Connect { within, .. } => {
                    assert!(within > Duration::ZERO && !self.connecting, "two connects");
                    self.connecting = true;
                }
                Output::Read(side) => self.start_reading(side, false),
                Output::SpliceIn { from } => {
                    assert_eq!(self.piped, 0, "the pipe is emptied before it is filled again");
                    self.start_reading(from, true);
                }
                Output::Write { to, chunk } => {
                    assert!(!chunk.is_empty(), "an empty write");
                    self.start_writing(to, false);
                    // Behind the negotiation frames are unmasked, which may hold anything.
                    if self.session.phase_name() != "relaying" && !self.phases.contains("relaying") {
                        self.check_password(&String::from_utf8_lossy(chunk.bytes()));
                    }
                    if let Some(peer) = &mut self.peers[index(to)] {
                        peer.hear(chunk.bytes());
                    }
                    if to == Side::Compute {
                        self.last_write = chunk.bytes().to_vec();
                    }
                }
                Output::SpliceOut { to, len, .. } => {
                    assert_eq!(std::mem::take(&mut self.piped), len, "all that is in the pipe");
                    self.start_writing(to, true);
                }
                Output::ShutdownWrite(side) => {
                    let socket = self.socket(side);
                    assert!(!socket.writing && !socket.shut_down, "FIN out of order");
                    socket.shut_down = true;
                    let broken = socket.broken;
                    if let Some(peer) = self.peers[index(side)].as_ref().filter(|_| !broken) {
                        peer.check_end();
                    }
                }
                Output::Close(_) => {
                    for (peer, socket) in self.peers.iter().zip(&self.sockets) {
                        let cut_off = socket.writing && peer.as_ref().is_some_and(|peer| peer.notified);
                        assert!(!cut_off || self.expired, "the end does not wait for close_notify");
                    }
                    self.closed = true;
                }
                Output::Offload { .. } => panic!("these kernels have no TLS"),
                Output::Wait(at) => self.wait = at,
            }
        }
        assert_eq!(self.closed, self.session.phase_name() == "closed");
    }

    fn start_reading(&mut self, side: Side, may_pipe: bool) {
        let socket = self.socket(side);
        assert!(!socket.reading, "two reads from the {side}");
        (socket.reading, socket.may_pipe) = (true, may_pipe);
    }

    fn start_writing(&mut self, side: Side, splicing: bool) {
        let socket = self.socket(side);
        assert!(!socket.writing && !socket.shut_down, "two writes to the {side}, or one behind its FIN");
        (socket.writing, socket.splicing) = (true, splicing);
    }

    /// Between two real peers and without a handshake of its own, a console carries what they said and nothing else.
    fn check_relayed(&self) {
        let [Some(tenant), Some(compute)] = &self.peers else { return };
        let others = ["responding", "tunnelling", "securing"];
        // A peer may speak TLS that the session takes for the console.
        let under_tls = [tenant, compute].iter().all(|peer| peer.established && !peer.corrupted);
        if !under_tls || others.iter().any(|phase| self.phases.contains(phase)) {
            return;
        }
        let text_refused = self.settings.text == TextPolicy::Refuse;
        let typed = reference::read(behind_the_head(&tenant.said), text_refused);
        let typed: Vec<u8> = typed.messages.into_iter().flat_map(|(_, payload, _)| payload).collect();
        assert!(typed.starts_with(&compute.heard), "the compute node got something else");
        let shown = unframed(behind_the_head(&tenant.heard));
        assert!(compute.said.starts_with(&shown), "the tenant got something else");
    }

    /// Nobody does anything any more: deadline after deadline, until the session has had enough.
    fn let_time_pass(&mut self) {
        for _ in 0..DEADLINES_MAX {
            if self.closed {
                return;
            }
            let at = self.wait.expect("a session that waits for nobody has a deadline");
            self.now = self.now.max(at);
            self.input(Input::Deadline);
        }
        assert!(self.closed, "still {} after {DEADLINES_MAX} deadlines", self.session.phase_name());
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Compute)
}

fn behind_the_head(stream: &[u8]) -> &[u8] {
    let end = stream.windows(4).position(|end| end == b"\r\n\r\n");
    end.map_or(&[], |end| &stream[end + 4..])
}

/// Payload of all that came of the proxy's binary frames.
fn unframed(mut rest: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    while let [first, second, behind @ ..] = rest {
        let len_bytes = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((bytes, behind)) = behind.split_at_checked(len_bytes) else { break };
        let len = match len_bytes {
            0 => usize::from(*second),
            _ => bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
        };
        let (piece, behind) = behind.split_at(len.min(behind.len()));
        if *first == 0x82 {
            payload.extend_from_slice(piece);
        }
        rest = behind;
    }
    payload
}
