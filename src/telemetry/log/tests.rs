//! Events in, lines out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing::{debug, error, info, warn};

use super::writer::QUEUE_MAX;
use super::*;

/// A directory that goes with its value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("consolegate-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(file: Option<PathBuf>, debug: bool) -> LogSettings {
    LogSettings { file, stderr: false, debug, date_format: "%Y-%m-%d %H:%M:%S".to_owned() }
}

fn to_file(settings: &LogSettings, body: impl FnOnce(&Logger)) {
    let (logger, layer) = start(settings, Sink::open_all(settings).unwrap()).unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), || body(&logger));
    logger.flush();
}

/// What follows the prefix.
fn messages(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once(" [-] ").unwrap().1).collect()
}

#[test]
fn levels_and_targets_are_filtered() {
    let directory = Directory::new("levels");
    let path = directory.0.join("x.log");
    to_file(&settings(Some(path.clone()), false), |logger| {
        info!(target: "nova.console.websocketproxy", port = 5900, host = "node", "connecting");
        debug!("hidden");
        info!(target: "sqlx::query", "hidden");
        warn!(target: "sqlx::query", "slow");
        logger.set_debug(true);
        debug!("shown");
        debug!(target: "sqlx::query", "hidden");
        logger.set_debug(false);
        debug!("hidden again");
        error!("last");
    });
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(messages(&text), ["connecting port=5900 host=node", "slow", "shown", "last"], "{text}");
    assert!(
        text.contains(" INFO nova.console.websocketproxy [-] ") && text.contains(" WARNING sqlx.query [-] ")
    );
    assert!(
        text.contains(" DEBUG consolegate.telemetry.log.tests [-] ") && text.contains(" ERROR "),
        "{text}"
    );
}

#[test]
fn a_file_is_appended_to_and_opened_anew_when_moved() {
    let directory = Directory::new("moved");
    let (path, moved) = (directory.0.join("x.log"), directory.0.join("x.log.1"));
    fs::write(&path, "2026-01-01 00:00:00.000 1 INFO n [-] before\n").unwrap();
    to_file(&settings(Some(path.clone()), false), |logger| {
        info!("one");
        logger.flush();
        fs::rename(&path, &moved).unwrap();
        info!("two");
        logger.flush();
        // copytruncate
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        info!("three");
        logger.reopen();
        info!("four");
    });
    assert_eq!(messages(&fs::read_to_string(moved).unwrap()), ["before", "one"]);
    assert_eq!(messages(&fs::read_to_string(path).unwrap()), ["three", "four"]);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let directory = Directory::new("absent");
    let path = directory.0.join("no/such/x.log");
    let Err(error) = Sink::open_all(&settings(Some(path.clone()), false)) else { panic!("opened") };
    assert!(error.to_string().starts_with(&format!("the log file {} could not be opened: ", path.display())));
    assert!(!path.parent().unwrap().exists(), "a parent directory was created");
}

#[test]
fn long_messages_are_cut() {
    let directory = Directory::new("long");
    let path = directory.0.join("x.log");
    to_file(&settings(Some(path.clone()), false), |_| info!("{}", "é".repeat(MESSAGE_BYTES_MAX)));
    let text = fs::read_to_string(path).unwrap();
    assert!(text.len() < MESSAGE_BYTES_MAX + 200);
    assert!(text.ends_with("é... (8192 bytes cut)\n"), "{}", &text[text.len() - 50..]);
}

/// A sink that waits for permission before each write.
struct Slow {
    permits: Mutex<Receiver<()>>,
    written: SyncSender<String>,
}

impl io::Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.permits.lock().unwrap().recv();
        self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_queue_loses_records_and_says_how_many() {
    let (permit, permits) = sync_channel(1);
    let (written, writes) = sync_channel(10_000);
    let sink = Sink::Stream(Box::new(Slow { permits: Mutex::new(permits), written }));
    let (logger, layer) = start(&settings(None, false), vec![sink]).unwrap();
    let sent = QUEUE_MAX * 3;
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        // None of these waits, though nothing is being written.
        (0..sent).for_each(|number| info!("number {number}"));
    });
    drop(permit);
    logger.flush();
    let text: String = writes.try_iter().collect();
    let messages = messages(&text);
    let lost: usize = messages
        .iter()
        .filter_map(|message| {
            message.strip_suffix(" log records were lost because the log could not be written")
        })
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    let kept = messages.iter().filter(|message| message.starts_with("number ")).count();
    assert!(lost > 0, "nothing was lost");
    assert_eq!(kept + lost, sent);
}

/// A sink that fails at first.
struct Failing {
    failures: usize,
    written: SyncSender<String>,
}

impl io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::Error::other("no space left"));
        }
        self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_full_disk_refused_is_counted() {
    let (written, writes) = sync_channel(100);
    let sink = Sink::Stream(Box::new(Failing { failures: 1, written }));
    let (logger, layer) = start(&settings(None, false), vec![sink]).unwrap();
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        info!("refused");
        logger.flush();
        info!("taken");
        logger.flush();
    });
    let text: String = writes.try_iter().collect();
    let mut messages = messages(&text);
    // The report may come with the next record or before it.
    messages.sort_unstable();
    assert_eq!(messages, ["1 log records were lost because the log could not be written", "taken"], "{text}");
}
