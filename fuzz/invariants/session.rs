//! A whole session under any schedule of inputs: bytes of both sides, answers of the control thread and of the kernel,
//! time. Shared by the fuzz target `session` and by `tests/fuzzed.rs`.
//!
//! What is asserted is the drain contract of `session`, and that no schedule keeps a session alive once its peers are
//! silent and its deadlines come.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::proto::http::FileMeta;
use consolegate::proto::rfb::AuthScheme;
use consolegate::proto::tls::{TlsAcceptor, TlsConnector};
use consolegate::session::{
    Admitted, AuthorizeError, CloseReason, Failure, FileEvent, FileHandle, Input, Outbox, Output, Question,
    Security, Session, Settings,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The token of the seeds. It must not be seen in anything that can be formatted.
pub(crate) const TOKEN: &str = "ab5a1e5e-70c0-4e11-9a55-5ec2e7ab1e00";

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
    phases(data);
}

/// Runs one schedule: a byte of settings, then steps. The phases that the session was in.
pub(crate) fn phases(data: &[u8]) -> BTreeSet<&'static str> {
    let Some((first, mut rest)) = data.split_first() else { return BTreeSet::new() };
    let mut world = World::new(*first);
    while !world.closed {
        let Some((step, after)) = rest.split_first() else { break };
        rest = world.step(*step, after);
    }
    world.let_time_pass();
    world.phases
}

/// TLS of both kinds, as far as it gets between strangers: our side has no certificate to show, and trusts none.
static TLS: LazyLock<(Arc<TlsAcceptor>, Arc<TlsConnector>)> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth().with_cert_resolver(Arc::new(NoCertificate)));
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    let (acceptor, connector) = (TlsAcceptor::default(), TlsConnector::default());
    acceptor.replace(server.ok().map(Arc::new));
    connector.replace(client.ok().map(Arc::new));
    assert!(acceptor.is_ready() && connector.is_ready());
    (Arc::new(acceptor), Arc::new(connector))
});

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Default)]
struct Socket {
    reading: bool,
    may_pipe: bool,
    writing: bool,
    splicing: bool,
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
    phases: BTreeSet<&'static str>,
}

impl World {
    fn new(first: u8) -> Self {
        let mut settings = Settings::for_console(CONSOLES[usize::from(first & 0x03)]);
        settings.tls.acceptor = Arc::clone(&TLS.0);
        settings.compute_tls.connector = Arc::clone(&TLS.1);
        if first & 0x03 == 3 {
            settings.security = Security::Rfb(vec![AuthScheme::VeNCrypt, AuthScheme::None]);
        }
        settings.compute_tls.whole = first & 0x80 != 0;
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
                let (bytes, after) = after.split_at(usize::from(*len).min(after.len()));
                if !bytes.is_empty() && self.socket(side).reading {
                    self.received(side, bytes, argument);
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
                self.socket(side).writing = false;
                let source = std::io::ErrorKind::BrokenPipe.into();
                self.input(Input::Failed(Failure::Write { to: side, source }));
            }
            13 => {
                self.now += Duration::from_millis(1 << (argument * 2));
                if self.wait.is_some_and(|at| at <= self.now) {
                    self.input(Input::Deadline);
                }
            }
            14 if argument == 7 => self.input(Input::Kill(CloseReason::ShuttingDown)),
            // A look at the clock that comes too early changes nothing but must do no harm.
            15 if self.wait.is_some() => self.input(Input::Deadline),
            _ => {}
        }
        rest
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
        self.heard[usize::from(from == Side::Compute)].extend_from_slice(bytes);
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
                meta: FileMeta { len: 300, modified_unix_ns: 0, gzip: false, media_type: "text/html" },
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
            port: 5900,
            tls_port: Some(5901),
            internal_access_path: (argument & 0x03 == 1).then(|| "/console?ref=OpaqueRef:1".to_owned()),
            instance_uuid: "2f4d3a55-0000-4000-8000-000000000001".to_owned(),
            expires: 1_800_000_600,
            access_url_base: None,
        }
    }

    fn socket(&mut self, side: Side) -> &mut Socket {
        &mut self.sockets[usize::from(side == Side::Compute)]
    }

    fn input(&mut self, input: Input) {
        if self.closed {
            return;
        }
        self.phases.insert(self.session.phase_name());
        self.session.handle(self.now, UNIX_S, &self.settings, input, &mut self.outbox);
        self.carry_out();
        self.check_secret(&format!("{:?}", self.session));
    }

    /// A token that came as one, in a query and nowhere else, is not to be seen.
    fn check_secret(&self, shown: &str) {
        let came_otherwise = || {
            let heard = self.heard.iter().map(|bytes| String::from_utf8_lossy(bytes));
            heard
                .map(|text| text.matches(TOKEN).count() - text.matches(&format!("?token={TOKEN}")).count())
                .sum::<usize>()
                > 0
        };
        assert!(!shown.contains(TOKEN) || came_otherwise(), "the token shows in {shown}");
    }

    /// The drain contract, call by call.
    fn carry_out(&mut self) {
        let outputs: Vec<_> = self.outbox.drain().collect();
        assert!(outputs.len() <= OUTPUTS_MAX, "{} outputs of one call", outputs.len());
        assert!(matches!(outputs.last(), Some(Output::Wait(_))), "Wait is the last output");
        self.check_secret(&format!("{outputs:?}"));
        for output in outputs {
            assert!(!self.closed || matches!(output, Output::Wait(None)), "{output:?} behind a Close");
            match output {
                Output::Ask(question) => assert!(self.question.replace(question).is_none(), "two questions"),
                Output::Tell(_) => {}
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
                }
                Output::SpliceOut { to, len, .. } => {
                    assert_eq!(std::mem::take(&mut self.piped), len, "all that is in the pipe");
                    self.start_writing(to, true);
                }
                Output::ShutdownWrite(side) => {
                    let socket = self.socket(side);
                    assert!(!socket.writing && !socket.shut_down, "FIN out of order");
                    socket.shut_down = true;
                }
                Output::Close(_) => self.closed = true,
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
