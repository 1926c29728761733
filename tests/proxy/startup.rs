//! How the program starts, and how it fails to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::admin;
use super::client::Client;
use super::live::Live;
use super::program::{Options, Program, command, directory, discard, free_port, quiet, run};

on_both_engines! {
    the_program_starts_with_its_database_away_and_finds_it_later,
    probes_leave_no_line_at_info,
    log_lines_have_oslo_logs_form,
    only_workers_and_the_supervisor_stop_other_threads,
}

#[test]
fn exit_statuses_are_novas() {
    let directory = directory();
    fs::write(directory.join("empty.conf"), "[DEFAULT]\n").unwrap();
    fs::write(directory.join("levels.conf"), "[DEFAULT]\ndefault_log_levels = nova=LOUD\n").unwrap();
    let weekday = "[DEFAULT]\nlog_rotation_type = Interval\nlog_rotate_interval_type = weekday\nlog_rotate_interval = 7\n";
    fs::write(directory.join("weekday.conf"), weekday).unwrap();
    for (arguments, status, stream_text) in [
        (&["--version"][..], 0, env!("CARGO_PKG_VERSION")),
        (&["--help"], 0, "--vnc-novncproxy_port"),
        (&["--bogus"], 2, "nova-novncproxy: error: unrecognized arguments: --bogus"),
        (&["--config-file", "missing.conf"], 1, "Failed to find some config files: "),
        (&["--config-file", "empty.conf", "--web", "nowhere"], 255, "Can not find html/js files at nowhere."),
        (
            &["--config-file", "empty.conf", "--web=", "--log-config-append", "none.ini"],
            1,
            "none.ini: [Errno 2] No such file or directory: '",
        ),
        (
            &["--config-file", "empty.conf", "--web=", "--use-syslog", "--syslog-log-facility", "local9"],
            1,
            "syslog facility must be one of: 'LOG_KERN', 'LOG_USER', 'LOG_MAIL', ",
        ),
        (&["--config-file", "levels.conf", "--web="], 1, "Unknown level: 'LOUD'"),
        (&["--config-file", "weekday.conf", "--web="], 1, "Invalid day specified for weekly rollover: w7"),
        (
            &["--config-file", "empty.conf", "--vnc-novncproxy_port", "99999"],
            1,
            "argument --novncproxy_port: Invalid Port(min=0, max=65535) value: 99999",
        ),
    ] {
        let (got, stdout, stderr) = run(&directory, "nova-novncproxy", arguments);
        assert_eq!(got, status, "{arguments:?}: {stdout}{stderr}");
        let text = if status == 0 { &stdout } else { &stderr };
        assert!(text.contains(stream_text), "{arguments:?}: {stdout}{stderr}");
    }
    discard(&directory);
}

/// A shell's `command` in `directory`, where the name `both` has an address of each family.
fn with_a_name_of_both_families(directory: &Path, command: &str) -> Command {
    fs::write(directory.join("hosts"), "127.0.0.1 localhost both\n::1 both\n").unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--map-root-user", "sh", "-c"]);
    shell.arg(format!("mount --bind hosts /etc/hosts && exec {command}")).current_dir(directory);
    shell
}

/// The address that websockify, and so Nova, takes for `both`.
fn websockifys_choice(directory: &Path, prefer_ipv6: bool) -> IpAddr {
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python"),
        PathBuf::from,
    );
    let listen = "import sys; from websockify.websockifyserver import WebSockifyServer as Server\n\
                  print(Server.socket('both', 0, prefer_ipv6=sys.argv[1] == 'true').getsockname()[0])\n";
    fs::write(directory.join("listen.py"), listen).unwrap();
    let command = format!("{} listen.py {prefer_ipv6}", python.display());
    let output = with_a_name_of_both_families(directory, &command).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_name_of_both_families_is_ipv4_unless_source_is_ipv6() {
    for (prefer_ipv6, expected) in
        [(false, IpAddr::from(Ipv4Addr::LOCALHOST)), (true, IpAddr::from(Ipv6Addr::LOCALHOST))]
    {
        let directory = directory();
        assert_eq!(websockifys_choice(&directory, prefer_ipv6), expected);
        let port = free_port();
        let config = format!(
            "[DEFAULT]\nweb =\nsource_is_ipv6 = {prefer_ipv6}\n[vnc]\nnovncproxy_host = both\n\
             novncproxy_port = {port}\n[consolegate]\nadmin_socket =\nport_check = off\n"
        );
        fs::write(directory.join("nova.conf"), config).unwrap();
        drop(command(&directory, "nova-novncproxy"));
        let run = "./nova-novncproxy --config-file nova.conf";
        let mut child = with_a_name_of_both_families(&directory, run).spawn().unwrap();
        let listens = |address: IpAddr| TcpStream::connect((address, port)).is_ok();
        let until = Instant::now() + Duration::from_secs(60);
        while !listens(expected) {
            assert_eq!(child.try_wait().unwrap(), None, "it ended");
            assert!(Instant::now() < until, "nothing listens on {expected}");
            thread::sleep(Duration::from_millis(20));
        }
        let other = if prefer_ipv6 { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        assert!(!listens(other), "on the first address alone");
        child.kill().unwrap();
        child.wait().unwrap();
        discard(&directory);
    }
}

#[test]
fn a_port_in_use_is_status_1_and_an_error_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = directory();
    fs::write(directory.join("nova.conf"), "[DEFAULT]\nweb =\n").unwrap();
    let arguments =
        ["--config-file", "nova.conf", "--vnc-novncproxy_host", "127.0.0.1", "--vnc-novncproxy_port", &port];
    let (status, stdout, _) = run(&directory, "nova-novncproxy", &arguments);
    assert_eq!(status, 1, "{stdout}");
    assert!(stdout.contains("ERROR") && stdout.contains("Opening socket failed"), "{stdout}");
    discard(&directory);
}

