//! Writes recordings (`record`), on a thread of its own: a disk may block for as long as it likes.
//!
//! Sessions hand over copies of their messages through a bounded queue, which never waits: what does not
//! fit into the bounds is left out, counted, and said in the log and in the recording itself. One thread
//! serves all recordings, in the order in which things happened, and flushes when it has caught up, so that a
//! recording can be watched while it grows.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::session::{LOG_TARGET, Limits, RecordEvent, RecordStream, Side};
use crate::telemetry::labels::RecorderError;
use crate::telemetry::metrics::metrics;

mod tape;

use tape::Tape;

/// What a message costs beside its bytes while it waits.
const MESSAGE_OVERHEAD_BYTES: u64 = 128;

/// The senders' end.
pub(super) struct Recorder {
    jobs: Sender<Job>,
    /// Bytes that wait, of all recordings
    queued: Arc<AtomicU64>,
    session_bytes_max: u64,
    bytes_max: u64,
    /// Told when the thread has ended
    finished: Receiver<()>,
}

enum Job {
    Event {
        stream: Arc<RecordStream>,
        event: RecordEvent,
        at: Instant,
    },
    /// Messages are missing here, among them the one of this side that has begun.
    Gap {
        stream: Arc<RecordStream>,
        from: Side,
    },
    /// The process ends: complete what is open.
    Finish,
}

/// The part of [`Recorder`] that workers call.
#[derive(Clone)]
pub(super) struct RecorderQueue {
    jobs: Sender<Job>,
    queued: Arc<AtomicU64>,
    session_bytes_max: u64,
    bytes_max: u64,
}

impl Recorder {
    /// Starts the thread. A recording is `path` with a dot and the session's number behind it.
    pub(super) fn start(path: PathBuf, limits: &Limits) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let (finished_sender, finished) = sync_channel(1);
        let queued = Arc::new(AtomicU64::new(0));
        let mut writer = Writer::new(path, Arc::clone(&queued));
        thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            writer.run(&receiver);
            // Nobody may be waiting for it.
            let _ = finished_sender.try_send(());
        })?;
        let (session_bytes_max, bytes_max) = (limits.record_session_bytes, limits.record_queue_bytes);
        Ok(Self { jobs, queued, session_bytes_max, bytes_max, finished })
    }

    /// What workers hand their copies to.
    pub(super) fn queue(&self) -> RecorderQueue {
        RecorderQueue {
            jobs: self.jobs.clone(),
            queued: Arc::clone(&self.queued),
            session_bytes_max: self.session_bytes_max,
            bytes_max: self.bytes_max,
        }
    }

    /// Completes all recordings, which may take `limit` at most: a disk can hang. Says whether they are.
    pub(super) fn finish(self, limit: Duration) -> bool {
        // Fails when the thread is gone, and then there is nothing to wait for.
        let _ = self.jobs.send(Job::Finish);
        self.finished.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
    }
}

impl RecorderQueue {
    /// Takes an event that happened at `at`, and returns at once.
    pub(super) fn take(&self, stream: Arc<RecordStream>, event: RecordEvent, at: Instant) {
        if let RecordEvent::Message { from, bytes, more } = &event {
            let (from, more, len) = (*from, *more, cost(bytes.len()));
            if stream.skips(from, more) {
                return;
            }
            let waiting = stream.queued.fetch_add(len, Ordering::Relaxed).saturating_add(len);
            let of_all = self.queued.fetch_add(len, Ordering::Relaxed).saturating_add(len);
            if waiting > self.session_bytes_max || of_all > self.bytes_max {
                stream.queued.fetch_sub(len, Ordering::Relaxed);
                self.queued.fetch_sub(len, Ordering::Relaxed);
                if stream.lost(from, more) {
                    let _ = self.jobs.send(Job::Gap { stream, from });
                }
                return;
            }
            stream.took(from, more);
        }
        // Fails only when the process ends.
        let _ = self.jobs.send(Job::Event { stream, event, at });
    }
}

fn cost(len: usize) -> u64 {
    MESSAGE_OVERHEAD_BYTES.saturating_add(len as u64)
}

/// The thread.
struct Writer {
    path: PathBuf,
    /// By their sessions' numbers
    recordings: HashMap<u64, Recording>,
    queued: Arc<AtomicU64>,
}

/// What is open of one session.
#[derive(Default)]
struct Recording {
    /// None once it failed
    tape: Option<Tape>,
    /// The first pieces of a message of the tenant's. They count as waiting.
    begun: Vec<u8>,
    begun_cost: u64,
}

