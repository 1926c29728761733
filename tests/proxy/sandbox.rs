//! `[consolegate] sandbox`, seen from outside: the program does all its work in it, and cannot leave it.
//!
//! What is refused from inside is in `tests/sandbox.rs`, and by the rings in `src/engine/uring/ring_tests.rs`. The
//! whole of these tests runs in another mode with `CONSOLEGATE_TEST_SANDBOX=required` or `off`.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::client::Client;
use super::live::Live;
use super::pair::{Pair, connect};
use super::program::{Options, Program, command, directory, discard, quiet};

on_both_engines! {
    files_are_renewed_and_made_in_every_mode,
    every_thread_is_in_the_sandbox,
    a_link_to_elsewhere_leads_nowhere,
}

/// In a container a health check runs as the service's own user, and joins process, port and connections.
#[test]
fn probes_of_the_same_user_see_the_process_unless_the_sandbox_is_required() {
    let as_user = |command: &mut Command| {
        if Uid::effective().is_root() {
            command.uid(54_321).gid(54_321);
        }
    };
    for mode in ["auto", "required"] {
        let own = format!("port_check = off\nsandbox = {mode}");
        let options = Options { name: "nova-serialproxy", own: &own, ..Options::on("auto") };
        let program = Program::start_with(&options, |command| {
            command.env("OS_CONSOLEGATE__SANDBOX", mode);
            as_user(command);
        });
        program.wait_for_log("sandbox: ");
        let mut ss = Command::new("ss");
        ss.args(["-Hlntp", &format!("sport = :{}", program.address.port())]);
        as_user(&mut ss);
        let said = String::from_utf8(ss.output().unwrap().stdout).unwrap();
        let sees = said.contains(&format!("pid={},", program.pid()));
        assert_eq!(sees, mode == "auto", "{mode}: {said}");
        let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(core.contains(" 1 "), "{core}");
    }
}

const MODES: [&str; 3] = ["required", "auto", "off"];

fn start(engine: &str, mode: &str, default: &str, extra: &str) -> Program {
    let own =
        format!("port_check = off\nadmin_socket = run/admin.sock\npid_file = run/pid\nsandbox = {mode}");
    let options = Options { name: "nova-serialproxy", default, own: &own, extra, ..Options::on(engine) };
    Program::start_with(&options, |command| {
        command.env("OS_CONSOLEGATE__SANDBOX", mode);
        quiet(command);
        let at = command.get_current_dir().unwrap();
        ["logs", "run", "records", "reports"].iter().for_each(|name| fs::create_dir(at.join(name)).unwrap());
    })
}

fn signal(program: &Program, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(program.pid()).unwrap()), signal).unwrap();
}

/// Waits until the file holds `text`.
fn wait_for(program: &Program, file: &Path, text: &str) {
    wait_for_any(program, &[file], text);
}

