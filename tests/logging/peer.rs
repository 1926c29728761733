//! Records written by us and by the real oslo.log (`oslo_log_peer.py`).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use consolegate::telemetry::LogSettings;
use consolegate::telemetry::log;
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

pub(crate) const INSTANCE: &str = "11111111-2222-4333-8444-555555555555";

/// A directory of one test, removed with everything in it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("logging-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The real oslo.log.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logging/oslo_log_peer.py"));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; scripts/install makes a Python"));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Writes the usual records under these options or this configuration file; the error's text, if there is one.
    pub(crate) fn write(&mut self, options: &Value, config: Option<&Path>) -> Option<String> {
        let answer = self.ask(&json!({
            "program": "nova-novncproxy", "options": options, "config": config, "records": records(),
        }));
        answer["error"].as_str().map(str::to_owned)
    }

    fn ask(&mut self, case: &Value) -> Value {
        writeln!(self.input, "{case}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What the C library sends to syslog when oslo.log writes the usual records as `program`. None, saying why, where
    /// the peer cannot have a /dev of its own.
    pub(crate) fn syslog(program: &Path, options: &Value) -> Option<Vec<String>> {
        let own_dev = "mount -t tmpfs none /dev && exec \"$@\"";
        let tried = Command::new("unshare").args(["-m", "sh", "-c", own_dev, "sh", "true"]).output().unwrap();
        if !tried.status.success() {
            println!("SKIPPED: unshare: {}", String::from_utf8_lossy(&tried.stderr));
            return None;
        }
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logging/oslo_log_peer.py"), program)
            .unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", own_dev, "sh"]).arg(python()).arg(program);
        // The records at INFO and above, less the library's line that its level hides.
        let records: Vec<Value> =
            records().as_array().unwrap().iter().filter(|record| is_logged(record)).cloned().collect();
        let case = json!({"program": "x", "options": options, "records": records, "syslog": true});
        let answer = Self::spawn(command).ask(&case);
        assert_eq!(answer["error"], Value::Null);
        Some(
            answer["datagrams"]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect(),
        )
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python");
    std::env::var_os("CONSOLEGATE_TEST_PYTHON").map_or_else(ours, PathBuf::from)
}

/// Whether a record passes INFO for all and WARNING for the library.
fn is_logged(record: &Value) -> bool {
    let is_library = record["name"].as_str().unwrap().starts_with("sqlalchemy");
    record["level"] != "DEBUG" && !(is_library && record["level"] == "INFO")
}

/// What both log: the same as [`say_records`].
fn records() -> Value {
    let record = |name: &str, level: &str, message: &str, request: bool, instance: Option<&str>| json!({"name": name, "level": level, "message": message, "request": request, "instance_uuid": instance});
    json!([
        record("nova.console.websocketproxy", "INFO", "WebSocket server settings:", false, None),
        record("nova.console.websocketproxy", "INFO", "  7: connecting to: 192.0.2.5:5900", true, None),
        record("nova.console.websocketproxy", "WARNING", "100% of it", true, Some(INSTANCE)),
        record("nova.compute.rpcapi", "ERROR", "no context, caf\u{e9}", false, Some(INSTANCE)),
        record("nova.console.rfb", "DEBUG", "at debug", true, None),
        record("sqlalchemy.engine", "INFO", "a library", false, None),
        record("sqlalchemy.engine", "WARNING", "a library warns", false, None),
        record("nova.console.websocketproxy", "INFO", "the last", false, None),
    ])
}

fn say_records() {
    use tracing::{debug, error, info, warn};
    const PROXY: &str = "nova.console.websocketproxy";
    info!(target: PROXY, "WebSocket server settings:");
    info!(target: PROXY, request = 7_u64, "  7: connecting to: 192.0.2.5:5900");
    warn!(target: PROXY, request = 7_u64, instance_uuid = INSTANCE, "100% of it");
    error!(target: "nova.compute.rpcapi", instance_uuid = INSTANCE, "no context, caf\u{e9}");
    debug!(target: "nova.console.rfb", request = 7_u64, "at debug");
    info!(target: "sqlalchemy.engine", "a library");
    warn!(target: "sqlalchemy.engine", "a library warns");
    info!(target: PROXY, "the last");
}

/// Logs the usual records with us. The error's text, if there is one.
pub(crate) fn write(settings: &LogSettings) -> Option<String> {
    let (logger, layer, _warnings) = match log::start(settings) {
        Ok(started) => started,
        Err(error) => return Some(error.to_string()),
    };
    tracing::subscriber::with_default(Registry::default().with(layer), say_records);
    logger.flush();
    None
}

/// The text without what differs from run to run: numbers, request ids, and where in a source a line was made.
pub(crate) fn neutral(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| {
            let mut out = String::new();
            let words = line.split_inclusive([' ', '|', '[', ']', '"']);
            for word in words {
                let uuid = word.strip_prefix("req-").filter(|rest| rest.len() >= 36);
                match uuid {
                    Some(rest) => out.push_str(&format!("req-UUID{}", &rest[36..])),
                    None => out.push_str(word),
                }
            }
            let mut neutral = String::new();
            for character in out.chars() {
                match character {
                    '0'..='9' if neutral.ends_with('N') => {}
                    '0'..='9' => neutral.push('N'),
                    other => neutral.push(other),
                }
            }
            neutral
        })
        .collect()
}