impl Writer {
    fn new(path: PathBuf, queued: Arc<AtomicU64>) -> Self {
        Self { path, recordings: HashMap::new(), queued }
    }

    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.flush();
                    let Ok(job) = jobs.recv() else { break };
                    job
                }
            };
            match job {
                Job::Event { stream, event, at } => self.event(&stream, event, at),
                Job::Gap { stream, from } => {
                    if from == Side::Tenant {
                        self.give_up(&stream);
                    }
                    self.note_loss(&stream);
                }
                Job::Finish => break,
            }
        }
        // Whoever is left was cut off with the process: complete all the same.
        for (number, recording) in std::mem::take(&mut self.recordings) {
            if let Some(tape) = recording.tape {
                finish(tape, number);
            }
        }
    }

    fn event(&mut self, stream: &RecordStream, event: RecordEvent, at: Instant) {
        match event {
            RecordEvent::Open => self.open(stream),
            RecordEvent::Message { from, bytes, more } => {
                let Some(recording) = self.recordings.get_mut(&stream.number) else {
                    return self.release(stream, cost(bytes.len()));
                };
                if more {
                    recording.begun_cost += cost(bytes.len());
                    recording.begun.extend_from_slice(&bytes);
                    return;
                }
                let since = at.saturating_duration_since(stream.since);
                if from == Side::Tenant && recording.begun_cost > 0 {
                    let mut whole = std::mem::take(&mut recording.begun);
                    whole.extend_from_slice(&bytes);
                    self.write(stream.number, |tape| tape.message(from, since, &whole));
                    self.give_up(stream);
                } else {
                    self.write(stream.number, |tape| tape.message(from, since, &bytes));
                }
                self.release(stream, cost(bytes.len()));
            }
            RecordEvent::End => {
                self.give_up(stream);
                self.note_loss(stream);
                if let Some(Recording { tape: Some(tape), .. }) = self.recordings.remove(&stream.number) {
                    finish(tape, stream.number);
                }
            }
        }
    }

    /// Forgets the pieces of a message that will not be whole, or has been written.
    fn give_up(&mut self, stream: &RecordStream) {
        if let Some(recording) = self.recordings.get_mut(&stream.number) {
            let cost = std::mem::take(&mut recording.begun_cost);
            recording.begun = Vec::new();
            self.release(stream, cost);
        }
    }

    fn release(&self, stream: &RecordStream, cost: u64) {
        stream.queued.fetch_sub(cost, Ordering::Relaxed);
        self.queued.fetch_sub(cost, Ordering::Relaxed);
    }

    fn open(&mut self, stream: &RecordStream) {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", stream.number));
        let tape = match Tape::create(PathBuf::from(name)) {
            Ok(tape) => Some(tape),
            Err((path, reason)) => {
                metrics().recorder_errors.of(RecorderError::Open).add(1);
                let path = path.display();
                error!(target: LOG_TARGET, "{:3}: the recording {path} cannot be made: {reason}", stream.number);
                None
            }
        };
        self.recordings.insert(stream.number, Recording { tape, ..Recording::default() });
    }

    /// Says in the recording and in the log that messages are missing here.
    fn note_loss(&mut self, stream: &RecordStream) {
        let lost = stream.take_lost();
        if lost == 0 {
            return;
        }
        metrics().recorder_errors.of(RecorderError::Overrun).add(lost);
        let number = stream.number;
        if self.recordings.get(&number).is_some_and(|recording| recording.tape.is_some()) {
            warn!(
                target: LOG_TARGET,
                "{number:3}: the recording lacks {lost} messages, which did not fit its queue \
                 (record_session_bytes, record_queue_bytes)"
            );
            self.write(number, |tape| tape.gap(lost));
        }
    }

    fn write(&mut self, number: u64, write: impl FnOnce(&mut Tape) -> io::Result<()>) {
        if let Some(recording) = self.recordings.get_mut(&number) {
            recording.write(number, write);
        }
    }

    fn flush(&mut self) {
        for (number, recording) in &mut self.recordings {
            recording.write(*number, Tape::flush);
        }
    }
}

impl Recording {
    fn write(&mut self, number: u64, write: impl FnOnce(&mut Tape) -> io::Result<()>) {
        if let Some(tape) = &mut self.tape
            && let Err(reason) = write(tape)
        {
            failed(tape, number, &reason);
            self.tape = None;
        }
    }
}

fn finish(mut tape: Tape, number: u64) {
    if let Err(reason) = tape.finish() {
        failed(&tape, number, &reason);
    }
}

