//! Serial consoles: text frames are bytes, and there are no web files.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use super::client::{Client, End, masked, request};
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    text_and_binary_frames_arrive_as_their_bytes,
    text_that_is_no_utf8_is_refused_with_1007,
    text_is_refused_with_1003_where_the_operator_wants_it,
    what_is_typed_before_the_console_is_there_arrives,
    a_script_that_sends_and_leaves_at_once_is_obeyed,
    there_are_no_web_files,
}

fn start(engine: &str, own: &str) -> Program {
    let own = format!("port_check = off\n{own}");
    // Nova's serial proxy has no web root unless one is configured for it.
    Program::start(&Options { name: "nova-serialproxy", default: "", own: &own, ..Options::on(engine) })
}

fn text_and_binary_frames_arrive_as_their_bytes(engine: &str) {
    let program = start(engine, "");
    let (port, compute) = compute::serve(|mut stream| {
        let mut seen = compute::read(&mut stream, 16);
        stream.write_all("grüße\r\n".as_bytes()).unwrap();
        seen.extend(compute::read_all(&mut stream));
        seen
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.frame(1, b"text\n");
    // A character that is split between two fragments is one all the same.
    client.send(&masked(0x01, b"f\xc3"));
    client.send(&masked(0x89, b"p"));
    client.send(&masked(0x80, b"\xbcr\n"));
    client.frame(2, b"bin\xff\x00\n");
    assert_eq!(client.read_frame(), (0x8a, b"p".to_vec()));
    let answer = client.read_frame();
    assert_eq!(answer, (0x82, "grüße\r\n".as_bytes().to_vec()), "to the tenant, always binary");
    client.frame(1, b"");
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![0x88, 2, 0x03, 0xe8], End::Fin));
    assert_eq!(compute.join().unwrap(), b"text\nf\xc3\xbcr\nbin\xff\x00\n");
    assert!(!program.log().contains(&token));
}

/// Sends `frames` to a serial console, and returns the code of the Close that comes back and what the guest got.
fn closed_for(program: &Program, frames: &[(u8, &[u8])]) -> (u16, Vec<u8>) {
    let (port, compute) = compute::serve(|mut stream| compute::read_all(&mut stream));
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    for (first, payload) in frames {
        client.send(&masked(*first, payload));
    }
    let (opcode, payload) = client.read_frame();
    assert_eq!((opcode, client.rest()), (0x88, (vec![], End::Fin)));
    (u16::from_be_bytes([payload[0], payload[1]]), compute.join().unwrap())
}

fn text_that_is_no_utf8_is_refused_with_1007(engine: &str) {
    let program = start(engine, "");
    for frames in [
        &[(0x82, b"before".as_slice()), (0x81, b"\xff\n")][..],
        &[(0x82, b"before"), (0x81, b"cut off \xe2\x82")],
        &[(0x82, b"before"), (0x01, b"\xed"), (0x80, b"\xa0\x80")],
    ] {
        let (code, seen) = closed_for(&program, frames);
        assert_eq!(code, 1007, "{frames:?}");
        assert!(seen.starts_with(b"before"), "{frames:?}: {seen:?}");
    }
}

fn text_is_refused_with_1003_where_the_operator_wants_it(engine: &str) {
    let program = start(engine, "serial_text_frames = refuse");
    let frames: [(u8, &[u8]); 2] = [(0x82, b"bytes"), (0x81, b"text")];
    assert_eq!(closed_for(&program, &frames), (1003, b"bytes".to_vec()));
}

fn what_is_typed_before_the_console_is_there_arrives(engine: &str) {
    let program = start(engine, "");
    let (port, compute) = compute::serve(|mut stream| compute::read(&mut stream, 11));
    let token = program.token("serial", port, 600);
    let mut client = Client::connect(program.address);
    let mut segment =
        request(&format!("/?token={token}"), &["Sec-WebSocket-Protocol: binary, base64"]).into_bytes();
    // Horizon's page sends one CR the moment its socket opens.
    segment.extend(masked(0x82, b"\r"));
    client.send(&segment);
    client.send(&masked(0x81, b"early text"));
    assert!(client.head().contains("\r\nSec-WebSocket-Protocol: binary\r\n"));
    assert_eq!(compute.join().unwrap(), b"\rearly text");
}

/// How a script leaves that has sent all it has.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    CloseFrame,
    Fin,
    /// A Close frame, and then the socket closed over bytes that nobody read, which is RST. What its system had
    /// not sent by then is lost, so this is for what fits into a receive buffer.
    CloseFrameThenReset,
}

fn a_script_that_sends_and_leaves_at_once_is_obeyed(engine: &str) {
    let program = start(engine, "");
    for (leaving, lines) in
        [(Leaving::CloseFrame, 60_000), (Leaving::Fin, 60_000), (Leaving::CloseFrameThenReset, 2_500)]
    {
        let (port, compute) = compute::serve(|mut stream| {
            // The proxy's socket to us fills up while we do not read.
            thread::sleep(Duration::from_millis(300));
            compute::read_all(&mut stream)
        });
        let token = program.token("serial", port, 600);
        let payload = "0123456789abcde\n".repeat(lines).into_bytes();
        let mut segment = request(&format!("/?token={token}"), &[]).into_bytes();
        segment.extend(masked(0x81, &payload));
        if !matches!(leaving, Leaving::Fin) {
            segment.extend(masked(0x88, &[]));
        }
        let mut client = Client::connect(program.address);
        client.send(&segment);
        match leaving {
            Leaving::CloseFrame => assert!(client.rest().0.ends_with(&[0x88, 0])),
            Leaving::Fin => {
                client.stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.rest().1, End::Fin);
            }
            // Waits for the 101, and does not read it.
            Leaving::CloseFrameThenReset => assert_eq!(client.stream.peek(&mut [0]).unwrap(), 1),
        }
        drop(client);
        assert!(compute.join().unwrap() == payload, "{leaving:?}");
    }
}

fn there_are_no_web_files(engine: &str) {
    let program = start(engine, "");
    for method in ["GET", "HEAD"] {
        for path in ["/", "/vnc.html", "/?token=x"] {
            let mut client = Client::connect(program.address);
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            let (answer, end) = client.rest();
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{method} {path}: {head}");
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}: {body}");
            assert_eq!(end, End::Fin);
        }
    }
}
