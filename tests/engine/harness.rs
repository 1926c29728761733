//! A worker on a thread of its own, and what its engine holds.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::uring::UringEngine;
use consolegate::engine::{Engine, PipeBudget, Seat, Worker, WorkerHandle, WorkerSettings, listener};
use consolegate::session::{
    Admitted, Authorizer, FileEvent, Input, Limits, Overloaded, Question, Reply, Settings,
};
use consolegate::telemetry::counters::WorkerCounters;

use super::client::Client;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The name of a worker's thread.
pub(crate) const WORKER: &str = "worker";

/// The token of every client.
pub(crate) const TARGET: &str = "/?token=e6910e5e-70c0-4e11-9a55-5ec2e7ab1e00";

/// A worker that serves serial consoles of one compute node to everybody.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    compute: SocketAddr,
    handle: WorkerHandle,
    counters: Arc<WorkerCounters>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// What the worker's thread tells after each turn.
#[derive(Default)]
struct State {
    live: AtomicUsize,
    under_way: AtomicUsize,
    turns: AtomicU64,
    starvations: AtomicU64,
    /// Whoever holds it keeps the worker from turning
    gate: Mutex<()>,
}

impl Proxy {
    /// A proxy to `compute` on the engine of that name.
    pub(crate) fn start(engine: &str, compute: SocketAddr, limits: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(engine, &[compute], limits)
    }

    /// A proxy to a compute node that has several addresses.
    pub(crate) fn start_with(
        engine: &str,
        addresses: &[SocketAddr],
        limits: impl FnOnce(&mut Limits),
    ) -> Self {
        Self::start_as(engine, addresses, |settings| limits(&mut settings.limits))
    }

    /// The same with a hand in all settings.
    pub(crate) fn start_as(
        engine: &str,
        addresses: &[SocketAddr],
        prepare: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::start_several(engine, addresses, 1, prepare).remove(0)
    }

    /// Workers that spread connections among them. Each has a port of its own, so that the test decides who accepts.
    pub(crate) fn start_several(
        engine: &str,
        addresses: &[SocketAddr],
        workers: usize,
        prepare: impl FnOnce(&mut Settings),
    ) -> Vec<Self> {
        super::before_start();
        let mut settings = Settings::for_console(ConsoleType::Serial);
        settings.limits.sessions_max = 2_000;
        // Frames are compared as they come, however long they take.
        settings.limits.ping_interval_ms = 0;
        // A test that waits for its turn on a busy machine is no client that has nothing to say.
        settings.limits.first_byte_timeout_ms = 60_000;
        prepare(&mut settings);
        let pipes = PipeBudget::new(&settings.limits);
        let shared = WorkerSettings {
            settings: Arc::new(settings),
            authorizer: Arc::new(Everybody(addresses.to_vec())),
            numbers: Arc::new(AtomicU64::new(0)),
        };
        let seats = Seat::among(workers).into_iter();
        seats.map(|seat| Self::start_worker(engine, addresses[0], seat, &shared, &pipes)).collect()
    }

    fn start_worker(
        engine: &str,
        compute: SocketAddr,
        seat: Seat,
        shared: &WorkerSettings,
        pipes: &PipeBudget,
    ) -> Self {
        let listener = listener::bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (shared, limits, pipes) = (shared.clone(), shared.settings.limits, pipes.clone());
        let state = Arc::new(State::default());
        let (started, start) = mpsc::channel();
        let (told, is_uring) = (Arc::clone(&state), engine == "io_uring");
        let thread = thread::Builder::new().name(WORKER.to_owned()).spawn(move || {
            if is_uring {
                let engine = UringEngine::new(listener, seat, &limits, pipes).unwrap();
                turn(Worker::new(engine, shared), &started, &told, |engine, state| {
                    state.under_way.store(engine.under_way(), Ordering::Relaxed);
                    state.starvations.store(engine.starvations(), Ordering::Relaxed);
                });
            } else {
                let engine = EpollEngine::new(listener, seat, &limits, pipes).unwrap();
                turn(Worker::new(engine, shared), &started, &told, |_, _| ());
            }
        });
        let thread = thread.unwrap();
        let (handle, counters) = start.recv().unwrap();
        Self { address, compute, handle, counters, state, thread: Some(thread) }
    }

