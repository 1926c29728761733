//! Puts the layers together: configuration in, a running proxy out.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use consolegate::control::certs::Certificates;
use consolegate::control::config::{Config, IoEngine, Listen};
use consolegate::control::{Control, ControlSettings, HeldSignals, reach};
use consolegate::engine::detect::{EngineKind, Preference, detect};
use consolegate::engine::epoll::EpollEngine;
use consolegate::engine::sys::StandBack;
use consolegate::engine::uring::{self, UringEngine};
use consolegate::engine::{
    Engine, PipeBudget, Seat, Worker, WorkerHandle, WorkerSettings, descriptors, kernel_tls, listener,
};
use consolegate::proto::http::UpgradePolicy;
use consolegate::proto::kernel_tls::KernelCiphers;
use consolegate::sandbox::{self, Mode, Sandbox, SandboxError, WorkerFilter};
use consolegate::session::{
    ComputeTlsSettings, LOG_TARGET, Limits, Security, Settings, TlsSettings, VncSettings, Workers,
};
use consolegate::telemetry::log::{self, Logger};
use consolegate::telemetry::metrics::metrics;

mod check;
mod fork;
mod notify;
mod reload;
mod report;
mod supervise;

pub(crate) use check::check;
use fork::{Background, Forked};
use notify::Notify;
use reload::Reloader;
use supervise::{Ending, Event, Handles, Supervisor, Trigger, WithControl};

/// How long the control thread may take to end once the workers have.
const CONTROL_END: Duration = Duration::from_millis(500);

