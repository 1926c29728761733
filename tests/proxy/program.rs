//! Starts the program privately: own directory, free port, ended by its pid.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "../common/secrets.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
pub(crate) mod secrets;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_consolegate");

/// What `[consolegate] sandbox` is for every program that a test starts; its default without the variable.
const SANDBOX: &str = "CONSOLEGATE_TEST_SANDBOX";

/// Every program logs all it can, so that a secret in any line is found; see [`quiet`].
const DEBUG: &str = "OS_DEFAULT__DEBUG";

pub(crate) const INSTANCE: &str = "11111111-2222-3333-4444-555555555555";

/// A running proxy and its cell database.
pub(crate) struct Program {
    pub(crate) directory: PathBuf,
    pub(crate) address: SocketAddr,
    /// The cell database that tokens are made in
    pub(crate) database_url: String,
    child: Child,
}

/// What a test wants of its proxy.
pub(crate) struct Options<'a> {
    pub(crate) engine: &'a str,
    pub(crate) name: &'a str,
    pub(crate) default: &'a str,
    pub(crate) own: &'a str,
    pub(crate) extra: &'a str,
}

impl<'a> Options<'a> {
    pub(crate) fn on(engine: &'a str) -> Self {
        Self { engine, name: "nova-novncproxy", default: "web =", own: "port_check = off", extra: "" }
    }
}

/// A directory of the test's own.
pub(crate) fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}-{number}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

/// A port that nothing listens on.
///
/// It is below those that the kernel gives to connections: one of theirs would be taken by another test's connection now
/// and then before somebody listens on it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin elsewhere.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % PORTS).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The program under one of Nova's names.
pub(crate) fn command(directory: &Path, name: &str) -> Command {
    let link = directory.join(name);
    let _ = fs::remove_file(&link);
    symlink(EXECUTABLE, &link).unwrap();
    let mut command = Command::new(link);
    command.current_dir(directory).env_clear();
    if let Some(sandbox) = std::env::var_os(SANDBOX) {
        command.env("OS_CONSOLEGATE__SANDBOX", sandbox);
    }
    command
}

/// Leaves `debug` to the configuration file: for tests of what is logged without it.
pub(crate) fn quiet(command: &mut Command) {
    command.env_remove(DEBUG);
}

/// A test that waits for its turn on a busy machine is no client that has nothing to say.
const PATIENT: &str = "first_byte_timeout_ms = 60000";

/// Removes the directory of a program that has ended, once nothing in it shows a secret.
pub(crate) fn discard(directory: &Path) {
    secrets::assert_directory_silent(directory);
    fs::remove_dir_all(directory).unwrap();
}

impl Program {
    pub(crate) fn start(options: &Options<'_>) -> Self {
        Self::start_with(options, |_| ())
    }

    /// Starts it after `prepare` has had a hand in how.
    pub(crate) fn start_with(options: &Options<'_>, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_at(options, free_port(), prepare)
    }

    /// The same, on that port.
    pub(crate) fn start_at(options: &Options<'_>, port: u16, prepare: impl FnOnce(&mut Command)) -> Self {
        let directory = directory();
        let database = directory.join("cell.sqlite");
        let config = format!(
            "[DEFAULT]\n{}\n[vnc]\nnovncproxy_host = 127.0.0.1\nnovncproxy_port = {port}\n\
             [spice]\nhtml5proxy_host = 127.0.0.1\nhtml5proxy_port = {port}\n\
             [serial_console]\nserialproxy_host = 127.0.0.1\nserialproxy_port = {port}\n\
             [database]\nconnection = sqlite:///{}\n[consolegate]\nio_engine = {}\nadmin_socket =\n{PATIENT}\n{}\n{}\n",
            options.default,
            database.display(),
            options.engine,
            options.own,
            options.extra,
        );
        fs::write(directory.join("nova.conf"), config).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = command(&directory, options.name);
        command.args(["--config-file", "nova.conf"]).env(DEBUG, "true");
        prepare(&mut command);
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let database_url = format!("sqlite:///{}", database.display());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut program = Self { directory, address, database_url, child };
        program.wait_for_listener();
        program
    }

