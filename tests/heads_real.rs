//! Streams of several requests read by us and by Python's own http.server, on which Nova's proxies are built
//! (`tests/heads/http_server.py`). Where one sees a request that the other takes for a part of something else, requests
//! can be smuggled past one of them.
//!
//! Needs Python: the interpreter that `CONSOLEGATE_TEST_PYTHON` names, or else `target/test-python/bin/python`.
//! Without it the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::cmp::Ordering;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use consolegate::proto::http::{HeadLimits, HeadParser, Method};

/// Streams beside the seeds themselves.
const DAMAGED: usize = 4_000;

/// In front of each seed of the fuzz target `request` stand four bytes of its own.
const PLAN_LEN: usize = 4;

/// A generator that gives the same numbers in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// The seeds, and seeds behind one another with some of their bytes changed, doubled or lost.
fn streams() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request");
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut streams: Vec<_> =
        paths.iter().map(|path| std::fs::read(path).unwrap().split_off(PLAN_LEN)).collect();
    for head in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /a HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"] {
        streams.push(head.repeat(3).into_bytes());
    }
    let mut numbers = Numbers(1);
    let seeds = streams.len();
    for _ in 0..DAMAGED {
        let mut stream = Vec::new();
        for _ in 0..=numbers.below(3) {
            stream.extend_from_slice(&streams[numbers.below(seeds)]);
        }
        for _ in 0..numbers.below(3) {
            let at = numbers.below(stream.len());
            match numbers.below(3) {
                0 => stream[at] = b"\r\n\0 :\t/\x0b\x0c\x80\x85\xa0aZ"[numbers.below(14)],
                1 => stream.insert(at, b"\r\n :\t\x0b\x85a"[numbers.below(8)]),
                _ => drop(stream.remove(at)),
            }
        }
        streams.push(stream);
    }
    streams
}

/// The heads that we take, up to the first that could have a body, and whether something was refused behind them.
fn ours(stream: &[u8]) -> (Vec<(Option<&'static str>, usize)>, bool) {
    let (mut heads, mut at) = (Vec::new(), 0);
    loop {
        match HeadParser::new().parse(&stream[at..], &HeadLimits::default()) {
            Ok(Some((request, len))) => {
                at += len;
                let method = match request.method() {
                    Method::Get => Some("GET"),
                    Method::Head => Some("HEAD"),
                    Method::Other => None,
                };
                heads.push((method, at));
                if method.is_none() {
                    return (heads, false);
                }
            }
            Ok(None) => return (heads, false),
            Err(_) => return (heads, true),
        }
    }
}

/// The heads that they take, with `None` where they refuse one.
fn theirs(streams: &[Vec<u8>]) -> Vec<Vec<Option<(String, usize)>>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON")
        .map_or_else(|| manifest.join("target/test-python/bin/python"), PathBuf::from);
    let mut child = Command::new(&python)
        .arg(manifest.join("tests/heads/http_server.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    let hex = |stream: &Vec<u8>| stream.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let questions: String = streams.iter().map(hex).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{} failed", python.display());
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_requests_of_a_stream_are_those_that_pythons_server_sees() {
    let streams = streams();
    let (mut requests, mut several) = (0, 0);
    for (stream, mut theirs) in streams.iter().zip(theirs(&streams)) {
        let (ours, we_refuse) = ours(stream);
        let they_refuse = theirs.pop_if(|head| head.is_none()).is_some();
        let shown = stream.escape_ascii();
        for ((method, end), their_head) in ours.iter().zip(&theirs) {
            let (their_method, their_end) = their_head.as_ref().unwrap();
            assert_eq!(end, their_end, "{shown}");
            assert!(method.is_none_or(|method| method == their_method), "{method:?} {their_method}: {shown}");
        }
        // Where one of us refuses the connection ends, and the other may be more patient.
        let alike = match ours.len().cmp(&theirs.len()) {
            Ordering::Equal => true,
            Ordering::Less => we_refuse,
            Ordering::Greater => they_refuse,
        };
        assert!(alike, "ours {ours:?}, theirs {theirs:?}: {shown}");
        requests += ours.len();
        several += usize::from(ours.len() > 1);
    }
    assert!(requests > 1_000 && several > 200, "{requests} requests, {several} streams with several");
}
