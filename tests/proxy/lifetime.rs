//! What ends a console by the clock, through the real program.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::client::{Client, End};
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    an_enforced_session_ends_with_its_token_as_if_the_target_had,
    an_idle_console_ends_when_the_operator_wants_that,
    a_tenant_that_answers_no_pings_is_let_go_where_that_is_strict,
    both_sockets_of_a_console_keep_themselves_alive,
    both_sockets_of_a_console_send_small_pieces_at_once,
    sessions_that_fail_leave_another_alone,
}

fn start(engine: &str, own: &str, extra: &str) -> Program {
    let own = format!("port_check = off\n{own}");
    Program::start(&Options {
        name: "nova-serialproxy",
        default: "",
        own: &own,
        extra,
        ..Options::on(engine)
    })
}

/// A console that says one thing and then waits for its end.
fn console(program: &Program, ttl: u32) -> (Client, std::thread::JoinHandle<Vec<u8>>) {
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(b"login:").unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("serial", port, ttl);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x82, b"login:".to_vec()));
    (client, compute)
}

fn assert_closes(mut client: Client, code: u16, reason: &str) {
    let frame = loop {
        let frame = client.read_frame();
        if frame.0 != 0x89 {
            break frame;
        }
    };
    assert_eq!(frame, (0x88, [&code.to_be_bytes(), reason.as_bytes()].concat()));
    client.frame(8, &code.to_be_bytes());
    assert_eq!(client.rest(), (vec![], End::Fin));
}

fn an_enforced_session_ends_with_its_token_as_if_the_target_had(engine: &str) {
    let program = start(engine, "", "[consoleauth]\nenforce_session_timeout = true");
    let (client, compute) = console(&program, 3);
    assert_closes(client, 1000, "Target closed");
    assert_eq!(compute.join().unwrap(), b"");
    program.wait_for_log(" seconds to terminate connection.");
    program.wait_for_log("the token expired");
}

fn an_idle_console_ends_when_the_operator_wants_that(engine: &str) {
    let program = start(engine, "idle_timeout_ms = 700\nping_interval_ms = 200", "");
    let (client, compute) = console(&program, 600);
    assert_closes(client, 1000, "Idle for too long");
    assert_eq!(compute.join().unwrap(), b"");
}

fn a_tenant_that_answers_no_pings_is_let_go_where_that_is_strict(engine: &str) {
    let program = start(engine, "ping_strict = true\nping_interval_ms = 200", "");
    let (client, compute) = console(&program, 600);
    assert_closes(client, 1008, "Pings not answered");
    assert_eq!(compute.join().unwrap(), b"");
}

/// Whether the kernel's keep-alive timer runs for the socket of that local and remote port.
fn has_keepalive(local: u16, remote: u16) -> Option<bool> {
    const KEEPALIVE: &str = "02";
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut own = rows.filter(|row| (port(row[1]), port(row[2])) == (local, remote));
    own.next().map(|row| row[5].starts_with(&format!("{KEEPALIVE}:")))
}

fn both_sockets_of_a_console_keep_themselves_alive(engine: &str) {
    let program = start(engine, "", "");
    let (client, compute) = console(&program, 600);
    let (proxy, tenant) = (program.address.port(), client.stream.local_addr().unwrap().port());
    let target = console_port(&program);
    // While something is being acknowledged, that timer stands in for this one.
    let until = Instant::now() + Duration::from_secs(20);
    while has_keepalive(proxy, tenant) != Some(true) || has_keepalive(own_port(target), target) != Some(true)
    {
        assert!(Instant::now() < until, "{}", fs::read_to_string("/proc/net/tcp").unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(client);
    compute.join().unwrap();
}

fn both_sockets_of_a_console_send_small_pieces_at_once(engine: &str) {
    let program = start(engine, "", "");
    let (client, compute) = console(&program, 600);
    let (proxy, tenant) = (program.address.port(), client.stream.local_addr().unwrap().port());
    let target = console_port(&program);
    let mut seen = connections(&program);
    seen.retain(|(from, to, _)| (*from, *to) == (proxy, tenant) || *to == target);
    assert!(matches!(seen.as_slice(), [(.., true), (.., true)]), "{seen:?}");
    drop(client);
    compute.join().unwrap();
}

/// Ports of both ends of each of the program's connections, and whether TCP_NODELAY is on.
fn connections(program: &Program) -> Vec<(u16, u16, bool)> {
    let pid = libc::pid_t::try_from(program.pid()).unwrap();
    // SAFETY: takes numbers alone; the result is a descriptor of ours, or checked to be none.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(process >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was just opened and has no other owner.
    let process = unsafe { OwnedFd::from_raw_fd(i32::try_from(process).unwrap()) };
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let numbers = numbers.map(|one| one.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    let copies = numbers.filter_map(|number| {
        // SAFETY: takes numbers alone; the result is a descriptor of ours, or checked to be none.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
        // SAFETY: it was just opened and has no other owner.
        (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(i32::try_from(copy).unwrap()) })
    });
    let connected = copies.filter_map(|copy| {
        let stream = TcpStream::from(copy);
        let (from, to) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        Some((from.port(), to.port(), stream.nodelay().ok()?))
    });
    connected.collect()
}

/// Wrong tokens, frames that are none, a compute node that is away or resets: beside a console at work.
fn sessions_that_fail_leave_another_alone(engine: &str) {
    let program = start(engine, "", "");
    let (port, compute) = compute::serve(|mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte).unwrap_or(0) == 1 {
            stream.write_all(&byte).unwrap();
        }
    });
    let token = program.token("serial", port, 600);
    let mut working = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    let mut echoes = |byte: u8| {
        working.frame(2, &[byte]);
        assert_eq!(working.read_frame(), (0x82, vec![byte]));
    };
    echoes(0);
    for round in 1..=5 {
        drop(Client::upgrade(program.address, "/?token=unknown", &[]).rest());
        let away = program.token("serial", compute::dead_port(), 600);
        drop(Client::upgrade(program.address, &format!("/?token={away}"), &[]).rest());
        let (wrong, other) = console(&program, 600);
        (&wrong.stream).write_all(&[0xff; 64]).unwrap();
        drop(wrong);
        other.join().unwrap();
        echoes(round);
    }
    drop(working);
    compute.join().unwrap();
}

/// Where the program was led to, as its log says.
fn console_port(program: &Program) -> u16 {
    program.wait_for_log("connecting to: 127.0.0.1:");
    let log = program.log();
    let digits = log.split("connecting to: 127.0.0.1:").nth(1).unwrap();
    digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// The port of the proxy's own socket to `target`.
fn own_port(target: u16) -> u16 {
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut own = rows.filter(|row| port(row[2]) == target && row[3] == "01").map(|row| port(row[1]));
    own.next().unwrap_or(0)
}
