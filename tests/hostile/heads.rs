//! Tenants who have no console yet: slow, huge and smuggled heads, slow and odd TLS.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, TRANSPORTS, Transport, assert_cut_off_at, echoes, until_cut_off};
use crate::balancer::HaProxy;
use crate::client::{Client, masked, request, tcp};

on_both_engines! {
    a_slow_head_is_cut_off_in_time,
    a_slow_hello_is_cut_off_in_time,
    a_huge_head_is_refused,
    nothing_is_smuggled_behind_a_load_balancer,
    nothing_is_renegotiated,
    tiny_records_are_served,
}

const LIMIT: Duration = Duration::from_millis(800);

/// Sends `bytes` one at a time until the other side has had enough.
fn drip(wire: &mut impl Write, bytes: &[u8]) {
    for byte in bytes {
        if wire.write_all(&[*byte]).and_then(|()| wire.flush()).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn a_slow_head_is_cut_off_in_time(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "head_timeout_ms = 800");
        let mut slow: Vec<_> = (0..20).map(|_| arena.connect()).collect();
        let started = Instant::now();
        for wire in &mut slow {
            wire.write_all(b"GET").unwrap();
        }
        let dripping: Vec<_> = slow
            .into_iter()
            .map(|mut wire| {
                thread::spawn(move || {
                    drip(&mut wire, b" /?token=x HTTP/1.1\r\nHost: h");
                    until_cut_off(&mut wire).0
                })
            })
            .collect();
        arena.assert_rests();
        for wire in dripping {
            let end = wire.join().unwrap();
            // The dripping itself takes three seconds, in which the end is not looked for.
            assert_cut_off_at(end - started, LIMIT);
        }
        arena.end(8 << 20);
    }
}

fn a_slow_hello_is_cut_off_in_time(engine: &str) {
    let arena = Arena::new(engine, "nova-serialproxy", Transport::Tls, "tls_handshake_timeout_ms = 800");
    let started = Instant::now();
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut wire = tcp(arena.program.address);
            thread::spawn(move || {
                drip(&mut wire, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7, 7, 7, 7, 7]);
                until_cut_off(&mut wire).0
            })
        })
        .collect();
    arena.assert_rests();
    for wire in slow {
        assert_cut_off_at(wire.join().unwrap() - started, LIMIT);
    }
    arena.end(8 << 20);
}

fn a_huge_head_is_refused(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "");
        for (start, filler, says) in [
            ("GET /", "a", "HTTP/1.1 414 "),
            ("GET / HTTP/1.1\r\nHost: h\r\nX-A: ", "a", "HTTP/1.1 431 "),
            ("GET / HTTP/1.1\r\nHost: h\r\n", "X-A: b\r\n", "HTTP/1.1 431 "),
        ] {
            let mut client = Client::over(arena.connect());
            client.send(start.as_bytes());
            let filler = filler.repeat(10_000);
            // What is refused is not read to its end: sixteen times what the largest head may have. A client of TLS
            // that cannot write does not read either.
            let most = if transport == Transport::Plain { 16 * 65_536 } else { 66_000 };
            for _ in 0..most / filler.len() + 1 {
                if client.stream.write_all(filler.as_bytes()).is_err() {
                    break;
                }
            }
            let _ = client.stream.flush();
            let head = client.head();
            assert!(head.starts_with(says), "{head}");
        }
        arena.end(8 << 20);
    }
}

/// Requests hidden in bodies, which a load balancer and the gate might count differently.
fn nothing_is_smuggled_behind_a_load_balancer(engine: &str) {
    let arena = Arena::new(engine, "nova-serialproxy", Transport::Plain, "");
    let token = arena.token("serial", echoes(false));
    let hidden = request(&format!("/?token={token}"), &[]);
    let (len, chunk) = (hidden.len(), format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()));
    for reuse in ["never", "always"] {
        let balancer = HaProxy::before(&arena.program, "http", "", "", &format!("http-reuse {reuse}"));
        let start = arena.program.log().len();
        for method in ["GET", "HEAD", "POST", "PUT"] {
            for (fields, body) in [
                (format!("Content-Length: {len}"), &hidden),
                ("Transfer-Encoding: chunked".to_owned(), &chunk),
                (format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunk.len()), &chunk),
                (format!("Content-Length: {}\r\nTransfer-Encoding: chunked", 5), &chunk),
                (format!("Content-Length: {len}\r\nUpgrade: websocket\r\nConnection: Upgrade"), &hidden),
                (format!("Content-Length : {len}"), &hidden),
                (format!("X: y\rContent-Length: {len}"), &hidden),
            ] {
                let mut client = Client::over(tcp(balancer.address));
                client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}").as_bytes());
                // Somebody else's request, which must not get the hidden one's answer.
                let mut other = Client::over(tcp(balancer.address));
                other.send(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                assert!(other.head().starts_with("HTTP/1.1 405 "), "{method} {fields}");
                client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                let heads = String::from_utf8_lossy(&client.rest().0).into_owned();
                assert!(
                    heads.starts_with("HTTP/1.1 4") && !heads.contains(" 101 "),
                    "{method} {fields}: {heads}"
                );
            }
        }
        let log = arena.program.log();
        assert!(!log[start..].contains("WebSocket connection"), "{}", &log[start..]);
    }
    arena.end(8 << 20);
}

/// TLS 1.2's renegotiation, which has let strangers put bytes in front of others' (CVE-2009-3555).
fn nothing_is_renegotiated(engine: &str) {
    let arena = Arena::new(engine, "nova-serialproxy", Transport::Tls, "");
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &arena.program.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A line that is only R asks s_client to renegotiate.
    client.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Protocol  : TLSv1.2") && said.contains("RENEGOTIATING"), "{said}");
    let refused = ["no renegotiation", "unexpected eof", "unexpected message", "handshake failure"];
    assert!(refused.iter().any(|text| said.contains(text)), "{said}");
    arena.end(8 << 20);
}

/// Each byte of a session in a record of its own.
fn tiny_records_are_served(engine: &str) {
    let arena = Arena::new(engine, "nova-serialproxy", Transport::Tls, "");
    let token = arena.token("serial", echoes(false));
    let mut client = Client::over(arena.connect());
    let each = |client: &mut Client<_>, bytes: &[u8]| {
        for byte in bytes {
            Write::write_all(&mut client.stream, &[*byte]).unwrap();
            Write::flush(&mut client.stream).unwrap();
        }
    };
    each(&mut client, request(&format!("/?token={token}"), &[]).as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let text: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    each(&mut client, &masked(0x82, &text));
    let mut heard = Vec::new();
    while heard.len() < text.len() {
        let (opcode, payload) = client.read_frame();
        if opcode == 0x82 {
            heard.extend(payload);
        }
    }
    assert!(heard == text);
    drop(client);
    arena.end(8 << 20);
}
