//! Where `io_uring` is denied, as by Docker's default seccomp profile.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::client::Client;
use super::compute;
use super::program::{Options, Program, command, directory, discard};

/// Answers EPERM to `io_uring_setup` in the program to be started, and lets everything else pass.
fn deny_io_uring(command: &mut Command) {
    let filter = SeccompFilter::new(
        [(libc::SYS_io_uring_setup, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    // SAFETY: between fork and exec only two system calls are made, on a filter built before: nothing
    // allocates or takes a lock.
    unsafe { command.pre_exec(move || apply_filter(&filter).map_err(|_| std::io::ErrorKind::Other.into())) };
}

/// What container runtimes leave: 1,024 descriptors and 64 KiB of locked memory, soft and hard.
fn limit(command: &mut Command) {
    let lower = || {
        setrlimit(Resource::RLIMIT_NOFILE, 1_024, 1_024)?;
        setrlimit(Resource::RLIMIT_MEMLOCK, 64 << 10, 64 << 10)?;
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made: nothing allocates or takes a lock.
    unsafe { command.pre_exec(lower) };
}

fn serves_a_console(program: &Program) {
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        compute::read(&mut stream, 5)
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    client.frame(2, b"alive");
    assert_eq!(compute.join().unwrap(), b"alive");
}

#[test]
fn the_limits_of_containers_are_enough_with_and_without_io_uring() {
    for denied in [false, true] {
        let program = Program::start_with(&Options::on("auto"), |command| {
            limit(command);
            if denied {
                deny_io_uring(command);
            }
        });
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
        let of = |name| limits.lines().find(|line: &&str| line.starts_with(name)).unwrap();
        assert!(
            of("Max open files").contains(" 1024 ") && of("Max locked memory").contains(" 65536 "),
            "{limits}"
        );
        serves_a_console(&program);
    }
}

#[test]
fn a_denied_io_uring_is_told_once_and_epoll_serves() {
    let program = Program::start_with(&Options::on("auto"), deny_io_uring);
    serves_a_console(&program);
    let log = program.log();
    assert!(log.contains("workers on epoll"), "{log}");
    let told: Vec<_> = log.lines().filter(|line| line.contains("io_uring")).collect();
    let [line] = told[..] else { panic!("{told:?}") };
    assert!(
        line.contains(" INFO ") && line.contains("io_uring_setup failed: Operation not permitted"),
        "{line}"
    );
}

#[test]
fn who_wants_io_uring_where_it_is_denied_learns_why_there_is_none() {
    let directory = directory();
    std::fs::write(directory.join("nova.conf"), "[DEFAULT]\nweb =\n[consolegate]\nio_engine = io_uring\n")
        .unwrap();
    let mut command = command(&directory, "nova-novncproxy");
    command.args(["--config-file", "nova.conf", "--vnc-novncproxy_host", "127.0.0.1"]).stdin(Stdio::null());
    deny_io_uring(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ERROR") && text.contains("[consolegate] io_engine = io_uring:"), "{text}");
    assert!(text.contains("seccomp"), "the likely cause: {text}");
    discard(&directory);
}

#[test]
fn auto_takes_io_uring_where_it_is_allowed() {
    if crate::engines::has_io_uring() {
        let program = Program::start(&Options::on("auto"));
        program.wait_for_log("workers on io_uring");
    }
}
