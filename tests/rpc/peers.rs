//! Both ends of the bus: brokers, computes, our client, and what was logged.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use consolegate::console::ConsoleType;
use consolegate::control::PortCheck;
use consolegate::control::rpc::{CallError, Compute, PortQuestion, RpcSettings};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::messaging::port_check;
use crate::service::Service;

/// The broker of all tests that leave it alone.
pub(crate) fn broker() -> &'static Service {
    static BROKER: OnceLock<Service> = OnceLock::new();
    BROKER.get_or_init(|| Service::start("rabbitmq"))
}

/// A uuid that no other test has.
pub(crate) fn uuid() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("8f1d2c3b-0000-4000-8000-{number:012x}")
}

/// A Python with Nova.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("CONSOLEGATE_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python"),
        PathBuf::from,
    )
}

/// A compute service in Python, and a conversation with it.
pub(crate) struct Peer {
    pub(crate) host: String,
    process: Child,
    conversation: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Peer {
    /// A nova-compute made of oslo.messaging's server and Nova's objects, on `broker`.
    pub(crate) fn nova(broker: &Service, host: &str, options: &[&str]) -> Self {
        Self::start("compute.py", host, options, &broker.text("/url"))
    }

    /// The one that the tests on [`broker`] share.
    pub(crate) fn shared() -> &'static Self {
        static PEER: OnceLock<Peer> = OnceLock::new();
        PEER.get_or_init(|| Self::nova(broker(), "host1", &[]))
    }

    /// A peer that answers with any bytes, on [`broker`].
    pub(crate) fn raw(host: &str, options: &[&str]) -> Self {
        let fact = |name: &str| broker().fact(&format!("/{name}")).clone();
        let place = json!({
            "host": fact("host"), "port": fact("port"), "user": fact("user"),
            "password": fact("password"), "vhost": fact("vhost"),
        });
        Self::start("raw_compute.py", host, options, &place.to_string())
    }

    fn start(script: &str, host: &str, options: &[&str], first_line: &str) -> Self {
        let python = python();
        let mut process = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(script))
            .arg(host)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|reason| panic!("{}: {reason}; scripts/install makes it", python.display()));
        let mut input = process.stdin.take().unwrap();
        writeln!(input, "{first_line}").unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        assert_eq!(ready.trim(), "ready", "{script} did not start: see above for what Python said");
        Self { host: host.to_owned(), process, conversation: Mutex::new((Some(input), output)) }
    }

    pub(crate) fn ask(&self, command: &Value) -> Value {
        let mut conversation = self.conversation.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(conversation.0.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        conversation.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {command}: got {line:?}"))
    }

    /// How to answer for an instance: [`tests/services/compute.py`] lists what there is.
    pub(crate) fn answers(&self, uuid: &str, how: &Value) {
        let mut command = vec![json!("answer"), json!(uuid)];
        command.extend(how.as_array().unwrap().iter().cloned());
        self.ask(&Value::Array(command));
    }

    /// What the raw peer publishes for an instance.
    pub(crate) fn publishes(&self, uuid: &str, messages: &Value) {
        self.ask(&json!(["answer", uuid, messages]));
    }

    pub(crate) fn calls(&self, uuid: &str) -> Vec<Value> {
        self.ask(&json!(["calls", uuid])).as_array().unwrap().clone()
    }

    pub(crate) fn seen(&self, uuid: &str) -> Vec<Value> {
        self.ask(&json!(["seen", uuid])).as_array().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.conversation.lock().unwrap_or_else(PoisonError::into_inner).0.take());
        let _ = self.process.wait();
    }
}

/// The settings that a configuration file gives.
pub(crate) fn settings(url: &str, default: &str, rabbit: &str, own: &str) -> RpcSettings {
    let text = format!(
        "[DEFAULT]\ntransport_url = {url}\n{default}\n[oslo_messaging_rabbit]\n{rabbit}\n[consolegate]\n{own}\n"
    );
    match port_check(&text) {
        PortCheck::Rpc(settings) => *settings,
        PortCheck::Off => panic!("the port is not checked"),
    }
}

/// The defaults, on `broker`.
pub(crate) fn defaults(broker: &Service) -> RpcSettings {
    settings(&broker.text("/url"), "", "", "")
}

/// A VNC question about an instance.
pub(crate) fn question<'a>(host: &'a str, uuid: &'a str) -> PortQuestion<'a> {
    PortQuestion { instance_id: 7, instance_uuid: uuid, host, port: 5900, console_type: ConsoleType::NoVnc }
}

/// Runs `f` with a client of its own, and closes that.
pub(crate) fn with_client<T>(settings: RpcSettings, f: impl AsyncFnOnce(&Compute) -> T) -> T {
    run(async {
        let client = Compute::new(settings);
        let result = f(&client).await;
        client.close().await;
        result
    })
}

pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// Asks once, for at most `seconds`.
pub(crate) async fn ask(client: &Compute, host: &str, uuid: &str, seconds: u64) -> Result<bool, CallError> {
    client.validate_console_port(&question(host, uuid), within(seconds)).await
}

pub(crate) fn within(seconds: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(seconds)
}

/// Asks a client of its own.
pub(crate) fn ask_once(
    settings: RpcSettings,
    host: &str,
    uuid: &str,
    seconds: u64,
) -> Result<bool, CallError> {
    with_client(settings, async |client| ask(client, host, uuid, seconds).await)
}

/// Waits, generously, until `f` is true.
pub(crate) fn wait_until(what: &str, mut f: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !f() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    /// Runs `f` and returns its result, with what was logged meanwhile at INFO and above by ourselves.
    pub(crate) fn of<T>(f: impl FnOnce() -> T) -> (T, String) {
        let log = Self::default();
        let result = tracing::subscriber::with_default(log.clone(), f);
        let text = log.0.lock().unwrap().clone();
        (result, text)
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = ["oslo", "consolegate"].iter().any(|ours| metadata.target().starts_with(ours));
        ours && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line<'a>(&'a mut String);
        impl Visit for Line<'_> {
            fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{value:?} ").unwrap();
            }
        }
        let mut text = self.0.lock().unwrap();
        write!(text, "{} ", event.metadata().level()).unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