/// Waits until one of the files does.
fn wait_for_any(program: &Program, files: &[&Path], text: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found: String = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        if found.contains(text) {
            return;
        }
        let log = program.log();
        assert!(Instant::now() < until, "{files:?} lack {text:?}:\n{found}\n--- on the terminal\n{log}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Puts a new file in the place of another, as editors and certificate tools do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn files_are_renewed_and_made_in_every_mode(engine: &str) {
    for mode in MODES {
        // The certificate's directory of the configuration holds links only, as Certbot's does.
        let (archive, live) = (Pair::new(), directory());
        for name in ["cert.pem", "key.pem"] {
            symlink(archive.directory.join(name), live.join(name)).unwrap();
        }
        let at = live.display();
        let default = format!(
            "web =\ncert = {at}/cert.pem\nkey = {at}/key.pem\nrecord = records/rec\nlog_file = logs/proxy.log"
        );
        let mut program = start(engine, mode, &default, "[oslo_reports]\nlog_dir = reports\n");
        let log = program.directory.join("logs/proxy.log");
        wait_for(&program, &log, "] sandbox: ");
        let mut plain = Live::open(&program);
        drop(connect(program.address, &archive.certificate).unwrap());

        let renewed = directory();
        let certificate = Pair::write(&renewed, |name, pem| fs::write(name, pem).unwrap());
        for name in ["cert.pem", "key.pem"] {
            replace(&archive.directory.join(name), &fs::read_to_string(renewed.join(name)).unwrap());
        }
        let until = Instant::now() + Duration::from_secs(60);
        while connect(program.address, &certificate).is_err() {
            assert!(Instant::now() < until, "the new certificate is not served");
            thread::sleep(Duration::from_millis(50));
        }

        let conf = program.directory.join("nova.conf");
        let text = fs::read_to_string(&conf).unwrap();
        replace(&conf, &text.replace("[DEFAULT]\n", "[DEFAULT]\ndebug = true\n"));
        fs::rename(&log, log.with_extension("log.1")).unwrap();
        signal(&program, Signal::SIGHUP);
        signal(&program, Signal::SIGUSR1);
        let changed = "Option DEFAULT.debug changed from [None] to [true]";
        wait_for_any(&program, &[&log, &log.with_extension("log.1")], changed);
        // Opened anew, by its name.
        plain.assert_echoes();
        Live::open(&program).close();
        wait_for(&program, &log, " DEBUG ");

        signal(&program, Signal::SIGUSR2);
        wait_for(&program, &log, "A state report was written to ");
        let report = fs::read_dir(program.directory.join("reports")).unwrap().next().unwrap().unwrap().path();
        let report = fs::read_to_string(report).unwrap();
        assert!(report.contains("control (") && report.contains("Max open files "), "{report}");

        plain.close();
        assert_eq!(program.end(Signal::SIGTERM), 0);
        let recorded = fs::read_dir(program.directory.join("records")).unwrap().count();
        assert_eq!(recorded, 2, "one for each session");
        assert!(!program.directory.join("run/pid").exists(), "it is removed at the end");
        fs::remove_dir_all(live).unwrap();
        fs::remove_dir_all(renewed).unwrap();
    }
}

/// A field of /proc/PID/task/*/status, of every thread, and whether that is a worker's.
fn of_threads(program: &Program, field: &str) -> Vec<(String, bool)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        // The kernel's own, of a ring, make no system calls.
        .filter(|status| !status.starts_with("Name:\tiou-"))
        .map(|status| {
            let line = status.lines().find(|line| line.starts_with(field)).expect(field);
            (line[field.len()..].trim().to_owned(), status.starts_with("Name:\tworker-"))
        })
        .collect()
}

fn every_thread_is_in_the_sandbox(engine: &str) {
    let before = of_self("Seccomp_filters:");
    for mode in MODES {
        let program = start(engine, mode, "web =", "");
        program.wait_for_log("] sandbox: ");
        Live::open(&program).close();
        let (added, privileges) = if mode == "off" { (0, "0") } else { (3, "1") };
        let filters = of_threads(&program, "Seccomp_filters:");
        let expected =
            |is_worker: bool| (before + added + usize::from(is_worker && mode != "off")).to_string();
        assert!(
            filters.len() >= 4 && filters.iter().all(|(count, is_worker)| *count == expected(*is_worker)),
            "{filters:?}"
        );
        assert_eq!(filters.iter().filter(|(_, is_worker)| *is_worker).count(), 2, "{filters:?}");
        if before == 0 {
            assert!(of_threads(&program, "NoNewPrivs:").iter().all(|(one, _)| one == privileges));
        }
        let log = program.log();
        let line = log.lines().find(|line| line.contains("] sandbox: ")).unwrap();
        assert!(line.contains(" INFO "), "{line}");
        let parts = [
            "no new privileges, no core dumps",
            "landlock ABI ",
            "seccomp (",
            "no new rings",
            "workers restricted to ",
        ];
        assert_eq!(parts.iter().all(|part| line.contains(part)), mode != "off", "{line}");
        assert_eq!(
            line.contains("workers' rings restricted to 8 operations"),
            engine == "io_uring",
            "{line}"
        );
        // A ring that knows every operation has no place where all are to be refused.
        let wide = log.contains("the control thread uses io_uring");
        assert_eq!(wide, engine == "io_uring" && mode != "required", "{log}");
    }
}

fn of_self(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    line.map_or(0, |line| line[field.len()..].trim().parse().unwrap())
}

