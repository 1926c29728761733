//! How many consoles there may be: what is over a bound is refused or waits, and what is open never notices.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use consolegate::proto::bytes::storage_bytes;

use super::admin::{counted, metrics};
use super::client::{Client, request, tcp};
use super::live::Live;
use super::program::{INSTANCE, Options, Program};

on_both_engines! {
    a_process_has_as_many_consoles_as_it_may,
    an_instance_has_as_many_consoles_as_it_may,
    connections_beyond_what_their_buffers_may_hold_wait_in_the_queue,
    connections_one_by_one_use_up_one_each_of_those_that_may_come_in_a_second,
}

const OTHER: &str = "99999999-2222-3333-4444-555555555555";

fn start(engine: &str, own: &str) -> Program {
    let own = format!("port_check = off\nadmin_socket = admin.sock\nexplain_refusals = true\n{own}");
    Program::start(&Options { name: "nova-serialproxy", own: &own, ..Options::on(engine) })
}

/// A port whose consoles echo.
fn echoes() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// Asks for a console of `instance`, types, and returns the first that comes: the echo or a Close.
fn open(program: &Program, instance: &str, port: u16) -> (Client, (u8, Vec<u8>)) {
    let port = port.to_string();
    let place = ["--type", "serial", "--host", "127.0.0.1", "--port", &port, "--instance", instance];
    let url = program.token_tool(&[&["create", "--init", "--ttl", "600"], &place[..]].concat());
    let token = url[url.len() - 36..].to_owned();
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.frame(2, b"typed");
    let first = client.read_frame();
    (client, first)
}

fn is_admitted(first: &(u8, Vec<u8>)) -> bool {
    if first.0 == 0x88 {
        assert_eq!(first.1[..2], 1013_u16.to_be_bytes());
        return false;
    }
    assert_eq!(*first, (0x82, b"typed".to_vec()));
    true
}

fn close(mut client: Client) {
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
}

fn assert_rejected(program: &Program, reason: &str, count: usize) {
    let line = format!("consolegate_rejected_total{{reason=\"{reason}\"}} {count}\n");
    let metrics = metrics(program);
    assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
}

/// One of `held` leaves, and the next that asks for its instance is let in.
fn see_a_place_become_free(program: &Program, held: Client, port: u16) {
    close(held);
    let until = Instant::now() + Duration::from_secs(60);
    while !is_admitted(&open(program, INSTANCE, port).1) {
        assert!(Instant::now() < until, "its place stays taken:\n{}", program.log());
    }
}

fn a_process_has_as_many_consoles_as_it_may(engine: &str) {
    let program = start(engine, "consoles_max = 2");
    let port = echoes();
    let (mut first, echo) = open(&program, INSTANCE, port);
    assert!(is_admitted(&echo));
    let (second, echo) = open(&program, OTHER, port);
    assert!(is_admitted(&echo));
    for instance in [INSTANCE, OTHER] {
        assert!(!is_admitted(&open(&program, instance, port).1), "a third");
    }
    program.wait_for_log("too many consoles are open in this process (consoles_max)");
    assert_rejected(&program, "consoles", 2);
    first.frame(2, b"goes on");
    assert_eq!(first.read_frame(), (0x82, b"goes on".to_vec()));
    see_a_place_become_free(&program, second, port);
}

fn an_instance_has_as_many_consoles_as_it_may(engine: &str) {
    let program = start(engine, "consoles_per_instance_max = 2");
    let port = echoes();
    let (mut first, echo) = open(&program, INSTANCE, port);
    assert!(is_admitted(&echo));
    let (second, echo) = open(&program, INSTANCE, port);
    assert!(is_admitted(&echo));
    assert!(!is_admitted(&open(&program, INSTANCE, port).1), "a third");
    program.wait_for_log("too many consoles are open of this instance (consoles_per_instance_max)");
    assert_rejected(&program, "consoles_of_instance", 1);
    let (other, echo) = open(&program, OTHER, port);
    assert!(is_admitted(&echo), "another instance");
    close(other);
    first.frame(2, b"goes on");
    assert_eq!(first.read_frame(), (0x82, b"goes on".to_vec()));
    see_a_place_become_free(&program, second, port);
}

/// Three connections hold two buffers each, of 64 KiB and the room for a header.
fn connections_beyond_what_their_buffers_may_hold_wait_in_the_queue(engine: &str) {
    let (read_bytes, pool_bytes) = (65_536, 1_048_576);
    let all = pool_bytes + 3 * 2 * storage_bytes(read_bytes);
    let own = format!(
        "workers = 1\nread_bytes = {read_bytes}\npool_bytes = {pool_bytes}\nrelay_buffers_bytes = {all}\n\
         bulk_buffers_max = 0"
    );
    let options =
        Options { name: "nova-serialproxy", own: &format!("port_check = off\n{own}"), ..Options::on(engine) };
    let program = Program::start(&options);
    program.wait_for_log("up to 3 connections each");
    let mut held: Vec<_> = (0..3).map(|_| Live::open(&program)).collect();
    let port = echoes();
    let token = program.token("serial", port, 600);
    let mut next = Client::connect(program.address);
    next.send(request(&format!("/?token={token}"), &[]).as_bytes());
    next.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let unanswered = next.stream.read(&mut [0]).unwrap_err();
    assert!(matches!(unanswered.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{unanswered}");
    held.iter_mut().for_each(Live::assert_echoes);
    held.pop().unwrap().close();
    next.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(next.head().starts_with("HTTP/1.1 101 "));
    next.frame(2, b"at last");
    assert_eq!(next.read_frame(), (0x82, b"at last".to_vec()));
    held.iter_mut().for_each(Live::assert_echoes);
}

fn connections_one_by_one_use_up_one_each_of_those_that_may_come_in_a_second(engine: &str) {
    let program = start(engine, "workers = 1\naccepts_per_second_max = 50");
    let come = |count: usize| {
        for _ in 0..count {
            let mut client = Client::over(tcp(program.address));
            client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 405 "));
        }
    };
    come(45);
    assert!(counted(&program, "accept_pauses").is_empty(), "{:?}", counted(&program, "accept_pauses"));
    come(45);
    let begun = Instant::now();
    come(45);
    // On a machine that takes longer than that for them, none was too early.
    let paused = counted(&program, "accept_pauses");
    assert!(!paused.is_empty() || begun.elapsed() > Duration::from_millis(900), "{paused:?}");
}
