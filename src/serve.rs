//! Puts the layers together: configuration in, a running proxy out.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use consolegate::control::config::{Config, IoEngine, Listen};
use consolegate::control::{Control, ControlSettings};
use consolegate::engine::detect::{EngineKind, Preference, detect};
use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::uring::UringEngine;
use consolegate::engine::{Engine, PipeBudget, Worker, WorkerHandle, WorkerSettings, descriptors, listener};
use consolegate::proto::http::UpgradePolicy;
use consolegate::session::{LOG_TARGET, Limits, Security, Settings, TrafficReply, Workers};
use consolegate::telemetry::log;
use consolegate::telemetry::metrics::metrics;

/// How long the control thread may take to end once the workers have.
const CONTROL_END: Duration = Duration::from_millis(500);

/// Runs until a signal ends it. Status 1 when it could not start or a worker failed.
pub(crate) fn serve(config: &Config) -> ExitCode {
    let guard = match log::init(&config.log) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("{}: {error}", config.program.name());
            return ExitCode::FAILURE;
        }
    };
    let result = run(config);
    if let Err(error) = &result {
        tracing::error!(target: LOG_TARGET, "{error}");
    }
    drop(guard);
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(config: &Config) -> Result<(), String> {
    for warning in &config.warnings {
        tracing::warn!(target: "oslo_config.cfg", "{warning}");
    }
    let engine = choose_engine(config.io_engine)?;
    let workers = config.workers.get();
    let listen = &config.listen;
    let listeners = bind(listen, workers)
        .map_err(|error| format!("Opening socket failed: {}:{}: {error}", listen.host, listen.port))?;
    let mut limits = config.limits;
    let descriptors = descriptors::raise();
    if limits.sessions_max == 0 {
        limits.sessions_max = descriptors::sessions_max(descriptors, limits.pipes_max, workers);
    }
    announce(config, &limits, engine);
    metrics().set_program(config.program.console_type(), engine.name());

    let handles = Handles::default();
    let workers_of: Arc<dyn Workers> = Arc::new(handles.clone());
    let with_control = WithControl { handles: handles.clone(), panicked: Arc::default() };
    let control_panicked = Arc::clone(&with_control.panicked);
    let control = Control::start(ControlSettings {
        connection: config.database.clone(),
        directory: std::env::current_dir().unwrap_or_default(),
        port_check: config.port_check.clone(),
        web_root: config.web.clone(),
        record: config.record.clone(),
        admin: config.admin.clone(),
        workers: workers_of,
        limits,
        prefer_uring: engine == EngineKind::Uring,
        on_stop: Box::new(move || with_control.handles.shut_down()),
    })
    .map_err(|error| format!("the control thread could not be started: {error}"))?;

    let shared = WorkerSettings {
        settings: Arc::new(settings(config, limits)),
        authorizer: control.authorizer(),
        numbers: Arc::new(AtomicU64::new(0)),
    };
    let pipes = PipeBudget::new(&limits);
    let mut threads = Vec::new();
    let (ending, endings) = mpsc::channel();
    for (index, listener) in listeners.into_iter().enumerate() {
        let ending = Ending { index, sender: ending.clone() };
        threads.push(start_worker(ending, engine, listener, shared.clone(), &handles, pipes.clone())?);
    }
    // The workers hold the senders: `endings` is over when they are.
    drop(ending);
    let result = watch(threads, &endings, || handles.shut_down());
    tracing::info!(target: LOG_TARGET, "In exit");
    control.join(CONTROL_END);
    if control_panicked.load(Ordering::Relaxed) {
        return Err("the control thread panicked".to_owned());
    }
    result
}

/// The address to listen on, as Nova picks it: IPv4 before IPv6, unless `source_is_ipv6`; the first only
/// (websockify `WebSockifyServer.socket`).
fn bind(listen: &Listen, workers: usize) -> io::Result<Vec<TcpListener>> {
    let host = if listen.host.is_empty() { "0.0.0.0" } else { &listen.host };
    let mut addresses: Vec<SocketAddr> = (host, listen.port).to_socket_addrs()?.collect();
    addresses.sort_by_key(|address| address.is_ipv6() != listen.prefer_ipv6);
    let address = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    listener::bind_all(*address, workers)
}

/// The engine for all workers. One line says why it is not `io_uring` where nobody asked for another.
fn choose_engine(wanted: IoEngine) -> Result<EngineKind, String> {
    let preference = match wanted {
        IoEngine::Auto => Preference::Auto,
        IoEngine::IoUring => Preference::Uring,
        IoEngine::Epoll => Preference::Epoll,
    };
    let (engine, why_not) =
        detect(preference).map_err(|why| format!("[consolegate] io_engine = io_uring: {why}"))?;
    if let Some(why) = why_not {
        tracing::info!(target: LOG_TARGET, "io_uring cannot be used, epoll is: {why}");
    }
    Ok(engine)
}

/// The lines that Nova's proxies log when they start.
fn announce(config: &Config, limits: &Limits, engine: EngineKind) {
    let Listen { host, port, .. } = &config.listen;
    let info = |line: &str| tracing::info!(target: LOG_TARGET, "{line}");
    info("WebSocket server settings:");
    info(&format!("  - Listen on {host}:{port}"));
    if let Some(web) = &config.web {
        info(&format!("  - Web server (no directory listings). Web root: {}", web.display()));
    }
    info("  - No SSL/TLS support");
    if let Some(record) = &config.record {
        info(&format!("  - Recording to '{}.*'", record.display()));
    }
    let (workers, engine, sessions_max) = (config.workers, engine.name(), limits.sessions_max);
    info(&format!("  - {workers} workers on {engine}, up to {sessions_max} connections each"));
    info(&format!("  - proxying from {host}:{port} to None:None"));
}

