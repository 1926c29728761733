//! Sessions spread over the workers, however the kernel hashes their connections over the listeners.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use super::admin;
use super::client::Client;
use super::program::{Options, Program};

on_both_engines! {
    sessions_that_the_kernel_gives_to_one_worker_are_spread_over_all,
    sessions_that_the_kernel_spreads_stay_spread,
}

const WORKERS: usize = 4;
const SESSIONS: usize = 300;

fn start(engine: &str) -> Program {
    let own =
        format!("port_check = off\nadmin_socket = admin.sock\nworkers = {WORKERS}\nping_interval_ms = 0");
    let program = Program::start(&Options { name: "nova-serialproxy", own: &own, ..Options::on(engine) });
    // The program listens a moment before its workers are there.
    program.wait_for_log("sandbox: ");
    program
}

/// Makes the kernel give every further connection to the first of the listeners at this address, as a hash could. A
/// filter belongs to all that listen there, and outlives the socket that brings it.
fn give_all_to_the_first(address: SocketAddr) {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReusePort, &true).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    listen(&fd, Backlog::new(1).unwrap()).unwrap();
    let code = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap();
    let mut choose = libc::sock_filter { code, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut choose };
    setsockopt(&fd, sockopt::AttachReusePortCbpf, &program).unwrap();
}

/// A compute node that sends each tenant's first four bytes back, and keeps the connections.
fn echo() -> (u16, JoinHandle<Vec<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let mut streams: Vec<_> = (0..SESSIONS).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut streams {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
        streams
    });
    (port, thread)
}

/// Sessions of each worker.
fn spread(program: &Program) -> Vec<usize> {
    let metrics = admin::metrics(program);
    let samples = metrics.lines().filter_map(|line| {
        line.strip_prefix("consolegate_worker_sessions_active{worker=\"")?.split_once("\"} ")
    });
    let samples = samples.map(|(worker, value)| (worker.parse().unwrap(), value.parse().unwrap()));
    let samples: Vec<(usize, usize)> = samples.collect();
    assert!(samples.iter().map(|(worker, _)| *worker).eq(0..WORKERS), "{metrics}");
    samples.into_iter().map(|(_, sessions)| sessions).collect()
}

/// Tenants, and the ends of their consoles.
type Consoles = (Vec<Client>, Vec<TcpStream>);

/// Opens the sessions, all from one address, and tells how many each worker has.
fn open(program: &Program) -> (Consoles, Vec<usize>) {
    let (port, compute) = echo();
    let target = format!("/?token={}", program.token("serial", port, 600));
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| Client::upgrade(program.address, &target, &[])).collect();
    for (number, client) in (0_u32..).zip(&mut clients) {
        client.frame(2, &number.to_be_bytes());
    }
    for (number, client) in (0_u32..).zip(&mut clients) {
        assert_eq!(client.read_frame(), (0x82, number.to_be_bytes().to_vec()));
    }
    let computes = compute.join().unwrap();
    ((clients, computes), spread(program))
}

fn sessions_that_the_kernel_gives_to_one_worker_are_spread_over_all(engine: &str) {
    let mut program = start(engine);
    give_all_to_the_first(program.address);
    let ((mut clients, _computes), sessions) = open(&program);
    assert_eq!(sessions.iter().sum::<usize>(), SESSIONS);
    let (least, most) = (sessions.iter().min().unwrap(), sessions.iter().max().unwrap());
    assert!(*most <= least + least / 4 + 2, "{sessions:?}");
    let handed_over = admin::counted(&program, "handed_over");
    println!("{sessions:?}, handed over: {handed_over:?}");
    assert_eq!(handed_over.len(), 1);
    // Those that were handed over are ended like the others.
    assert_eq!(program.end(Signal::SIGTERM), 0);
    for client in &mut clients {
        assert_eq!(client.read_frame(), (0x88, b"\x03\xe9Going away".to_vec()));
    }
}

fn sessions_that_the_kernel_spreads_stay_spread(engine: &str) {
    let program = start(engine);
    let (consoles, sessions) = open(&program);
    let (least, most) = (sessions.iter().min().unwrap(), sessions.iter().max().unwrap());
    println!("{sessions:?}, handed over: {:?}", admin::counted(&program, "handed_over"));
    assert_eq!(sessions.iter().sum::<usize>(), SESSIONS);
    assert!(*most <= least + least / 4 + 8, "{sessions:?}");
    drop(consoles);
    let until = Instant::now() + Duration::from_secs(20);
    while spread(&program) != [0; WORKERS] {
        assert!(Instant::now() < until, "{:?}", spread(&program));
        thread::sleep(Duration::from_millis(20));
    }
}
