//! The real logrotate at the real program's log, under load.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::live::Live;
use crate::program::{Options, Program};

/// A serial proxy that logs at DEBUG to a file: each connection leaves a line with its number when it ends.
fn start() -> Program {
    let options = Options {
        name: "nova-serialproxy",
        default: "debug = true\nlog_file = logs/proxy.log",
        ..Options::on("epoll")
    };
    Program::start_with(&options, |command| {
        fs::create_dir(command.get_current_dir().unwrap().join("logs")).unwrap();
    })
}

fn signal(program: &Program, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(program.pid()).unwrap()), signal).unwrap();
}

/// Runs logrotate once, whatever the file's age.
fn logrotate(program: &Program, how: &str) {
    let (config, state) =
        (program.directory.join("logrotate.conf"), program.directory.join("logrotate.state"));
    let log = program.directory.join("logs/proxy.log");
    fs::write(&config, format!("{} {{\n  rotate 1000\n  missingok\n  {how}\n}}\n", log.display())).unwrap();
    let output = Command::new("logrotate")
        .args(["--force", "--state"])
        .arg(&state)
        .arg(&config)
        .output()
        .unwrap_or_else(|error| panic!("logrotate: {error}; scripts/install installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks for pages that are not there.
fn load(program: &Program, requests: usize) {
    for _ in 0..requests {
        let mut client = Client::connect(program.address);
        client.send(b"GET /x HTTP/1.0\r\n\r\n");
        assert!(client.rest().0.starts_with(b"HTTP/1.1 405 "));
    }
}

/// How often each connection's last line stands in any of the files. Every line must be whole.
fn ends(directory: &Path) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory.join("logs")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains('\0'), "a line is padded with NUL");
        assert!(!text.contains("were lost"), "{:?}", text.lines().find(|line| line.contains("were lost")));
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(6, ' ').collect();
            assert!(fields.len() == 6 && fields[0].len() == 10 && fields[1].len() == 12, "torn: {line:?}");
            if let Some((before, _)) = line.split_once(": connection closed") {
                *found.entry(before.rsplit(' ').next().unwrap().parse().unwrap()).or_default() += 1;
            }
        }
    }
    found
}

fn assert_each_once(found: &BTreeMap<u64, usize>) {
    let last = *found.keys().next_back().unwrap();
    let wrong: Vec<_> = (1..=last).filter(|number| found.get(number) != Some(&1)).collect();
    assert!(wrong.is_empty(), "of {last} lines these are lost or doubled: {wrong:?}");
}

#[test]
fn renaming_and_reloads_under_load_lose_and_double_no_line_and_no_session() {
    let mut program = start();
    let mut live = Live::open(&program);
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let (program, done_too) = (&program, Arc::clone(&done));
        scope.spawn(move || {
            // Fewer lines than the queue has places: nothing may be lost, however slow this machine is.
            for _ in 0..80 {
                if !done_too.load(Ordering::Relaxed) {
                    load(program, 50);
                }
            }
        });
        for round in 0..20 {
            // With a signal and without one: the moved file is noticed.
            let how = format!("nocreate\n  postrotate\n    kill -USR1 {}\n  endscript", program.pid());
            logrotate(program, if round % 2 == 0 { &how } else { "nocreate" });
            for _ in 0..5 {
                signal(program, Signal::SIGHUP);
                live.assert_echoes();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    live.close();
    assert_eq!(program.end(Signal::SIGTERM), 0);
    let found = ends(&program.directory);
    assert!(found.len() > 100, "{} connections", found.len());
    assert_each_once(&found);
    assert!(fs::read_dir(program.directory.join("logs")).unwrap().count() > 10);
}

/// What is written between logrotate's copy and its truncation is lost with any program: so says its manual. The load
/// pauses then.
#[test]
fn copying_and_truncating_leaves_whole_lines_and_no_gap() {
    let mut program = start();
    let mut live = Live::open(&program);
    for _ in 0..10 {
        load(&program, 30);
        live.assert_echoes();
        wait_for_quiet(&program);
        logrotate(&program, "copytruncate");
    }
    live.close();
    assert_eq!(program.end(Signal::SIGTERM), 0);
    assert_each_once(&ends(&program.directory));
}

/// Waits until the log does not grow any more.
fn wait_for_quiet(program: &Program) {
    let size = || fs::metadata(program.directory.join("logs/proxy.log")).map_or(0, |file| file.len());
    let mut before = size();
    loop {
        thread::sleep(std::time::Duration::from_millis(200));
        let now = size();
        if now == before {
            return;
        }
        before = now;
    }
}
