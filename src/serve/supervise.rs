//! The main thread's work while the others do theirs: it waits for their ends and for signals.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use consolegate::control::Command;
use consolegate::control::config::{Config, ProcessSettings};
use consolegate::engine::{Census, WorkerHandle};
use consolegate::session::{TrafficReply, Workers};
use consolegate::telemetry::log::Logger;
use consolegate::telemetry::metrics::metrics;
use tracing::{info, warn};

use super::notify::Notify;
use super::reload::{Reloader, read_log_config};
use super::report::{self, Facts};

/// How often the logging configuration file is looked at.
const LOG_CONFIG_INTERVAL: Duration = Duration::from_secs(1);
/// How long a worker may take to say what it is doing.
const CENSUS_MAX: Duration = Duration::from_secs(1);

/// Something that the main thread is told.
pub(super) enum Event {
    /// A worker's thread ends
    Ended(usize),
    /// A signal
    Asked(Command),
}

/// Says that a worker's thread ends, also when it panics.
pub(super) struct Ending {
    pub(super) index: usize,
    pub(super) sender: mpsc::Sender<Event>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Fails only when nobody watches, and then the process ends anyway.
        let _ = self.sender.send(Event::Ended(self.index));
    }
}

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Serving,
    Draining,
    Ending,
}

/// The workers.
#[derive(Clone, Default)]
pub(super) struct Handles(Arc<Mutex<(Stage, Vec<WorkerHandle>)>>);

impl Handles {
    /// Adds a worker; one that starts after the signal ends at once.
    pub(super) fn add(&self, handle: WorkerHandle) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.0 > Stage::Serving {
            handle.shut_down();
        }
        inner.1.push(handle);
    }

    pub(super) fn shut_down(&self) {
        self.advance(Stage::Ending, WorkerHandle::shut_down);
    }

    /// Ends listening; sessions go on.
    fn drain(&self) {
        self.advance(Stage::Draining, WorkerHandle::drain);
    }

    fn advance(&self, stage: Stage, each: impl Fn(&WorkerHandle)) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stage > inner.0 {
            metrics().draining.set(1);
            inner.0 = stage;
            inner.1.iter().for_each(each);
        }
    }

    fn stage(&self) -> Stage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// What each worker is doing; none of one that does not answer in time.
    fn census(&self) -> Vec<Option<Census>> {
        let handles = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let replies: Vec<_> = handles
            .iter()
            .map(|handle| {
                let (sender, receiver) = mpsc::channel();
                handle.count(sender);
                receiver
            })
            .collect();
        let until = Instant::now() + CENSUS_MAX;
        let answer = |receiver: mpsc::Receiver<Census>| {
            receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
        };
        replies.into_iter().map(answer).collect()
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
pub(super) struct WithControl {
    pub(super) handles: Handles,
    pub(super) panicked: Arc<AtomicBool>,
}

impl Drop for WithControl {
    fn drop(&mut self) {
        self.panicked.fetch_or(thread::panicking(), Ordering::Relaxed);
        self.handles.shut_down();
    }
}

/// What the main thread needs for its answers to signals.
pub(super) struct Supervisor<'a> {
    pub(super) handles: Handles,
    pub(super) logger: &'a Logger,
    pub(super) config: &'a Config,
    pub(super) reloader: Reloader,
    pub(super) notify: Notify,
    pub(super) engine: &'static str,
    pub(super) sessions_max: u64,
    pub(super) numbers: Arc<AtomicU64>,
    /// When sessions that are draining are ended
    pub(super) drain_until: Option<Instant>,
    pub(super) trigger: Trigger,
}

