//! The README's commands, taken out of README.md and run as they stand there.
//!
//! Needs what `scripts/install` installs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A build from nothing, in case nobody built before.
const BUILD_MAX: Duration = Duration::from_secs(1800);

/// The lines of the fenced blocks of shell commands, block by block.
fn blocks() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let fenced = readme.split("```sh\n").skip(1);
    fenced.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The only block that holds `command`.
fn block_with(command: &str) -> String {
    let mut found: Vec<String> = blocks().into_iter().filter(|block| block.contains(command)).collect();
    assert_eq!(found.len(), 1, "one block of README.md has {command}");
    found.remove(0)
}

/// A shell at the repository's root that runs `commands`, in a process group of its own as at a terminal.
struct Shell {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Shell {
    fn run(commands: &str) -> Self {
        let mut child = Command::new("bash")
            .args(["-e", "-c", commands])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
        Self { child, lines }
    }

    /// The first line that satisfies `wanted`.
    fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + BUILD_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the commands ended, or took too long");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Ctrl-C: the terminal sends SIGINT to the whole group. Returns the status.
    fn interrupt(&mut self) -> Option<i32> {
        let group = Pid::from_raw(self.child.id().cast_signed());
        killpg(group, Signal::SIGINT).unwrap();
        let status = self.child.wait().unwrap().code();
        assert!(killpg(group, None).is_err(), "a process of the group lives on");
        status
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// The status line and the body that `url` (http only) answers with.
fn get(url: &str) -> (String, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_start_takes_at_most_five_lines() {
    let start = [block_with("scripts/demo"), block_with("nova-novncproxy --config-file")];
    assert!(start.iter().map(|block| block.lines().count()).sum::<usize>() <= 5);
    assert_eq!(blocks()[0], "scripts/demo\n", "the demo is the first command");
    assert_eq!(blocks()[1], "scripts/test\n", "the tests are the second");
}

#[test]
fn the_demo_prints_a_url_that_works_and_ctrl_c_ends_everything() {
    let mut shell = Shell::run(&block_with("scripts/demo"));
    let line = shell.line(|line| line.starts_with("Open "));
    let (status, body) = get(line.trim_start_matches("Open").trim());
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("noVNC"), "{body}");
    assert_eq!(shell.interrupt(), Some(0));
}

#[test]
fn the_proxy_starts_from_a_nova_conf() {
    let conf = std::env::temp_dir().join(format!("consolegate-readme-{}.conf", std::process::id()));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "[DEFAULT]\nweb = /usr/share/novnc\n[vnc]\nnovncproxy_host = 127.0.0.1\nnovncproxy_port = {port}\n\
         [database]\nconnection = sqlite:////nonexistent/cell.sqlite\n[consolegate]\nport_check = off\n"
    );
    fs::write(&conf, text).unwrap();
    let commands = block_with("nova-novncproxy --config-file");
    assert!(commands.contains("/etc/nova/nova.conf"));
    let mut shell = Shell::run(&commands.replace("/etc/nova/nova.conf", conf.to_str().unwrap()));
    let deadline = Instant::now() + BUILD_MAX;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(matches!(shell.child.try_wait(), Ok(None)), "the commands ended");
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        thread::sleep(Duration::from_millis(100));
    }
    let (status, _) = get(&format!("http://127.0.0.1:{port}/vnc_lite.html"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(shell.interrupt(), Some(0));
    fs::remove_file(conf).unwrap();
}