fn failed(tape: &Tape, number: u64, reason: &io::Error) {
    metrics().recorder_errors.of(RecorderError::Write).add(1);
    let path = tape.path().display();
    error!(target: LOG_TARGET, "{number:3}: the recording {path} cannot be written, its rest is missing: {reason}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("consolegate-recorder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn stream(number: u64, since: Instant) -> Arc<RecordStream> {
        Arc::new(RecordStream::new(number, since))
    }

    fn message(from: Side, bytes: &[u8]) -> RecordEvent {
        RecordEvent::Message { from, bytes: bytes.to_vec(), more: false }
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn sessions_are_recorded_apart_and_completed_when_the_process_ends() {
        let directory = directory("apart");
        let recorder = Recorder::start(directory.join("rec"), &Limits::default()).unwrap();
        let queue = recorder.queue();
        let now = Instant::now();
        let (first, second) = (stream(1, now), stream(2, now));
        for stream in [&first, &second] {
            queue.take(Arc::clone(stream), RecordEvent::Open, now);
        }
        let at = now + Duration::from_millis(254);
        queue.take(Arc::clone(&first), message(Side::Tenant, b"it's"), at);
        queue.take(Arc::clone(&second), message(Side::Compute, b"\0\xff"), at);
        queue.take(Arc::clone(&first), RecordEvent::End, at);
        assert!(recorder.finish(LIMIT));
        let (first, second) = (directory.join("rec.1"), directory.join("rec.2"));
        assert_eq!(lines(&first), ["var VNC_frame_data = [", r"'}254}it\'s',", "'EOF'];"]);
        assert_eq!(lines(&second), ["var VNC_frame_data = [", r"'{254{\x00\xff',", "'EOF'];"]);
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_old_recording_is_overwritten_and_loses_its_open_mode() {
        let directory = directory("old");
        let path = directory.join("rec.7");
        fs::write(&path, "old and much longer than what comes now, by far and certainly so".repeat(9))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let recorder = Recorder::start(directory.join("rec"), &Limits::default()).unwrap();
        recorder.queue().take(stream(7, Instant::now()), RecordEvent::Open, Instant::now());
        assert!(recorder.finish(LIMIT));
        assert_eq!(lines(&path), ["var VNC_frame_data = [", "'EOF'];"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_a_recording_is_not_followed() {
        let directory = directory("link");
        let victim = directory.join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, directory.join("rec.1")).unwrap();
        let recorder = Recorder::start(directory.join("rec"), &Limits::default()).unwrap();
        recorder.queue().take(stream(1, Instant::now()), RecordEvent::Open, Instant::now());
        assert!(recorder.finish(LIMIT));
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_does_not_fit_the_queue_is_left_out_and_said_so() {
        let directory = directory("overrun");
        // The thread is not there yet: everything waits.
        let (jobs, receiver) = channel();
        let queued = Arc::new(AtomicU64::new(0));
        let queue =
            RecorderQueue { jobs, queued: Arc::clone(&queued), session_bytes_max: 400, bytes_max: 1_000 };
        let now = Instant::now();
        let one = stream(1, now);
        queue.take(Arc::clone(&one), RecordEvent::Open, now);
        for bytes in [b"first".as_slice(), b"second", b"third", b"fourth", b"fifth"] {
            queue.take(Arc::clone(&one), message(Side::Compute, bytes), now);
        }
        queue.take(Arc::clone(&one), RecordEvent::End, now);
        drop(queue);
        let mut writer = Writer::new(directory.join("rec"), queued);
        writer.run(&receiver);
        let expected = [
            "var VNC_frame_data = [",
            "'{0{first',",
            "'{0{second',",
            "'{0{third',",
            "// 2 messages are missing here",
            "'EOF'];",
        ];
        assert_eq!(lines(&directory.join("rec.1")), expected);
        assert_eq!(writer.queued.load(Ordering::Relaxed), 0);
        assert_eq!(one.queued.load(Ordering::Relaxed), 0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_message_of_many_pieces_is_one_line_and_its_pieces_count_while_it_lasts() {
        let directory = directory("pieces");
        let (jobs, receiver) = channel();
        let queued = Arc::new(AtomicU64::new(0));
        let queue =
            RecorderQueue { jobs, queued: Arc::clone(&queued), session_bytes_max: 1_000, bytes_max: 1_000 };
        let now = Instant::now();
        let one = stream(1, now);
        let piece = |from, bytes: &[u8], more| {
            let event = RecordEvent::Message { from, bytes: bytes.to_vec(), more };
            queue.take(Arc::clone(&one), event, now);
        };
        queue.take(Arc::clone(&one), RecordEvent::Open, now);
        piece(Side::Tenant, b"in ", true);
        piece(Side::Compute, b"between", false);
        piece(Side::Tenant, b"pieces", false);
        // The second piece of this one is too much, so the third, which is not, is left out too.
        piece(Side::Tenant, b"lost", true);
        piece(Side::Tenant, &[b'x'; 900], true);
        piece(Side::Tenant, b"lost", false);
        piece(Side::Tenant, b"short", false);
        queue.take(Arc::clone(&one), RecordEvent::End, now);
        drop(queue);
        let mut writer = Writer::new(directory.join("rec"), queued);
        writer.run(&receiver);
        assert_eq!(
            lines(&directory.join("rec.1")),
            [
                "var VNC_frame_data = [",
                "'{0{between',",
                "'}0}in pieces',",
                "// 1 messages are missing here",
                "'}0}short',",
                "'EOF'];",
            ]
        );
        assert_eq!((writer.queued.load(Ordering::Relaxed), one.queued.load(Ordering::Relaxed)), (0, 0));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_ends_the_recording_only() {
        let recorder =
            Recorder::start(PathBuf::from("/dev/no-such-directory/rec"), &Limits::default()).unwrap();
        let (queue, now) = (recorder.queue(), Instant::now());
        let one = stream(1, now);
        queue.take(Arc::clone(&one), RecordEvent::Open, now);
        queue.take(Arc::clone(&one), message(Side::Compute, b"lost"), now);
        queue.take(Arc::clone(&one), RecordEvent::End, now);
        assert!(recorder.finish(LIMIT));
        let mut tape = Tape::on(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let written = tape.message(Side::Compute, Duration::ZERO, &[0; 100_000]).and_then(|()| tape.flush());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