/// Runs until a signal ends it. Status 1 when it could not start or a worker failed.
pub(crate) fn serve(config: &Config, argv: Vec<OsString>) -> ExitCode {
    let start = Start { argv, directory: std::env::current_dir().unwrap_or_default() };
    let background = if config.process.daemon {
        match fork::detach() {
            Ok(Forked::Parent { listens: true }) => return ExitCode::SUCCESS,
            Ok(Forked::Parent { listens: false }) => return ExitCode::FAILURE,
            Ok(Forked::Daemon(background)) => Some(background),
            Err(error) => return failed(config, &format!("the background cannot be reached: {error}")),
        }
    } else {
        None
    };
    let held = match HeldSignals::hold() {
        Ok(held) => held,
        Err(error) => return failed(config, &format!("signals cannot be held back: {error}")),
    };
    let standing_back = StandBack::begin();
    // Before the log, whose writer is the first thread; what it says waits for the log.
    let sandbox = sandbox::enter(config.sandbox, &reach::paths(config, &start.directory));
    let logger = match log::init(&config.log) {
        Ok(logger) => logger,
        Err(error) => return failed(config, &error.to_string()),
    };
    let result = run(config, start, background, standing_back, held, &logger, sandbox);
    if let Err(error) = &result {
        tracing::error!(target: LOG_TARGET, "{error}");
    }
    drop(logger);
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(config: &Config, error: &str) -> ExitCode {
    eprintln!("{}: {error}", config.program.name());
    ExitCode::FAILURE
}

/// How the process was started; a reload starts there again.
struct Start {
    argv: Vec<OsString>,
    directory: PathBuf,
}

fn run(
    config: &Config,
    start: Start,
    background: Option<Background>,
    standing_back: StandBack,
    held: HeldSignals,
    logger: &Logger,
    sandbox: Result<Sandbox, SandboxError>,
) -> Result<(), String> {
    // Whoever started a daemon looks at the terminal, not at the log.
    let is_daemon = background.is_some();
    let on_terminal = |failure: String| {
        if is_daemon {
            eprintln!("{}: {failure}", config.program.name());
        }
        failure
    };
    let unconfined = |error: SandboxError| on_terminal(format!("[consolegate] sandbox = required: {error}"));
    let mut sandbox = sandbox.map_err(unconfined)?;
    for warning in &config.warnings {
        tracing::warn!(target: "oslo_config.cfg", "{warning}");
    }
    let engine = choose_engine(config.io_engine)?;
    let workers = config.workers.get();
    let listen = &config.listen;
    let listeners = bind(listen, workers).map_err(|error| {
        on_terminal(format!("Opening socket failed: {}:{}: {error}", listen.host, listen.port))
    })?;
    let mut limits = config.limits;
    let descriptors = descriptors::raise();
    if limits.sessions_max == 0 {
        limits.sessions_max = descriptors::sessions_max(descriptors, limits.pipes_max, workers);
    }
    limits.sessions_max =
        limits.sessions_max.min(limits.sessions_within_buffers(u64::try_from(workers).unwrap_or(u64::MAX)));
    let tls = TlsSettings {
        cert: config.certificate.cert.clone(),
        acceptor: Arc::default(),
        only: config.ssl_only,
        kernel: kernel_ciphers(config),
    };
    let mut certificates =
        vec![Certificates::for_browsers(config.certificate.clone(), Arc::clone(&tls.acceptor))];
    let compute_tls = ComputeTlsSettings {
        connector: Arc::default(),
        verify_host: config.compute_trust.as_ref().is_some_and(|trust| trust.verify_host),
        whole: config.whole_compute_tls,
    };
    let vnc = VncSettings {
        password: Arc::default(),
        password_in_clear: config.vnc.password_in_clear,
        rfb_33: config.vnc.rfb_33,
    };
    if let Some(path) = &config.vnc.password_file {
        certificates.push(Certificates::for_vnc(path.clone(), Arc::clone(&vnc.password)));
    }
    if let Some(trust) = &config.compute_trust {
        certificates.push(Certificates::for_computes(trust.clone(), Arc::clone(&compute_tls.connector)));
    }
    announce(config, &limits, engine, &tls);
    metrics().set_program(config.program.console_type(), engine.name());

    let handles = Handles::default();
    let workers_of: Arc<dyn Workers> = Arc::new(handles.clone());
    let (sender, events) = mpsc::channel();
    let with_control = WithControl { handles: handles.clone(), panicked: Arc::default() };
    let control_panicked = Arc::clone(&with_control.panicked);
    let commands = sender.clone();
    let control = Control::start(ControlSettings {
        database: config.database.clone(),
        directory: start.directory.clone(),
        port_check: config.port_check.clone(),
        web_root: config.web.clone(),
        certificates,
        record: config.record.clone(),
        admin: config.admin.clone(),
        workers: workers_of,
        limits,
        prefer_uring: engine == EngineKind::Uring && config.sandbox != Mode::Required,
        on_signal: Box::new(move |command| {
            // It goes with this closure.
            let _with_control = &with_control;
            // Fails only when the main thread ends, and with it the process.
            let _ = commands.send(Event::Asked(command));
        }),
    })
    .map_err(|error| format!("the control thread could not be started: {error}"))?;
    drop(held);
    // Workers do not.
    drop(standing_back);

    let shared = WorkerSettings {
        settings: Arc::new(settings(config, limits, tls, compute_tls, vnc)),
        authorizer: control.authorizer(),
        numbers: Arc::new(AtomicU64::new(0)),
    };
    let pipes = PipeBudget::new(&limits);
    let (mut threads, mut gates) = (Vec::new(), Vec::new());
    for (index, entrance) in listeners.into_iter().zip(Seat::among(workers)).enumerate() {
        let ending = Ending { index, sender: sender.clone() };
        let (gate, opened) = mpsc::sync_channel(1);
        let shared = shared.clone();
        threads.push(start_worker(ending, engine, entrance, shared, &handles, pipes.clone(), opened)?);
        gates.push(gate);
    }
    let filter = sandbox.seal().map_err(unconfined)?;
    for gate in gates {
        // Fails for a worker that has ended already, which is told by its thread.
        let _ = gate.send(filter.clone());
    }
    let rings = (engine == EngineKind::Uring).then_some(uring::OPERATIONS);
    tracing::info!("sandbox: {}", sandbox.describe(rings));
    let pid_file = PidFile::write(config.process.pid_file.as_deref())?;
    let mut supervisor = Supervisor {
        handles,
        logger,
        config,
        reloader: Reloader::new(start.argv, start.directory, config),
        notify: Notify::from_environment(),
        engine: engine.name(),
        sessions_max: limits.sessions_max,
        numbers: shared.numbers,
        drain_until: None,
        trigger: Trigger::new(&config.process),
    };
    supervisor.notify.ready();
    if let Some(background) = background {
        let directory = config.web.as_deref().unwrap_or(Path::new("/"));
        background.ready(directory).map_err(|error| format!("the background cannot be reached: {error}"))?;
    }
    let result = supervisor.watch(threads, &events);
    tracing::info!(target: LOG_TARGET, "In exit");
    control.join(CONTROL_END);
    tracing::debug!(target: LOG_TARGET, "Closing socket listening at {}:{}", listen.host, listen.port);
    drop(pid_file);
    if control_panicked.load(Ordering::Relaxed) {
        return Err("the control thread panicked".to_owned());
    }
    result
}

/// `[consolegate] pid_file`, removed at the end.
struct PidFile<'a>(Option<&'a Path>);

impl<'a> PidFile<'a> {
    fn write(path: Option<&'a Path>) -> Result<Self, String> {
        if let Some(path) = path {
            fs::write(path, format!("{}\n", std::process::id()))
                .map_err(|error| format!("the file {} could not be written: {error}", path.display()))?;
        }
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let Some(path) = self.0 else { return };
        // Another process may have taken the name meanwhile.
        if fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string()) {
            let _ = fs::remove_file(path);
        }
    }
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