fn the_program_starts_with_its_database_away_and_finds_it_later(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let mut client = Client::upgrade(program.address, "/?token=early", &[]);
    assert_eq!(client.rest().0, [0x88, 0]);
    program.wait_for_log("handler exception");
    // The token tool makes the database file now.
    let token = program.token("novnc", super::compute::dead_port(), 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.rest().0, [0x88, 0]);
    program.wait_for_log("connecting to: 127.0.0.1");
}

fn probes_leave_no_line_at_info(engine: &str) {
    let own = "port_check = off\nadmin_socket = admin.sock";
    let program = Program::start_with(&Options { own, ..Options::on(engine) }, quiet);
    // The last line that a start leaves.
    program.wait_for_log("] sandbox: ");
    let sessions = || {
        let metrics = admin::metrics(&program);
        let ended = metrics.lines().filter(|line| line.starts_with("consolegate_sessions_total{"));
        let counts = ended.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
        counts.collect::<Vec<_>>()
    };
    assert!(!sessions().is_empty(), "{}", admin::metrics(&program));
    let before = program.log();
    for _ in 0..50 {
        drop(TcpStream::connect(program.address).unwrap());
        let mut client = Client::connect(program.address);
        client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.rest();
    }
    let mut client = Client::connect(program.address);
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    client.rest();
    assert_eq!(program.log(), before);
    assert!(sessions().iter().all(|count| *count == 0.0), "{}", admin::metrics(&program));
}

fn log_lines_have_oslo_logs_form(engine: &str) {
    let program = Program::start_with(&Options::on(engine), quiet);
    program.wait_for_log("proxying from");
    for line in program.log().lines() {
        let fields: Vec<_> = line.splitn(7, ' ').collect();
        assert_eq!(fields[0].len(), "2026-11-22".len(), "{line}");
        assert_eq!(fields[1].len(), "22:22:27.196".len(), "{line}");
        assert_eq!(fields[2], program.pid().to_string(), "{line}");
        assert!(["INFO", "WARNING"].contains(&fields[3]), "{line}");
        assert_eq!(fields[5], "[-]", "{line}");
    }
    assert!(program.log().contains(" INFO nova.console.websocketproxy [-] WebSocket server settings:"));
}

/// Scheduling policy (`policy` of proc_pid_stat(5)) in the text of a `stat` file.
fn policy(stat: &str) -> &str {
    // The name may hold anything, parentheses and blanks too.
    stat[stat.rfind(')').unwrap()..].split(' ').nth(41 - 2).unwrap()
}

fn only_workers_and_the_supervisor_stop_other_threads(engine: &str) {
    let own = policy(&fs::read_to_string("/proc/self/stat").unwrap()).to_owned();
    // Another policy than the usual one is whoever's who set it, and all threads keep it.
    let standing_back = if own == "0" { "3" } else { &own };
    let (name, default) = ("nova-serialproxy", "web =\nrecord = records");
    let program = Program::start(&Options { name, default, ..Options::on(engine) });
    // The database is asked by threads that did not exist before.
    Live::open(&program).close();
    let main = format!("{} ", program.pid());
    let mut seen = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap() {
        // Threads of the runtime that were idle may end.
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let name = stat[stat.find('(').unwrap() + 1..].split([')', '-']).next().unwrap();
        if name == "iou" {
            // The kernel's own.
            continue;
        }
        let expected = if stat.starts_with(&main) || name == "worker" { own.as_str() } else { standing_back };
        assert_eq!(policy(&stat), expected, "{stat}");
        seen.push(name.to_owned());
    }
    for name in ["nova", "log", "control", "recorder", "sqlx", "worker"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
}