impl Supervisor<'_> {
    /// Waits for all workers, in whatever order they end, and does what signals ask for. When a worker fails, the
    /// others end: what is left would look healthy with a part of its sessions gone, and a supervisor restarts it
    /// all.
    ///
    /// # Errors
    ///
    /// What the first worker that failed says.
    pub(super) fn watch(
        &mut self,
        threads: Vec<JoinHandle<io::Result<()>>>,
        events: &mpsc::Receiver<Event>,
    ) -> Result<(), String> {
        let mut watched = Watched::new(threads);
        let mut next_tick = self.next_tick();
        while watched.left > 0 {
            let event = match next_tick {
                None => events.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Ended(index)) => watched.ended(index, || self.handles.shut_down()),
                Ok(Event::Asked(command)) => {
                    self.obey(command);
                    next_tick = self.next_tick();
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.tick();
                    next_tick = self.next_tick();
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        watched.result
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Stop => self.stop(),
            Command::Drain => self.drain(None),
            Command::Reopen => self.logger.reopen(),
            Command::Report => self.report(),
            Command::Reload => {
                self.notify.reloading();
                self.reloader.reload(self.logger);
                self.notify.ready();
            }
        }
    }

    /// A first signal begins `drain_timeout`, a second one ends the sessions now.
    fn stop(&mut self) {
        let grace = self.config.process.drain_timeout;
        if grace.is_zero() || self.handles.stage() != Stage::Serving {
            self.drain_until = None;
            self.notify.stopping("ending sessions");
            self.handles.shut_down();
        } else {
            self.drain(Some(Instant::now() + grace));
        }
    }

    fn drain(&mut self, until: Option<Instant>) {
        if self.handles.stage() != Stage::Serving {
            return;
        }
        self.drain_until = until;
        match until {
            Some(_) => {
                info!("Draining: sessions end within {} s", self.config.process.drain_timeout.as_secs())
            }
            None => info!("Draining: sessions are waited for"),
        }
        self.notify.stopping("draining");
        if let Some(until) = until {
            self.notify.extend(until);
        }
        self.handles.drain();
    }

    /// When [`Supervisor::tick`] has something to do.
    fn next_tick(&self) -> Option<Instant> {
        let now = Instant::now();
        let after = |interval: Option<Duration>| interval.map(|interval| now + interval);
        let trigger = self.trigger.path().map(|_| self.config.process.report_interval);
        let log_config = self.logger.config().map(|_| LOG_CONFIG_INTERVAL);
        [self.drain_until, after(trigger), after(log_config), after(self.notify.watchdog)]
            .into_iter()
            .flatten()
            .min()
    }

    fn tick(&mut self) {
        if self.drain_until.is_some_and(|until| until <= Instant::now()) {
            info!("Draining is over: ending sessions");
            self.drain_until = None;
            self.handles.shut_down();
        }
        if self.trigger.was_touched() {
            self.report();
        }
        read_log_config(self.logger);
        if self.notify.watchdog.is_some() {
            let census = self.handles.census();
            if census.iter().all(Option::is_some) {
                let connections: usize = census.iter().flatten().flatten().sum();
                self.notify.status(&format!("{connections} connections"));
                self.notify.alive();
            } else {
                warn!("a worker does not answer");
            }
        }
    }

    fn report(&self) {
        let facts = Facts {
            values: &self.config.values,
            engine: self.engine,
            sessions_max: self.sessions_max,
            accepted: self.numbers.load(Ordering::Relaxed),
            workers: self.handles.census(),
            recent: self.logger.recent(),
        };
        report::write(&facts, self.config.process.report_directory.as_deref());
    }
}

/// A file whose change asks for a report (`[oslo_reports] file_event_handler`).
pub(super) struct Trigger {
    path: Option<std::path::PathBuf>,
    seen: Option<SystemTime>,
}

impl Trigger {
    pub(super) fn new(settings: &ProcessSettings) -> Self {
        let path = settings.report_trigger.clone();
        Self { seen: path.as_deref().and_then(changed), path }
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn was_touched(&mut self) -> bool {
        let now = self.path().and_then(changed);
        let touched = now.is_some() && now != self.seen;
        self.seen = now;
        touched
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The workers' threads, and how they ended.
struct Watched {
    threads: Vec<Option<JoinHandle<io::Result<()>>>>,
    left: usize,
    result: Result<(), String>,
}

impl Watched {
    fn new(threads: Vec<JoinHandle<io::Result<()>>>) -> Self {
        let left = threads.len();
        Self { threads: threads.into_iter().map(Some).collect(), left, result: Ok(()) }
    }

    fn ended(&mut self, index: usize, shut_down: impl Fn()) {
        let Some(thread) = self.threads.get_mut(index).and_then(Option::take) else { return };
        self.left -= 1;
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        if let Err(error) = ended
            && self.result.is_ok()
        {
            self.result = Err(format!("worker {index} failed: {error}"));
            shut_down();
        }
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
            let _on_signal = move || with_control.handles.shut_down();
            panic!("on purpose");
        });
        assert!(control.join().is_err());
        assert!(panicked.load(Ordering::Relaxed));
        assert_eq!(handles.stage(), Stage::Ending, "they are told to end");
    }

    #[test]
    fn a_worker_that_fails_ends_those_started_before_it() {
        let (sender, events) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let (first, second) = (Ending { index: 0, sender: sender.clone() }, Ending { index: 1, sender });
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
        let mut watched = Watched::new(threads);
        while watched.left > 0 {
            let Ok(Event::Ended(index)) = events.recv() else { panic!("no end") };
            watched.ended(index, || stop.send(()).unwrap());
        }
        assert_eq!(watched.result.unwrap_err(), "worker 1 failed: it panicked");
    }
}