/// The engine for all workers. One line says what speaks against `io_uring` where nobody asked for another.
fn choose_engine(wanted: IoEngine) -> Result<EngineKind, String> {
    let preference = match wanted {
        IoEngine::Auto => Preference::Auto,
        IoEngine::IoUring => Preference::Uring,
        IoEngine::Epoll => Preference::Epoll,
    };
    let (engine, why_not) =
        detect(preference).map_err(|why| format!("[consolegate] io_engine = io_uring: {why}"))?;
    match (engine, why_not) {
        (_, None) => {}
        (EngineKind::Epoll, Some(why)) => {
            tracing::info!(target: LOG_TARGET, "io_uring is not used, epoll is: {why}");
        }
        (EngineKind::Uring, Some(why)) => {
            tracing::warn!(target: LOG_TARGET, "[consolegate] io_engine = io_uring is kept to, though {why}");
        }
    }
    Ok(engine)
}

/// The ciphers that the kernel does TLS with. One line says which, or why there are none.
fn kernel_ciphers(config: &Config) -> KernelCiphers {
    if !config.kernel_tls {
        return KernelCiphers::default();
    }
    match kernel_tls::probe() {
        Ok(ciphers) if !ciphers.is_empty() => {
            tracing::info!(target: LOG_TARGET, "kernel TLS is used for consoles: {ciphers}");
            ciphers
        }
        Ok(ciphers) => {
            tracing::info!(target: LOG_TARGET, "kernel TLS is not used: the kernel has no cipher for it");
            ciphers
        }
        Err(error) => {
            let hint = if kernel_tls::is_missing(&error) { "; its module tls is not loaded" } else { "" };
            tracing::info!(target: LOG_TARGET, "kernel TLS is not used: {error}{hint}");
            KernelCiphers::default()
        }
    }
}

/// The lines that Nova's proxies log when they start.
fn announce(config: &Config, limits: &Limits, engine: EngineKind, tls: &TlsSettings) {
    let Listen { host, port, .. } = &config.listen;
    let info = |line: &str| tracing::info!(target: LOG_TARGET, "{line}");
    info("WebSocket server settings:");
    info(&format!("  - Listen on {host}:{port}"));
    if let Some(web) = &config.web {
        info(&format!("  - Web server (no directory listings). Web root: {}", web.display()));
    }
    if tls.acceptor.is_ready() {
        info("  - SSL/TLS support");
        if tls.only {
            info("  - Deny non-SSL/TLS connections");
        }
    } else {
        info("  - No SSL/TLS support (no cert file)");
    }
    if config.process.daemon {
        info("  - Backgrounding (daemon)");
    }
    if let Some(record) = &config.record {
        info(&format!("  - Recording to '{}.*'", record.display()));
    }
    let (workers, engine, sessions_max) = (config.workers, engine.name(), limits.sessions_max);
    info(&format!("  - {workers} workers on {engine}, up to {sessions_max} connections each"));
    info(&format!("  - proxying from {host}:{port} to None:None"));
}

fn settings(
    config: &Config,
    limits: Limits,
    tls: TlsSettings,
    compute_tls: ComputeTlsSettings,
    vnc: VncSettings,
) -> Settings {
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
        proxy_protocol: config.proxy_protocol,
        tls,
        compute_tls,
        vnc,
        upgrade: UpgradePolicy { strict: config.strict_upgrade },
        explain_refusals: config.explain_refusals,
        record: config.record.clone(),
        enforce_session_timeout: config.enforce_session_timeout,
        ping_strict: config.ping_strict,
        limits,
        console_type,
    }
}

/// Where a worker waits until all threads are there and have the filters of the process: none can be put on all of them
/// once one has a filter of its own, which it finds here.
type Gate = mpsc::Receiver<Option<WorkerFilter>>;

/// Starts a worker on a thread of its own. The engine is made there too: an `io_uring` belongs to the thread
/// that made it.
fn start_worker(
    ending: Ending,
    engine: EngineKind,
    (listener, seat): (TcpListener, Seat),
    shared: WorkerSettings,
    handles: &Handles,
    pipes: PipeBudget,
    gate: Gate,
) -> Result<JoinHandle<io::Result<()>>, String> {
    let (started, start) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", ending.index))
        .spawn(move || {
            // Dropped last, when the worker has let go of everything.
            let _ending = ending;
            let limits = shared.settings.limits;
            match engine {
                EngineKind::Uring => {
                    work(UringEngine::new(listener, seat, &limits, pipes)?, shared, &started, &gate)
                }
                EngineKind::Epoll => {
                    work(EpollEngine::new(listener, seat, &limits, pipes)?, shared, &started, &gate)
                }
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
    gate: &Gate,
) -> io::Result<()> {
    let mut worker = Worker::new(engine, shared);
    metrics().add_worker(worker.counters());
    // The receiver waits for exactly this.
    let _ = started.send(worker.handle());
    // Without an answer the start of the program has failed.
    let Ok(filter) = gate.recv() else { return Ok(()) };
    if let Some(filter) = filter {
        filter.apply()?;
    }
    worker.run()
}
