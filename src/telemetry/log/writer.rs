//! The thread that writes, and the bounded queue before it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::format::{Format, PlainFormat, Process};
use super::rate::{Limiter, Verdict};
use super::record::{Place, Record, Severity};
use super::setup::Setup;
use super::sink::Handler;
use crate::telemetry::RateLimit;
use crate::telemetry::metrics::metrics;

/// Records that wait for the writer: some seconds of a busy proxy at DEBUG.
pub(super) const QUEUE_MAX: usize = 16_384;
/// Bytes of text that wait with them.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Pause between attempts to hand the writer a request while its queue is full.
const RETRY: Duration = Duration::from_millis(5);
/// How long the writer rests behind what it wrote, so that a burst of lines costs the threads that log few
/// wake-ups. A single line waits for nothing.
const PAUSE: Duration = Duration::from_millis(2);
/// Lines from WARNING on that are kept for the state report.
const RECENT_MAX: usize = 20;
const RECENT_FORMAT: &str = "%(asctime)s %(levelname)s %(name)s %(message)s";

#[derive(Debug)]
enum Request {
    Write(Box<Record>),
    Reopen,
    /// Replaces loggers and handlers
    SetUp(Box<Setup>),
    /// Answered once everything before it is written
    Flush(SyncSender<()>),
}

/// The last lines from WARNING on.
pub(super) type Recent = Arc<Mutex<VecDeque<String>>>;

/// The senders' end.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: SyncSender<Request>,
    /// Records that were lost since the last report
    lost: Arc<AtomicU64>,
    /// Bytes of text in the queue
    bytes: Arc<AtomicUsize>,
    recent: Recent,
}

/// Starts the writer. It ends with the last [`Queue`].
pub(super) fn start(setup: Setup, rate_limit: Option<RateLimit>, process: Process) -> io::Result<Queue> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let (lost, bytes, recent) =
        (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default(), Recent::default());
    let mut writer = Writer {
        setup,
        process,
        limiter: rate_limit.map(|limit| Limiter::new(limit, Instant::now())),
        lost: Arc::clone(&lost),
        counted: 0,
        bytes: Arc::clone(&bytes),
        recent: Arc::clone(&recent),
        recent_format: Format::Plain(PlainFormat::new(Some(RECENT_FORMAT), None)),
    };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        writer.run(&receiver);
    })?;
    Ok(Queue { sender, lost, bytes, recent })
}

impl Queue {
    /// Hands over a record, or counts it as lost. Never blocks.
    pub(super) fn send(&self, record: Record) {
        let len = record.len();
        let before = self.bytes.fetch_add(len, Ordering::Relaxed);
        let fits = before.saturating_add(len) <= QUEUE_BYTES_MAX;
        if !fits || self.sender.try_send(Request::Write(Box::new(record))).is_err() {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reopen(&self) {
        // A full queue is being written, and each write looks whether the file was moved.
        let _ = self.sender.try_send(Request::Reopen);
    }

    /// Replaces loggers and handlers, behind everything sent so far. Waits for a place in the queue.
    pub(super) fn set_up(&self, setup: Setup) {
        // Fails only when the writer is gone, and then nothing is written at all.
        let _ = self.sender.send(Request::SetUp(Box::new(setup)));
    }

    /// Waits until everything sent so far is written, for `longest` at most. For the end of the process.
    pub(super) fn flush(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        let (done, written) = sync_channel(1);
        let mut request = Request::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.sender.try_send(request) {
            if Instant::now() >= deadline {
                return;
            }
            request = refused;
            thread::sleep(RETRY);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// The last lines from WARNING on, oldest first.
    pub(super) fn recent(&self) -> Vec<String> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

struct Writer {
    setup: Setup,
    process: Process,
    limiter: Option<Limiter>,
    lost: Arc<AtomicU64>,
    /// How many of those the metric has already: their report was lost as well
    counted: u64,
    bytes: Arc<AtomicUsize>,
    recent: Recent,
    recent_format: Format,
}

impl Writer {
    fn run(&mut self, receiver: &Receiver<Request>) {
        while let Ok(first) = receiver.recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                self.take(request);
                next = receiver.try_recv().ok();
            }
            self.flush();
            thread::sleep(PAUSE);
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Write(record) => {
                self.bytes.fetch_sub(record.len(), Ordering::Relaxed);
                self.judge(*record);
            }
            Request::Reopen => {
                self.flush();
                self.setup.handlers.iter_mut().for_each(Handler::reopen);
            }
            Request::SetUp(setup) => {
                self.flush();
                self.setup = *setup;
            }
            Request::Flush(done) => {
                self.flush();
                let _ = done.try_send(());
            }
        }
    }

    fn judge(&mut self, record: Record) {
        match self.limiter.as_mut().map_or(Verdict::Pass, |limiter| limiter.judge(&record, Instant::now())) {
            Verdict::Pass => self.write(&record),
            Verdict::Say(instead) => self.write(&instead),
            Verdict::Drop => {}
        }
    }

    fn write(&mut self, record: &Record) {
        if record.severity >= Severity::Warning {
            self.remember(record);
        }
        for index in self.setup.route(record.target) {
            self.setup.handlers[index].take(record, &self.process);
        }
    }

    fn remember(&self, record: &Record) {
        let mut line = String::new();
        self.recent_format.append(record, &self.process, &mut line);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(line);
    }

    /// Says what was lost, and writes what waits.
    fn flush(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            metrics().log_lines_lost.add(lost.saturating_sub(std::mem::take(&mut self.counted)));
            let message = format!("{lost} log records were lost because the log could not be written");
            let target = "consolegate::telemetry";
            self.write(&Record::new(Severity::Warning, target, message, Place::default()));
        }
        // With several handlers, what one of them took is not lost.
        let failed = self.setup.handlers.iter_mut().map(Handler::flush).min().unwrap_or(0);
        if failed > 0 {
            // The report of the earlier loss was among them.
            self.lost.fetch_add(lost + failed - u64::from(lost > 0), Ordering::Relaxed);
            self.counted = lost;
        }
    }
}
