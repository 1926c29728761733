//! The thread that writes, and the bounded queue before it.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use super::line::LineFormat;
use super::sink::Sink;

/// Records that wait for the writer. With the longest messages they take 16 MiB.
pub(super) const QUEUE_MAX: usize = 2_048;
/// Bytes gathered for one write.
const BATCH_BYTES: usize = 65_536;
/// Pause between attempts to hand the writer a request while its queue is full.
const RETRY: Duration = Duration::from_millis(5);

/// One event.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
}

#[derive(Debug)]
enum Request {
    Write(Record),
    Reopen,
    /// Answered once everything before it is written
    Flush(SyncSender<()>),
}

/// The senders' end.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: SyncSender<Request>,
    /// Records that were lost since the last report
    lost: Arc<AtomicU64>,
}

/// Starts the writer. It ends with the last [`Queue`].
pub(super) fn start(format: LineFormat, sinks: Vec<Sink>) -> io::Result<Queue> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let mut writer = Writer { format, sinks, lost: Arc::clone(&lost), batch: String::new(), records: 0 };
    thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&receiver))?;
    Ok(Queue { sender, lost })
}

impl Queue {
    /// Hands over a record, or counts it as lost. Never blocks.
    pub(super) fn send(&self, record: Record) {
        if self.sender.try_send(Request::Write(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reopen(&self) {
        // A full queue is being written, and each write looks whether the file was moved.
        let _ = self.sender.try_send(Request::Reopen);
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
}

struct Writer {
    format: LineFormat,
    sinks: Vec<Sink>,
    lost: Arc<AtomicU64>,
    /// Lines not yet written, and how many records they came from
    batch: String,
    records: u64,
}

impl Writer {
    fn run(&mut self, receiver: &Receiver<Request>) {
        while let Ok(first) = receiver.recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                self.take(request);
                next = if self.batch.len() < BATCH_BYTES { receiver.try_recv().ok() } else { None };
            }
            self.write();
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Write(record) => {
                self.format.append(&record, &mut self.batch);
                self.records += 1;
            }
            Request::Reopen => {
                self.write();
                self.sinks.iter_mut().for_each(Sink::reopen);
            }
            Request::Flush(done) => {
                self.write();
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} log records were lost because the log could not be written");
            let record = Record {
                at: SystemTime::now(),
                level: Level::WARN,
                target: "consolegate::telemetry",
                message,
            };
            self.format.append(&record, &mut self.batch);
        }
        let records = mem::take(&mut self.records);
        if self.batch.is_empty() {
            return;
        }
        // With several sinks, what one of them took is not lost.
        let mut written = false;
        for sink in &mut self.sinks {
            written |= sink.write(&self.batch).is_ok();
        }
        if !written {
            self.lost.fetch_add(lost + records, Ordering::Relaxed);
        }
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES);
    }
}