    /// Opens a console and reads the 101.
    pub(crate) fn open(&self) -> Client {
        Client::upgrade(self.address, TARGET, &[])
    }

    /// Keeps the worker from turning for as long as the guard lives.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.state.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn live(&self) -> usize {
        self.state.live.load(Ordering::Relaxed)
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// Turns of the worker so far.
    pub(crate) fn turns(&self) -> u64 {
        self.state.turns.load(Ordering::Relaxed)
    }

    /// Reads of the `io_uring` engine that found no buffer.
    pub(crate) fn starvations(&self) -> u64 {
        self.state.starvations.load(Ordering::Relaxed)
    }

    /// Sockets of sessions that this process still holds: accepted ones, and ones to the compute node.
    pub(crate) fn sockets(&self) -> usize {
        let own = |row: &&Row| row.local == self.address.port() || row.remote == self.compute.port();
        rows().iter().filter(own).count()
    }

    /// Waits until sessions, sockets and operations are all gone.
    pub(crate) fn wait_for_rest(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            // What is left for ever: accepting, the waker and the alarm.
            let state = (self.live(), self.sockets(), self.state.under_way.load(Ordering::Relaxed));
            if state.0 == 0 && state.1 == 0 && state.2 <= 3 {
                return;
            }
            assert!(Instant::now() < until, "left over (sessions, sockets, operations): {state:?}");
            // The numbers are of the last turn.
            drop(TcpStream::connect(self.address));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the worker and returns how long that took.
    pub(crate) fn end(mut self) -> Duration {
        let before = Instant::now();
        self.stop();
        before.elapsed()
    }

    /// Has the worker end, without waiting for that.
    pub(crate) fn shut_down(&self) {
        self.handle.shut_down();
    }

    fn stop(&mut self) {
        self.shut_down();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            panic!("the worker panicked");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

fn turn<E: Engine>(
    mut worker: Worker<E>,
    started: &mpsc::Sender<(WorkerHandle, Arc<WorkerCounters>)>,
    state: &State,
    tell: impl Fn(&E, &State),
) {
    started.send((worker.handle(), worker.counters())).unwrap();
    while worker.turn().unwrap() {
        state.live.store(worker.live(), Ordering::Relaxed);
        state.turns.fetch_add(1, Ordering::Relaxed);
        tell(worker.engine_mut(), state);
        drop(state.gate.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Lets everybody in.
pub(crate) struct Everybody(pub(crate) Vec<SocketAddr>);

impl Authorizer for Everybody {
    fn ask(&self, question: Question, reply: Reply) -> Result<(), Overloaded> {
        reply(match question {
            Question::Authorize { .. } => Input::Authorized(Admitted::boxed(ConnectInfo {
                console_type: ConsoleType::Serial,
                host: "compute.example".to_owned(),
                port: Some(self.0[0].port()),
                tls_port: None,
                internal_access_path: None,
                instance_uuid: String::new(),
                expires: 0,
                access_url_base: None,
            })),
            Question::Resolve { .. } => Input::Resolved(self.0.clone()),
            Question::OpenFile { .. } | Question::ReadFile { .. } => Input::File(FileEvent::Missing),
        });
        Ok(())
    }
}

/// A compute node that runs `serve` for each connection, on threads that nobody waits for.
pub(crate) fn compute(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            thread::Builder::new().stack_size(256 << 10).spawn(move || serve(stream)).unwrap();
        }
    });
    address
}

/// A compute node that sends back what it gets.
pub(crate) fn echo() -> SocketAddr {
    compute(|mut stream| {
        let mut buffer = vec![0; 65_536];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                return;
            }
        }
    })
}

/// One established or closing connection that a process holds a descriptor of.
struct Row {
    local: u16,
    remote: u16,
}

/// Those of `/proc/self/net/tcp`. Sockets without an inode are the kernel's alone (TIME_WAIT and the like).
fn rows() -> Vec<Row> {
    const LISTEN: &str = "0A";
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields[3] != LISTEN && fields[9] != "0")
        .map(|fields| Row { local: port(fields[1]), remote: port(fields[2]) })
        .collect()
}
