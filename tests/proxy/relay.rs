//! Consoles through the real program.

use std::io::{Read, Write};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::client::{Client, End, masked, request};
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    bytes_go_both_ways_and_the_compute_nodes_end_is_a_close_1000,
    the_token_may_come_in_a_cookie_or_a_nested_path,
    everything_in_one_segment_is_delivered,
    what_a_tenant_sends_last_still_arrives,
    a_tenant_that_vanishes_takes_its_console_along,
    sigterm_closes_sessions_with_1001_and_ends_with_status_0,
    other_signals_do_not_end_sessions,
}

fn bytes_go_both_ways_and_the_compute_nodes_end_is_a_close_1000(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        assert_eq!(compute::read(&mut stream, 1), [1], "ClientInit");
        stream.write_all(b"ServerInit").unwrap();
        assert_eq!(compute::read(&mut stream, 8), b"keypress");
        stream.write_all(b"last words").unwrap();
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/websockify?token={token}"), &[]);
    client.rfb_handshake();
    client.frame(2, &[1]);
    assert_eq!(client.read_frame(), (0x82, b"ServerInit".to_vec()));
    client.send(&masked(0x02, b"key"));
    client.send(&masked(0x89, b"ping"));
    assert_eq!(client.read_frame(), (0x8a, b"ping".to_vec()));
    client.send(&masked(0x80, b"press"));
    assert_eq!(client.read_frame(), (0x82, b"last words".to_vec()));
    assert_eq!(client.read_frame(), (0x88, [&[0x03, 0xe8], b"Target closed".as_slice()].concat()));
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![], End::Fin));
    compute.join().unwrap();
    program.wait_for_log("console relay ended");
    assert!(!program.log().contains(&token));
}

fn the_token_may_come_in_a_cookie_or_a_nested_path(engine: &str) {
    let program = Program::start(&Options::on(engine));
    for carrier in 0..2 {
        let (port, compute) = compute::serve(|mut stream| compute::rfb_handshake(&mut stream));
        let token = program.token("novnc", port, 600 + carrier);
        let cookie = format!("Cookie: csrf=x; token=\"{token}\"; other=1");
        let nested = format!("/?path=%3Ftoken%3D{token}");
        let mut client = match carrier {
            0 => Client::upgrade(program.address, "/websockify", &[&cookie]),
            _ => Client::upgrade(program.address, &nested, &[]),
        };
        client.rfb_handshake();
        compute.join().unwrap();
        assert_eq!(client.read_frame().0, 0x88);
    }
}

fn everything_in_one_segment_is_delivered(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        compute::read(&mut stream, 9)
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::connect(program.address);
    let mut segment =
        request(&format!("/?token={token}"), &["Sec-WebSocket-Protocol: base64, binary"]).into_bytes();
    segment.extend(masked(0x82, b"RFB 003.008\n\x01"));
    segment.extend(masked(0x82, b"\x01"));
    segment.extend(masked(0x82, b"keypress"));
    client.send(&segment);
    assert!(client.head().contains("\r\nSec-WebSocket-Protocol: binary\r\n"));
    assert_eq!(compute.join().unwrap(), b"\x01keypress");
}

fn what_a_tenant_sends_last_still_arrives(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        // The proxy's socket to us fills up while we do not read.
        std::thread::sleep(Duration::from_millis(300));
        compute::read_all(&mut stream).len()
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    let payload = vec![0x55; 1_000_000];
    client.frame(2, &payload);
    client.frame(8, &[0x03, 0xe9]);
    assert_eq!(client.rest(), (vec![0x88, 2, 0x03, 0xe9], End::Fin));
    assert_eq!(compute.join().unwrap(), payload.len());
}

fn a_tenant_that_vanishes_takes_its_console_along(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let before = program.sockets_at_rest();
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest)
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    drop(client);
    assert_eq!(compute.join().unwrap().unwrap(), b"");
    let until = std::time::Instant::now() + Duration::from_secs(15);
    while program.sockets() > before {
        assert!(std::time::Instant::now() < until, "sockets are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sigterm_closes_sessions_with_1001_and_ends_with_status_0(engine: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut program = Program::start(&Options::on(engine));
        let (port, compute) = compute::serve(|mut stream| {
            compute::rfb_handshake(&mut stream);
            compute::read_all(&mut stream)
        });
        let token = program.token("novnc", port, 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        client.rfb_handshake();
        let ended = std::thread::spawn(move || client.rest());
        assert_eq!(program.end(signal), 0);
        let (bytes, end) = ended.join().unwrap();
        assert_eq!(bytes, [&[0x88, 12, 0x03, 0xe9], b"Going away".as_slice()].concat());
        assert_eq!(end, End::Fin);
        assert_eq!(compute.join().unwrap(), b"");
        assert!(program.log().contains("In exit"), "{}", program.log());
    }
}

fn other_signals_do_not_end_sessions(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        compute::read(&mut stream, 5)
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPIPE] {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(program.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    client.frame(2, b"alive");
    assert_eq!(compute.join().unwrap(), b"alive");
}
