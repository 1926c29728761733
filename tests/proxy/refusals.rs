//! Refusals on the wire, byte for byte: 101, an empty Close, FIN; never a data frame, never RST.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, End};
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    refused_tokens_look_the_same,
    pages_of_other_sites_are_refused,
    a_refusal_is_explained_where_the_operator_wants_it,
    without_a_message_bus_the_port_check_fails_closed,
    a_compute_node_with_an_old_rfb_version_ends_with_close_1000,
    no_common_security_type_is_told_in_rfb,
    a_tenant_with_an_old_rfb_version_ends_with_close_1000,
    upgrades_that_are_none_are_answered_in_http,
}

/// Upgrades with `target` and returns all bytes behind the 101, and how the connection ended.
fn refused(program: &Program, target: &str, headers: &[&str]) -> (Vec<u8>, End) {
    let mut client = Client::upgrade(program.address, target, headers);
    // Bytes under way when the refusal comes must not turn the FIN into RST.
    client.frame(2, b"RFB 003.008\n");
    client.rest()
}

/// What every refusal looks like.
fn empty_close() -> (Vec<u8>, End) {
    (vec![0x88, 0x00], End::Fin)
}

fn refused_tokens_look_the_same(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let port = compute::dead_port();
    let expired = program.token("novnc", port, 1);
    let serial = program.token("serial", port, 600);
    thread::sleep(Duration::from_millis(2_100));
    for (target, why) in [
        ("/".to_owned(), "The token '***' is invalid or has expired"),
        ("/?token=unknown".to_owned(), "The token '***' is invalid or has expired"),
        (format!("/?token={expired}"), "The token '***' is invalid or has expired"),
        (format!("/?token={serial}"), "the token is for a serial console, this program serves novnc"),
    ] {
        assert_eq!(refused(&program, &target, &[]), empty_close(), "{target}");
        program.wait_for_log(why);
    }
    for token in [&expired, &serial, "unknown"] {
        assert!(!program.log().contains(token), "the log holds a token:\n{}", program.log());
    }
}

fn pages_of_other_sites_are_refused(engine: &str) {
    let program = Program::start(&Options {
        extra: "[console]\nallowed_origins = friend.example",
        ..Options::on(engine)
    });
    let token = program.token("novnc", compute::dead_port(), 600);
    let target = format!("/?token={token}");
    for (origin, why) in [
        ("Origin: http://evil.example", "Origin header does not match this host."),
        ("Origin: https://127.0.0.1:6080", "Origin header protocol does not match this host."),
        ("Origin: null", "Origin header not valid."),
    ] {
        assert_eq!(refused(&program, &target, &[origin]), empty_close(), "{origin}");
        program.wait_for_log(why);
    }
    // These two pass the check, and fail later: nothing listens at the token's port.
    for (sessions, origin) in [(1, "Origin: http://127.0.0.1:6080"), (2, "Origin: http://friend.example")] {
        assert_eq!(refused(&program, &target, &[origin]), empty_close(), "{origin}");
        // The log is written later than the refusal is sent.
        let until = Instant::now() + Duration::from_secs(20);
        while program.log().matches("connecting to:").count() != sessions {
            assert!(Instant::now() < until, "{origin}:\n{}", program.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
    program.wait_for_log("Connection refused");
}

fn a_refusal_is_explained_where_the_operator_wants_it(engine: &str) {
    let program =
        Program::start(&Options { own: "port_check = off\nexplain_refusals = true", ..Options::on(engine) });
    let mut expected = vec![0x88, 2 + 23, 0x03, 0xf0];
    expected.extend(b"console session refused");
    assert_eq!(refused(&program, "/?token=unknown", &[]), (expected, End::Fin));
}

fn without_a_message_bus_the_port_check_fails_closed(engine: &str) {
    let default = "web =\ntransport_url = rabbit://127.0.0.1:1/\nrpc_response_timeout = 1";
    let program = Program::start(&Options { own: "", default, ..Options::on(engine) });
    let (port, compute) = compute::serve(|_| ());
    let token = program.token("novnc", port, 600);
    assert_eq!(refused(&program, &format!("/?token={token}"), &[]), empty_close());
    program.wait_for_log("127.0.0.1:1: Connection refused");
    assert!(!compute.is_finished(), "the compute node was contacted");
    // Lets the compute thread go.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    compute.join().unwrap();
}

/// Runs a whole VNC handshake against a compute node that sends `server_sends`, and returns the frames
/// behind the 101.
fn negotiate(
    engine: &str,
    server_sends: &'static [&'static [u8]],
    tenant_sends: &[&[u8]],
) -> (Vec<u8>, End, String) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(move |mut stream| {
        for bytes in server_sends {
            let _ = stream.write_all(bytes);
            thread::sleep(Duration::from_millis(50));
        }
        compute::read_all(&mut stream)
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    for bytes in tenant_sends {
        client.frame(2, bytes);
    }
    let (bytes, end) = client.rest();
    compute.join().unwrap();
    // The end is seen before its line is written.
    program.wait_for_log("handler exception: ");
    (bytes, end, program.log())
}

fn a_compute_node_with_an_old_rfb_version_ends_with_close_1000(engine: &str) {
    let (bytes, end, log) = negotiate(engine, &[b"RFB 003.003\n"], &[]);
    assert_eq!((bytes, end), (vec![0x88, 2, 0x03, 0xe8], End::Fin));
    assert!(log.contains("003.003"), "{log}");
}

fn no_common_security_type_is_told_in_rfb(engine: &str) {
    let (bytes, end, _) = negotiate(engine, &[b"RFB 003.008\n", &[1, 2]], &[b"RFB 003.008\n", &[1]]);
    let mut expected = vec![0x82, 12];
    expected.extend(b"RFB 003.008\n");
    expected.extend([0x82, 2, 1, 1]);
    expected.extend([0x82, 48, 0, 0, 0, 1, 0, 0, 0, 40]);
    expected.extend(b"Unable to negotiate security with server");
    expected.extend([0x88, 2, 0x03, 0xe8]);
    assert_eq!((bytes, end), (expected, End::Fin));
}

fn a_tenant_with_an_old_rfb_version_ends_with_close_1000(engine: &str) {
    let (bytes, end, log) = negotiate(engine, &[b"RFB 003.008\n", &[1, 1]], &[b"RFB 003.003\n"]);
    let mut expected = vec![0x82, 12];
    expected.extend(b"RFB 003.008\n");
    expected.extend([0x88, 2, 0x03, 0xe8]);
    assert_eq!((bytes, end), (expected, End::Fin));
    assert!(log.contains("tenant"), "{log}");
}

fn upgrades_that_are_none_are_answered_in_http(engine: &str) {
    let program = Program::start(&Options::on(engine));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "405"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n\r\n", "426"),
        ("GET / HTTP/1.1\nHost: h\n\n", "400"),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505"),
    ] {
        let mut client = Client::connect(program.address);
        client.send(request.as_bytes());
        let (answer, end) = client.rest();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert!(answer.contains("Server: WebSockify"), "{answer}");
        assert_eq!(end, End::Fin);
    }
}