    fn wait_for_listener(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the program ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < until, "nothing listens:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The threads whose names start with `prefix`.
    pub(crate) fn threads(&self, prefix: &str) -> Vec<u32> {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| fs::read_to_string(entry.path().join("comm")).unwrap().starts_with(prefix))
            .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
            .collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        // The writer of the log rests a little behind each burst of lines.
        thread::sleep(Duration::from_millis(20));
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.log().contains(text) {
            assert!(Instant::now() < until, "the log lacks {text:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs the token tool and returns its output, trimmed.
    pub(crate) fn token_tool(&self, arguments: &[&str]) -> String {
        let output = Command::new(EXECUTABLE)
            .arg("token")
            .arg(arguments[0])
            .arg("--database")
            .arg(&self.database_url)
            .args(&arguments[1..])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        if arguments[0] == "create" {
            secrets::issue_token(token_of(&text));
        }
        text
    }

    /// Makes a token of `console_type` for a compute node on loopback.
    pub(crate) fn token(&self, console_type: &str, port: u16, ttl: u32) -> String {
        self.token_with(console_type, port, ttl, &[])
    }

    /// The same with further arguments of the token tool.
    pub(crate) fn token_with(&self, console_type: &str, port: u16, ttl: u32, more: &[&str]) -> String {
        self.token_at(console_type, &port.to_string(), ttl, more)
    }

    /// The same for a `port` that may be none.
    pub(crate) fn token_at(&self, console_type: &str, port: &str, ttl: u32, more: &[&str]) -> String {
        let ttl = ttl.to_string();
        let base_url = format!("http://{}/vnc_lite.html", self.address);
        let usual = [
            "create",
            "--type",
            console_type,
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--instance",
            INSTANCE,
            "--ttl",
            &ttl,
            "--base-url",
            &base_url,
            "--init",
        ];
        let url = self.token_tool(&[&usual[..], more].concat());
        token_of(&url).to_owned()
    }

    /// The largest resident memory the program has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    /// Sockets the program holds, listeners aside.
    pub(crate) fn sockets(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// The same, once the program has made what it makes at its start: it can be connected to before that.
    pub(crate) fn sockets_at_rest(&self) -> usize {
        let (mut sockets, mut same) = (self.sockets(), 0);
        while same < 10 {
            thread::sleep(Duration::from_millis(30));
            let now = self.sockets();
            same = if now == sockets { same + 1 } else { 0 };
            sockets = now;
        }
        sockets
    }

    /// Sends a signal and returns the exit status.
    pub(crate) fn end(&mut self, signal: Signal) -> i32 {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
        self.status()
    }

    /// The exit status of a program that ends.
    pub(crate) fn status(&mut self) -> i32 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the program does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The token of an access URL: both `?token=UUID` and `?path=%3Ftoken%3DUUID` end with it.
fn token_of(url: &str) -> &str {
    &url[url.len() - 36..]
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the program\n{}", self.log());
            return;
        }
        let conf = fs::read_to_string(self.directory.join("nova.conf")).unwrap_or_default();
        secrets::issue_passwords(&conf);
        discard(&self.directory);
    }
}

/// Runs the program to its end and returns status, standard output and standard error.
pub(crate) fn run(directory: &Path, name: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut child = command(directory, name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("the program still runs");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    if arguments.first() == Some(&"token") && status == 0 && arguments.get(1) == Some(&"create") {
        secrets::issue_token(token_of(stdout.trim()));
    } else {
        secrets::assert_silent(name, stdout.as_bytes());
    }
    secrets::assert_silent(name, stderr.as_bytes());
    (status, stdout, stderr)
}
