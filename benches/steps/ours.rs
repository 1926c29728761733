//! The program's worker on its engines.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::uring::{UringEngine, probe};
use consolegate::engine::{Engine, PipeBudget, Seat, Worker, WorkerSettings, listener};
use consolegate::session::{Admitted, Authorizer, Input, Limits, Overloaded, Question, Reply, Settings};

use crate::counted::Counted;
use crate::harness::{Direction, Ends, Relay};

/// Every engine this machine has, copying only and splicing what is bulk.
pub(crate) fn all(sessions: usize) -> Vec<Box<dyn Relay>> {
    let mut relays: Vec<Box<dyn Relay>> = Vec::new();
    for (name, splice) in [("epoll", false), ("epoll splice", true)] {
        relays.push(Box::new(Ours::new(name, sessions, splice, epoll)));
    }
    if has_uring() {
        for (name, splice) in [("io_uring", false), ("io_uring splice", true)] {
            relays.push(Box::new(Ours::new(name, sessions, splice, uring)));
        }
    }
    relays
}

/// Whether this kernel lets us; says why if not.
pub(crate) fn has_uring() -> bool {
    probe().inspect_err(|why| println!("without io_uring: {why}")).is_ok()
}

pub(crate) fn uring(listener: TcpListener, limits: &Limits) -> io::Result<UringEngine> {
    UringEngine::new(listener, Seat::alone(), limits, PipeBudget::new(limits))
}

pub(crate) fn epoll(listener: TcpListener, limits: &Limits) -> io::Result<EpollEngine> {
    EpollEngine::new(listener, Seat::alone(), limits, PipeBudget::new(limits))
}

/// As many as the idle measure opens, and some.
pub(crate) const SESSIONS_MAX: u64 = 2_048;

/// A worker and the other ends of its sessions.
pub(crate) struct Ours<E: Engine> {
    name: &'static str,
    worker: Worker<Counted<E>>,
    ends: Vec<Ends>,
    /// Where the worker listens
    address: SocketAddr,
    console: TcpListener,
}

impl<E: Engine> Ours<E> {
    pub(crate) fn new(
        name: &'static str,
        sessions: usize,
        splice: bool,
        engine: fn(TcpListener, &Limits) -> io::Result<E>,
    ) -> Self {
        let mut settings = Settings::for_console(ConsoleType::Serial);
        // Nothing but the bytes of the step is to be sent.
        assert!(settings.limits.set("ping_interval_ms", 0));
        if !splice {
            assert!(settings.limits.set("splice_from_bytes", 0));
        }
        settings.limits.sessions_max = SESSIONS_MAX;
        let console = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listener = listener::bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let engine = Counted::new(engine(listener, &settings.limits).unwrap());
        let authorizer = Arc::new(Yes(console.local_addr().unwrap()));
        let shared = WorkerSettings { settings: Arc::new(settings), authorizer, numbers: Arc::default() };
        let mut ours = Self { name, worker: Worker::new(engine, shared), ends: Vec::new(), address, console };
        ours.open(sessions);
        ours
    }

    /// Opens so many sessions more.
    pub(crate) fn open(&mut self, sessions: usize) {
        for _ in 0..sessions {
            self.open_one();
        }
    }

    fn open_one(&mut self) {
        let mut tenant = TcpStream::connect(self.address).unwrap();
        tenant.set_nodelay(true).unwrap();
        tenant
            .write_all(
                b"GET /?token=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .unwrap();
        let relaying = |worker: &Worker<Counted<E>>| {
            worker.sessions().filter(|session| session.phase_name() == "relaying").count()
        };
        while relaying(&self.worker) <= self.ends.len() {
            self.worker.turn().unwrap();
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tenant.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let (compute, _) = self.console.accept().unwrap();
        compute.set_nodelay(true).unwrap();
        self.ends.push(Ends { tenant, compute });
    }
}

impl<E: Engine> Relay for Ours<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn framed(&self) -> bool {
        true
    }

    fn ends(&mut self) -> &mut [Ends] {
        &mut self.ends
    }

    fn run(&mut self, _direction: Direction, waiting: usize) {
        self.worker.engine_mut().start_counting();
        while !self.worker.engine().has_moved(waiting) {
            self.worker.turn().unwrap();
        }
    }

    fn sent(&self, session: usize) -> usize {
        self.worker.engine().sent(session)
    }
}

/// A control thread that knows one console and lets everybody use it.
struct Yes(SocketAddr);

impl Authorizer for Yes {
    fn ask(&self, question: Question, reply: Reply) -> Result<(), Overloaded> {
        reply(match question {
            Question::Authorize { .. } => Input::Authorized(Admitted::boxed(ConnectInfo {
                console_type: ConsoleType::Serial,
                host: self.0.ip().to_string(),
                port: Some(self.0.port()),
                tls_port: None,
                internal_access_path: None,
                instance_uuid: "11111111-2222-3333-4444-555555555555".to_owned(),
                expires: 0,
                access_url_base: None,
            })),
            Question::Resolve { .. } => Input::Resolved(vec![self.0]),
            Question::OpenFile { .. } | Question::ReadFile { .. } => return Err(Overloaded),
        });
        Ok(())
    }
}