/// Somebody who can write below the web root cannot have the proxy read what it has no business with.
fn a_link_to_elsewhere_leads_nowhere(engine: &str) {
    for mode in MODES {
        let (site, elsewhere) = (directory(), directory());
        let web = site.join("web");
        fs::create_dir_all(elsewhere.join("core")).unwrap();
        fs::create_dir(&web).unwrap();
        fs::write(elsewhere.join("core/rfb.js"), "part").unwrap();
        symlink(elsewhere.join("core"), web.join("core")).unwrap();
        let default = format!("web = {}", web.display());
        let options = Options { default: &default, ..Options::on(engine) };
        let program = Program::start_with(&options, |command| {
            command.env("OS_CONSOLEGATE__SANDBOX", mode);
        });
        program.wait_for_log("] sandbox: ");
        fs::write(elsewhere.join("secret.js"), "secret").unwrap();
        symlink(elsewhere.join("secret.js"), web.join("secret.js")).unwrap();
        let status = |path: &str| {
            let mut client = Client::connect(program.address);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            client.head().split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(status("/core/rfb.js"), "200", "a link that was there at the start");
        assert_eq!(status("/secret.js"), if mode == "off" { "200" } else { "404" }, "{mode}");
        fs::remove_dir_all(site).unwrap();
        fs::remove_dir_all(elsewhere).unwrap();
    }
}

/// A kernel without landlock, as far as the program to be started can see.
fn without_landlock(command: &mut Command) {
    let filter = SeccompFilter::new(
        [(libc::SYS_landlock_create_ruleset, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    // SAFETY: between fork and exec only two system calls are made, on a filter built before: nothing
    // allocates or takes a lock.
    unsafe { command.pre_exec(move || apply_filter(&filter).map_err(|_| std::io::ErrorKind::Other.into())) };
}

#[test]
fn what_the_kernel_lacks_is_told_or_fatal() {
    let program =
        Program::start_with(&Options { name: "nova-serialproxy", ..Options::on("auto") }, |command| {
            command.env("OS_CONSOLEGATE__SANDBOX", "auto");
            without_landlock(command);
        });
    program.wait_for_log("; lacking: no landlock");
    Live::open(&program).close();

    let directory = conf("[consolegate]\nsandbox = required\nadmin_socket =\n");
    let mut command = command(&directory, "nova-novncproxy");
    command.args(["--config-file", "nova.conf"]).env_remove("OS_CONSOLEGATE__SANDBOX");
    without_landlock(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(" ERROR ") && text.contains("[consolegate] sandbox = required: no landlock"),
        "{text}"
    );
    discard(&directory);
}

#[test]
fn required_does_not_grant_the_root_directory() {
    let directory = conf("record = /rec\n[consolegate]\nsandbox = required\nadmin_socket =\n");
    let (status, stdout) = ended(&directory, &["--config-file", "nova.conf"]);
    assert_eq!(status, Some(1), "{stdout}");
    assert!(stdout.contains("sandbox = required: /rec lies in the root directory"), "{stdout}");
    let check = ["--check", "--config-file", "nova.conf"];
    let (status, stdout) = ended(&directory, &check);
    assert!(
        status == Some(1) && stdout.contains("\nFAILED  sandbox: /rec lies in the root directory"),
        "{stdout}"
    );
    replace(&directory.join("nova.conf"), "[DEFAULT]\nweb =\n[consolegate]\nsandbox = required\n");
    let (_, stdout) = ended(&directory, &check);
    assert!(
        stdout.contains("\nok      sandbox: no new privileges, no core dumps, landlock ABI "),
        "{stdout}"
    );
    discard(&directory);
}

/// What becomes of a start that is to fail, in the mode that its file says: status and standard output.
fn ended(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command(directory, "nova-novncproxy");
    let output = command.args(arguments).env_remove("OS_CONSOLEGATE__SANDBOX").output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn conf(text: &str) -> PathBuf {
    let directory = directory();
    let conf = format!("[DEFAULT]\nweb =\n{text}\n[vnc]\nnovncproxy_host = 127.0.0.1\nnovncproxy_port = 1\n");
    fs::write(directory.join("nova.conf"), conf).unwrap();
    directory
}
