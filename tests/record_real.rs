//! Recordings beside those of websockify itself: one conversation through either, and the files compared.
//!
//! Needs the Python package websockify (`CONSOLEGATE_TEST_PYTHON`, else `target/test-python/bin/python`), which
//! `scripts/install` installs. Fails without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "proxy/compute.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod compute;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, masked};
use program::{Options, Program};

const PATIENCE: Duration = Duration::from_secs(60);

/// One step of the conversation: what one side sends, and what arrives at the other by it.
enum Step {
    Client { wire: Vec<u8>, arrives: usize },
    Compute(Vec<u8>),
}

fn conversation() -> Vec<Step> {
    let all: Vec<u8> = (0..=255).collect();
    let reversed: Vec<u8> = (0..=255).rev().collect();
    let client = |frames: &[Vec<u8>], arrives| Step::Client { wire: frames.concat(), arrives };
    vec![
        client(&[masked(0x82, &all)], 256),
        Step::Compute(reversed),
        client(&[masked(0x82, b"a'b\\c"), masked(0x82, b""), masked(0x82, b"tail")], 9),
        client(&[masked(0x02, b"he"), masked(0x89, b"ping"), masked(0x00, b"ll"), masked(0x80, b"o")], 5),
        Step::Compute(b"'quoted' \\ \t\r\n\x1b[0m \xff".to_vec()),
        client(&[masked(0x82, &[0xc3; 100_000])], 100_000),
        Step::Compute(vec![b'x'; 1_000]),
    ]
}

/// A compute node that plays its part, and says when it has got what was sent to it.
fn play_compute() -> (u16, mpsc::Receiver<()>, mpsc::Sender<()>, JoinHandle<()>) {
    let (got, received) = mpsc::channel();
    let (go, turn) = mpsc::channel();
    let (port, thread) = compute::serve(move |mut stream| {
        for step in conversation() {
            match step {
                Step::Client { arrives, .. } => {
                    compute::read(&mut stream, arrives);
                    got.send(()).unwrap();
                }
                Step::Compute(bytes) => {
                    turn.recv().unwrap();
                    stream.write_all(&bytes).unwrap();
                }
            }
        }
        compute::read_all(&mut stream);
    });
    (port, received, go, thread)
}

fn play_client(mut client: Client, received: &mpsc::Receiver<()>, go: &mpsc::Sender<()>) {
    // Of several frames that come together each is a message of its own.
    let data = |client: &mut Client| loop {
        let (first, payload) = client.read_frame();
        if first == 0x82 {
            return payload;
        }
    };
    for step in conversation() {
        match step {
            Step::Client { wire, .. } => {
                client.send(&wire);
                received.recv_timeout(PATIENCE).unwrap();
            }
            Step::Compute(bytes) => {
                go.send(()).unwrap();
                assert_eq!(data(&mut client), bytes);
            }
        }
    }
    client.frame(8, &[0x03, 0xe8]);
    let _ = client.rest();
}

/// The recording in `directory`, once it is complete, without its times.
fn recording(directory: &Path) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let recordings: Vec<PathBuf> =
            names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("rec.")).collect();
        let mut texts = recordings.iter().map(|path| fs::read_to_string(path).unwrap());
        if let Some(text) = texts.find(|text| text.contains('{') && text.ends_with("'EOF'];\n")) {
            return text.lines().map(without_time).collect();
        }
        assert!(Instant::now() < until, "no complete recording: {recordings:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn without_time(line: &str) -> String {
    for mark in ['{', '}'] {
        if let Some((time, rest)) =
            line.strip_prefix(&format!("'{mark}")).and_then(|line| line.split_once(mark))
        {
            assert!(time.parse::<u64>().is_ok(), "{line}");
            return format!("'{mark}{mark}{rest}\n");
        }
    }
    format!("{line}\n")
}

struct Websockify(Child);

impl Websockify {
    fn start(directory: &Path, target: u16) -> (Self, SocketAddr) {
        let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python"),
            PathBuf::from,
        );
        let port = program::free_port();
        let record = format!("--record={}/rec", directory.display());
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = Command::new(python)
            .args(["-m", "websockify", &record, &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{target}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Python");
        let websockify = Self(child);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let log = fs::read_to_string(directory.join("log")).unwrap();
            assert!(Instant::now() < until, "websockify does not listen:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        (websockify, address)
    }
}

impl Drop for Websockify {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_recording_is_websockifys_byte_for_byte() {
    let directory = program::directory();
    let (port, received, go, compute) = play_compute();
    let (websockify, address) = Websockify::start(&directory, port);
    play_client(Client::upgrade(address, "/", &[]), &received, &go);
    let theirs = recording(&directory);
    compute.join().unwrap();
    drop(websockify);

    let (port, received, go, compute) = play_compute();
    let options = Options { name: "nova-serialproxy", default: "record = rec", ..Options::on("auto") };
    let program = Program::start(&options);
    let token = program.token("serial", port, 600);
    let client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    play_client(client, &received, &go);
    let ours = recording(&program.directory);
    compute.join().unwrap();

    assert!(theirs.lines().count() >= 10, "{theirs}");
    for (mine, other) in ours.lines().zip(theirs.lines()) {
        assert_eq!(mine, other);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
    fs::remove_dir_all(directory).unwrap();
}
