//! Which system calls the workers make, as strace sees them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Client;
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    interactive_relaying_takes_the_engines_own_system_calls_only,
    a_worker_with_deadlines_waits_without_a_time_out,
}

/// strace, attached to all threads of a program.
struct Strace(Child);

impl Strace {
    /// None, saying why, where there is no strace or it may not attach.
    fn attach(program: &Program, output: &Path) -> Option<Self> {
        let attached = Command::new("strace")
            .args(["-f", "-p", &program.pid().to_string(), "-o"])
            .arg(output)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match attached {
            Ok(child) => child,
            Err(error) => {
                println!("SKIPPED: strace: {error}");
                return None;
            }
        };
        let threads = program.threads("").len();
        let (mut told, mut byte) = (String::new(), [0]);
        while told.matches(" attached").count() < threads && !told.contains("with ") {
            if child.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 0 {
                println!("SKIPPED: strace: {told}");
                return None;
            }
            told.push(char::from(byte[0]));
        }
        Some(Self(child))
    }

    fn detach(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGINT).unwrap();
        self.0.wait().unwrap();
    }
}

/// Names of the system calls that the threads made.
fn calls(trace: &str, threads: &[u32]) -> BTreeSet<String> {
    let of = |line: &str| {
        let (thread, call) = line.split_once(char::is_whitespace)?;
        let call = call.trim_start().trim_start_matches("<... ");
        let end = call.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
        (threads.contains(&thread.parse().ok()?) && end > 0).then(|| call[..end].to_owned())
    };
    trace.lines().filter_map(of).collect()
}

fn interactive_relaying_takes_the_engines_own_system_calls_only(engine: &str) {
    let program = Program::start(&Options { own: "port_check = off\nworkers = 2", ..Options::on(engine) });
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        let mut key = [0; 8];
        while stream.read_exact(&mut key).is_ok() {
            stream.write_all(&[key[0]; 200]).unwrap();
        }
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    let output = program.directory.join("strace");
    let Some(strace) = Strace::attach(&program, &output) else { return };
    let before = Instant::now();
    for key in 0..100 {
        client.frame(2, &[key; 8]);
        assert_eq!(client.read_frame(), (0x82, vec![key; 200]));
    }
    assert!(before.elapsed() < Duration::from_secs(20));
    thread::sleep(Duration::from_millis(100));
    strace.detach();

    let trace = fs::read_to_string(output).unwrap();
    let workers = program.threads("worker-");
    assert_eq!(workers.len(), 2);
    let expected: &[&str] = match engine {
        // With few sockets ready at once the ring only polls.
        "io_uring" => &["io_uring_enter", "recvfrom", "sendto"],
        _ => &["epoll_wait", "recvfrom", "sendto"],
    };
    let seen = calls(&trace, &workers);
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{trace}");
    // The kernel's own threads for operations that it cannot do without waiting are slow.
    assert!(program.threads("iou-wrk").is_empty(), "an operation went to a thread of the kernel's");
    drop(client);
    compute.join().unwrap();
}

/// Whether the system call in which a thread waits has no time-out.
///
/// # Errors
///
/// The kernel does not show it.
fn waits_for_ever(process: u32, thread: u32) -> io::Result<bool> {
    let call = fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall"))?;
    let words: Vec<_> = call.split_whitespace().collect();
    let number = |index: usize| u64::from_str_radix(words.get(index)?.trim_start_matches("0x"), 16).ok();
    // Its number, which is decimal, and then its arguments.
    match words.first().and_then(|word| word.parse().ok()) {
        Some(libc::SYS_epoll_wait) => Ok(number(4) == Some(u64::from(u32::MAX))),
        Some(libc::SYS_io_uring_enter) => {
            // struct io_uring_getevents_arg: a set of signals, its length, a minimum, and the address of a time-out.
            let mut argument = [0; 24];
            File::open(format!("/proc/{process}/mem"))?.read_exact_at(&mut argument, number(5).unwrap())?;
            Ok(argument[16..] == [0; 8])
        }
        _ => Err(io::Error::other(format!("at {call}"))),
    }
}

/// The kernel would start and stop a timer for each key; the worker's one alarm is set when the earliest deadline moves.
fn a_worker_with_deadlines_waits_without_a_time_out(engine: &str) {
    let program = Program::start(&Options { own: "port_check = off\nworkers = 1", ..Options::on(engine) });
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        while stream.read(&mut [0; 8]).is_ok_and(|len| len > 0) {}
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    let worker = program.threads("worker-")[0];
    let until = Instant::now() + Duration::from_secs(20);
    // The session's next ping and its longest life are in its wheel by now.
    loop {
        match waits_for_ever(program.pid(), worker) {
            Ok(true) => break,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                println!("SKIPPED: /proc: {error}");
                break;
            }
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    compute.join().unwrap();
}
