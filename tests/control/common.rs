//! What the control tests share: a scratch directory, a running control thread, and how to ask it.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use consolegate::console::ConsoleToken;
use consolegate::control::{
    AdminSettings, Control, ControlSettings, DatabaseSettings, PortCheck, token_tool,
};
use consolegate::secret::Secret;
use consolegate::session::{Authorizer, Input, Limits, Overloaded, Question, TrafficReply, Workers};
use sqlx::{Connection, SqliteConnection};

#[path = "../common/messaging.rs"]
mod messaging;
#[path = "../common/secrets.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
pub(crate) mod secrets;

pub(crate) const INSTANCE: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const TOKEN: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

/// A directory of one test, removed with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("consolegate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        secrets::watch_and_keep();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Control threads are tested without workers.
struct NoWorkers;

impl Workers for NoWorkers {
    fn kill(&self, _: Arc<[u64]>) {}

    fn traffic(&self, _: Arc<[u64]>, _: TrafficReply) -> usize {
        0
    }
}

pub(crate) fn url(database: &Path) -> String {
    format!("sqlite:///{}", database.display())
}

/// `[database] connection = URL`
pub(crate) fn database_at(url: &str) -> DatabaseSettings {
    secrets::issue_passwords(url);
    DatabaseSettings { connection: Some(Secret::new(url)), ..DatabaseSettings::default() }
}

/// Settings for the tests to change. No test waits longer than this unless it says so.
pub(crate) fn settings() -> ControlSettings {
    let limits = Limits {
        authorize_timeout_ms: 30_000,
        connect_timeout_ms: 30_000,
        response_timeout_ms: 30_000,
        ..Limits::default()
    };
    ControlSettings {
        database: DatabaseSettings::default(),
        directory: std::env::current_dir().unwrap(),
        port_check: PortCheck::Off,
        web_root: None,
        certificates: Vec::new(),
        record: None,
        admin: AdminSettings::default(),
        workers: Arc::new(NoWorkers),
        limits,
        prefer_uring: true,
        on_signal: Box::new(|_| {}),
    }
}

pub(crate) fn settings_for(database: &Path) -> ControlSettings {
    ControlSettings { database: database_at(&url(database)), ..settings() }
}

pub(crate) fn start(settings: ControlSettings) -> Control {
    Control::start(settings).unwrap()
}

/// A port check over a message bus where nobody is.
pub(crate) fn dead_bus() -> PortCheck {
    let text = "[DEFAULT]\ntransport_url = rabbit://nova:pa55w0rd@127.0.0.1:1/\nrpc_response_timeout = 3\n";
    secrets::issue_passwords(text);
    messaging::port_check(text)
}

/// Asks; the receiver yields every answer, so a second one would be seen.
pub(crate) fn ask(authorizer: &dyn Authorizer, question: Question) -> Result<Receiver<Input>, Overloaded> {
    let (sender, receiver) = channel();
    // A test may have gone when its last answers come.
    authorizer.ask(question, Box::new(move |input| drop(sender.send(input))))?;
    Ok(receiver)
}

/// Asks, and takes the one answer.
pub(crate) fn answer(control: &Control, question: Question) -> Input {
    let answers = ask(&*control.authorizer(), question).unwrap();
    let answer = answers.recv_timeout(Duration::from_secs(60)).expect("no answer");
    assert!(answers.recv().is_err(), "answered twice");
    answer
}

/// The question that a session asks about its token.
pub(crate) fn token_question(token: &str) -> Question {
    let hash = ConsoleToken::new(token).hash();
    Question::Authorize { hash, session: 1, tenant: Ipv4Addr::LOCALHOST.into() }
}

pub(crate) fn authorize(control: &Control, token: &str) -> Input {
    answer(control, token_question(token))
}

/// Exit status, stdout and stderr of `consolegate token ARGS`.
pub(crate) fn tool(args: &[&str]) -> (u8, String, String) {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = token_tool::run(&args, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Creates [`TOKEN`] for [`INSTANCE`] with these further options, and returns the access URL.
pub(crate) fn create(database: &Path, options: &[&str]) -> String {
    let url = url(database);
    secrets::issue_token(TOKEN);
    let mut args = vec!["create", "--database", &url, "--instance", INSTANCE, "--token", TOKEN];
    args.extend(["--type", "novnc", "--host", "192.0.2.7", "--port", "5901"]);
    args.extend(options);
    let (status, out, err) = tool(&args);
    assert_eq!((status, err.as_str()), (0, ""), "{args:?}");
    out
}

/// Runs `f` on a connection of its own to an SQLite file.
pub(crate) fn with_connection<T>(database: &Path, f: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", database.display())).await.unwrap();
        let result = f(&mut connection).await;
        connection.close().await.unwrap();
        result
    })
}