fn settings(config: &Config, limits: Limits) -> Settings {
    let console_type = config.program.console_type();
    let defaults = Settings::for_console(console_type);
    Settings {
        any_console_type: config.any_console_type,
        security: match defaults.security {
            Security::Rfb(_) => Security::Rfb(config.auth_schemes.clone()),
            Security::None => Security::None,
        },
        text: config.text_frames,
        web: config.web.is_some(),
        allowed_origins: config.allowed_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        upgrade: UpgradePolicy { strict: config.strict_upgrade },
        explain_refusals: config.explain_refusals,
        record: config.record.clone(),
        enforce_session_timeout: config.enforce_session_timeout,
        ping_strict: config.ping_strict,
        limits,
        console_type,
    }
}

/// Starts a worker on a thread of its own. The engine is made there too: an `io_uring` belongs to the thread
/// that made it.
fn start_worker(
    ending: Ending,
    engine: EngineKind,
    listener: TcpListener,
    shared: WorkerSettings,
    handles: &Handles,
    pipes: PipeBudget,
) -> Result<JoinHandle<io::Result<()>>, String> {
    let (started, start) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", ending.index))
        .spawn(move || {
            // Dropped last, when the worker has let go of everything.
            let _ending = ending;
            let limits = shared.settings.limits;
            match engine {
                EngineKind::Uring => work(UringEngine::new(listener, &limits, pipes)?, shared, &started),
                EngineKind::Epoll => work(EpollEngine::new(listener, &limits, pipes)?, shared, &started),
            }
        })
        .map_err(|error| format!("a worker could not be started: {error}"))?;
    // When the engine failed there is no handle, and joining the thread tells why.
    if let Ok(handle) = start.recv() {
        handles.add(handle);
    }
    Ok(thread)
}

fn work<E: Engine>(
    engine: E,
    shared: WorkerSettings,
    started: &mpsc::SyncSender<WorkerHandle>,
) -> io::Result<()> {
    let mut worker = Worker::new(engine, shared);
    metrics().add_worker(worker.counters());
    // The receiver waits for exactly this.
    let _ = started.send(worker.handle());
    worker.run()
}

/// Says that a worker's thread ends, also when it panics.
struct Ending {
    index: usize,
    sender: mpsc::Sender<usize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Fails only when nobody watches, and then the process ends anyway.
        let _ = self.sender.send(self.index);
    }
}

/// Waits for all workers, in whatever order they end. When one fails, `shut_down` ends the others: what is
/// left would look healthy with a part of its sessions gone, and a supervisor restarts it all.
///
/// # Errors
///
/// What the first worker that failed says.
fn watch(
    threads: Vec<JoinHandle<io::Result<()>>>,
    endings: &mpsc::Receiver<usize>,
    shut_down: impl Fn(),
) -> Result<(), String> {
    let mut threads: Vec<_> = threads.into_iter().map(Some).collect();
    let mut result = Ok(());
    for index in endings {
        let Some(thread) = threads.get_mut(index).and_then(Option::take) else { continue };
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        if let Err(error) = ended
            && result.is_ok()
        {
            result = Err(format!("worker {index} failed: {error}"));
            shut_down();
        }
    }
    result
}

/// The workers that a signal ends.
#[derive(Clone, Default)]
struct Handles(Arc<Mutex<(bool, Vec<WorkerHandle>)>>);

impl Handles {
    /// Adds a worker; one that starts after the signal ends at once.
    fn add(&self, handle: WorkerHandle) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.0 {
            handle.shut_down();
        }
        inner.1.push(handle);
    }

    fn shut_down(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 = true;
        inner.1.iter().for_each(WorkerHandle::shut_down);
    }
}

impl Workers for Handles {
    fn kill(&self, numbers: Arc<[u64]>) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.iter().for_each(|handle| handle.kill(Arc::clone(&numbers)));
    }

    fn traffic(&self, numbers: Arc<[u64]>, reply: TrafficReply) -> usize {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.iter().for_each(|handle| handle.traffic(Arc::clone(&numbers), Arc::clone(&reply)));
        inner.1.len()
    }
}

/// Goes with the control thread: without it no signal is taken and no token looked up, so the workers end too,
/// and the supervisor starts it all anew.
struct WithControl {
    handles: Handles,
    panicked: Arc<AtomicBool>,
}

impl Drop for WithControl {
    fn drop(&mut self) {
        self.panicked.fetch_or(thread::panicking(), Ordering::Relaxed);
        self.handles.shut_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_do_not_outlive_the_control_thread() {
        let handles = Handles::default();
        let with_control = WithControl { handles: handles.clone(), panicked: Arc::default() };
        let panicked = Arc::clone(&with_control.panicked);
        let control = thread::spawn(move || {
            let _on_stop = move || with_control.handles.shut_down();
            panic!("on purpose");
        });
        assert!(control.join().is_err());
        assert!(panicked.load(Ordering::Relaxed));
        assert!(handles.0.lock().unwrap().0, "they are told to end");
    }

    #[test]
    fn a_worker_that_fails_ends_those_started_before_it() {
        let (ending, endings) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let (first, second) =
            (Ending { index: 0, sender: ending.clone() }, Ending { index: 1, sender: ending });
        let threads = vec![
            thread::spawn(move || {
                let _ending = first;
                stopped.recv_timeout(Duration::from_secs(60)).map_err(io::Error::other)
            }),
            thread::spawn(move || {
                let _ending = second;
                panic!("on purpose");
            }),
        ];
        let result = watch(threads, &endings, || stop.send(()).unwrap());
        assert_eq!(result.unwrap_err(), "worker 1 failed: it panicked");
    }
}
