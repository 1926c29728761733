//! Consoles behind a CONNECT preamble (`internal_access_path`), through the real program.

use std::io::Write;
use std::net::TcpStream;

use super::client::{Client, End};
use super::compute;
use super::program::{INSTANCE, Options, Program};

on_both_engines! {
    the_preamble_is_novas_and_what_follows_it_is_the_consoles,
    an_answer_that_is_no_success_refuses_the_session,
}

const PATH: &str = "/console?ref=OpaqueRef:1234";

/// Opens a console behind [`PATH`] whose compute node plays `script`.
fn open<T: Send + 'static>(
    program: &Program,
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Client, std::thread::JoinHandle<T>) {
    let (port, compute) = compute::serve(script);
    let port = port.to_string();
    let url = program.token_tool(&[
        "create",
        "--type",
        "novnc",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--instance",
        INSTANCE,
        "--ttl",
        "600",
        "--base-url",
        "http://127.0.0.1/vnc_lite.html",
        "--internal-access-path",
        PATH,
        "--init",
    ]);
    let token = &url[url.len() - 36..];
    (Client::upgrade(program.address, &format!("/?token={token}"), &[]), compute)
}

fn the_preamble_is_novas_and_what_follows_it_is_the_consoles(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let request = format!("CONNECT {PATH} HTTP/1.1\r\n\r\n");
    let len = request.len();
    let (mut client, compute) = open(&program, move |mut stream| {
        let seen = compute::read(&mut stream, len);
        // The console's first bytes come with the head, as XenServer sends them.
        stream.write_all(b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nRFB 003.008\n").unwrap();
        assert_eq!(compute::read(&mut stream, 12), b"RFB 003.008\n");
        stream.write_all(&[1, 1]).unwrap();
        assert_eq!(compute::read(&mut stream, 1), [1]);
        stream.write_all(&[0, 0, 0, 0]).unwrap();
        seen
    });
    client.rfb_handshake();
    assert_eq!(compute.join().unwrap(), request.as_bytes());
    assert!(!program.log().contains("OpaqueRef"), "the path can hold a session of the hypervisor");
}

fn an_answer_that_is_no_success_refuses_the_session(engine: &str) {
    let program =
        Program::start(&Options { own: "port_check = off\ntunnel_timeout_ms = 500", ..Options::on(engine) });
    let answers: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "Invalid Connection Info: compute refused CONNECT"),
        (&[b'x'; 5_000], "Invalid Connection Info: compute answered CONNECT with a head over 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\n", "Invalid Connection Info: compute closed the connection during CONNECT"),
        (b"", "timed out while waiting for the answer to CONNECT"),
    ];
    for (answer, reason) in answers {
        let leaves = answer.starts_with(b"HTTP/1.1 200");
        let (mut client, compute) = open(&program, move |mut stream| {
            stream.write_all(answer).unwrap();
            if leaves {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let mut rest = Vec::new();
            // What we have not read when the proxy leaves may end in a reset.
            let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
        });
        assert_eq!(client.rest(), (vec![0x88, 0], End::Fin), "{reason}");
        program.wait_for_log(&format!("handler exception: {reason}"));
        compute.join().unwrap();
    }
}
