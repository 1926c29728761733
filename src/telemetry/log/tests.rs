//! Events in, lines out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing::{debug, error, info, warn};

use super::file::LogFile;
use super::format::Format;
use super::sink::{Handler, Sink};
use super::writer::QUEUE_MAX;
use super::*;
use crate::telemetry::{Rotation, When};

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
    let mut settings = LogSettings { file, debug, ..LogSettings::default() };
    settings.formats.debug_suffix = String::new();
    settings
}

fn to_file(settings: &LogSettings, body: impl FnOnce(&Logger)) {
    let (logger, layer, warnings) = start(settings).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    tracing::subscriber::with_default(Registry::default().with(layer), || body(&logger));
    logger.flush();
}

/// A log that writes to `stream` alone.
fn to_stream(stream: impl io::Write + Send + 'static) -> (Logger, LogLayer) {
    let settings = settings(None, false);
    let format = Format::context(&settings.formats, Some(settings.formats.date.clone()));
    let handler = Handler::new(format, Sink::Stream(Box::new(stream)));
    start_with(&settings, Setup::new(vec![handler], vec![0], Vec::new()), setup::levels(&settings)).unwrap()
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
fn what_is_logged_for_a_session_has_its_request_id() {
    let directory = Directory::new("span");
    let path = directory.0.join("x.log");
    to_file(&settings(Some(path.clone()), false), |_| {
        let session = tracing::error_span!(target: "nova.console.websocketproxy", "session", request = 7u64);
        session.in_scope(|| {
            warn!("its own");
            tracing::error_span!("within").in_scope(|| warn!("from within"));
            warn!(request = 8u64, "another's");
        });
        warn!("nobody's");
    });
    let text = fs::read_to_string(path).unwrap();
    let ids: Vec<_> = text.lines().map(|line| line.split(['[', ']']).nth(1).unwrap()).collect();
    assert!(
        ids[0].contains("req-") && ids[0] == ids[1] && ids[2].contains("req-") && ids[2] != ids[0],
        "{text}"
    );
    assert_eq!(ids[3], "-", "{text}");
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
    let Err(error) = start(&settings(Some(path.clone()), false)) else { panic!("opened") };
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
    let (logger, layer) = to_stream(Slow { permits: Mutex::new(permits), written });
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
    let (logger, layer) = to_stream(Failing { failures: 1, written });
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

/// What one record becomes under `settings`.
fn text_of(settings: &LogSettings, body: impl FnOnce()) -> String {
    let directory = Directory::new(&format!("text-{:?}", std::thread::current().id()));
    let path = directory.0.join("x.log");
    to_file(&LogSettings { file: Some(path.clone()), ..settings.clone() }, |_| body());
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_line_of_a_message_has_its_prefix_and_a_message_has_an_end() {
    let text = text_of(&settings(None, false), || info!(target: "nova", "one\r\ntwo\n\nfour\n"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(messages(&text), ["one", "two", "", "four"], "{text}");
    assert!(lines.iter().all(|line| line.contains(" INFO nova [-] ")), "{text}");
    let text = text_of(&settings(None, false), || info!("{}", "x\n".repeat(3_000)));
    assert_eq!(text.lines().count(), 101);
    assert!(text.ends_with("... (more lines cut)\n"));
}

#[test]
fn control_characters_are_escaped() {
    let body = || info!("a\u{1b}[31m\tb\u{7f}\u{85}\u{2028}c\rd\\\u{e9}");
    let text = text_of(&settings(None, false), body);
    assert!(text.ends_with("] a\\x1b[31m\\tb\\x7f\\x85\\u{2028}c\\rd\\\u{e9}\n"), "{text}");
}

#[test]
fn fields_with_a_meaning_become_parts_of_the_line() {
    let body = || {
        info!(target: "nova", request = 7_u64, instance_uuid = "uu-id", other = 1, "said");
        info!(target: "nova", client = %"192.0.2.9", "asked");
        error!(target: "nova", exception = %"first\nsecond", "failed");
    };
    let text = text_of(&settings(None, false), body);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(" INFO nova [None req-"), "{text}");
    assert!(lines[0].ends_with(" - - - - - -] [instance: uu-id] said other=1"), "{text}");
    assert!(lines[1].contains(" [-] 192.0.2.9 - - [") && lines[1].ends_with("] asked"), "{text}");
    assert!(lines[2].ends_with(" ERROR nova [-] failed: first"), "{text}");
    assert!(lines[3].ends_with(" ERROR nova first") && lines[4].ends_with(" ERROR nova second"), "{text}");
}

#[test]
fn a_size_or_an_interval_puts_the_file_aside() {
    let directory = Directory::new("rotation");
    let path = directory.0.join("x.log");
    let mut settings = settings(Some(path.clone()), false);
    settings.formats.default = "%(message)s".to_owned();
    settings.rotation = Rotation::Size { bytes_max: 10, count: 2 };
    to_file(&settings, |_| ["aaaa", "bbbb", "cccc", "dddd", "eeee"].iter().for_each(|text| info!("{text}")));
    let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
    assert_eq!(
        (read("").unwrap(), read(".1").unwrap(), read(".2").unwrap()),
        ("eeee\n".into(), "dddd\n".into(), "cccc\n".into())
    );
    assert!(read(".3").is_err());
    fs::remove_file(&path).unwrap();
    let rotation = Rotation::Interval { when: When::Seconds, interval: 10, count: 1 };
    let start = SystemTime::now();
    let mut file = LogFile::open(&path, rotation, &Clock::default()).unwrap();
    for (seconds, line) in [(0, "0\n"), (9, "1\n"), (11, "2\n"), (12, "3\n"), (22, "last\n")] {
        file.write(line, start + Duration::from_secs(seconds)).unwrap();
    }
    let mut old: Vec<_> = fs::read_dir(&directory.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() > "x.log.1".len())
        .collect();
    old.sort();
    assert_eq!(old.len(), 1, "{old:?}");
    assert_eq!(read("").unwrap(), "last\n");
    assert_eq!(fs::read_to_string(directory.0.join(&old[0])).unwrap(), "2\n3\n", "and the first is removed");
}
