//! A private server for tests, run by one of the executables in `tests/services`; see their `service.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// A running service. Dropping it ends the server and removes what it made; so does our own end, however it
/// comes, since the service's standard input is a pipe that ends with us.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    process: Child,
    /// One command at a time, so that each reads its own answer.
    conversation: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    facts: Value,
}

impl Service {
    /// Starts `tests/services/NAME` and waits until its server serves clients.
    pub(crate) fn start(name: &'static str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same, which listens at these addresses too.
    pub(crate) fn start_with(name: &'static str, addresses: &[&str]) -> Self {
        let executable = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(name);
        let mut process = Command::new(&executable)
            .args(addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|reason| panic!("{}: {reason}", executable.display()));
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{name} did not start; see above for what it said; got {line:?}"));
        Self { name, process, conversation: Mutex::new(Some((input, output))), facts }
    }

    /// What the service said of itself when it was ready, by JSON pointer: `/port`.
    pub(crate) fn fact(&self, pointer: &str) -> &Value {
        self.facts
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{} tells no {pointer}: {}", self.name, self.facts))
    }

    /// [`Service::fact`] as text, whatever its type.
    pub(crate) fn text(&self, pointer: &str) -> String {
        match self.fact(pointer) {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }

    /// The URL of the cell database at that address, as nova.conf has it.
    pub(crate) fn cell_url(&self, host: &str) -> String {
        let password: String = self.text("/password").bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (user, port, name) = (self.text("/user"), self.text("/port"), self.text("/database"));
        format!("mysql+pymysql://{user}:{password}@{host}:{port}/{name}?charset=utf8")
    }

    /// A counter of MariaDB's.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let row = self.command(&format!("sql SHOW GLOBAL STATUS LIKE '{name}'"));
        row.as_str().unwrap().split('\t').nth(1).unwrap().parse().unwrap()
    }

    /// Runs a command and returns its answer.
    pub(crate) fn command(&self, command: &str) -> Value {
        let mut conversation = self.conversation.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = conversation.as_mut().unwrap();
        // One line each way.
        writeln!(input, "{}", command.replace('\n', " ")).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{}: {command}: no answer, got {line:?}", self.name));
        assert!(answer.get("error").is_none(), "{}: {command}: {answer}", self.name);
        answer["ok"].take()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The end of its input ends it, and with it the server.
        drop(self.conversation.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.process.wait();
    }
}
