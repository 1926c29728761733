//! SPICE consoles: several WebSockets on one token, raw bytes both ways from the first one on.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use super::client::{Client, End, masked, request};
use super::compute;
use super::program::{Options, Program, directory, secrets};

/// main, display, inputs and cursor: what spice-html5 opens, in this order
const CHANNELS: u8 = 4;

on_both_engines! {
    four_channels_share_the_token_of_one_cookie,
    a_page_its_scripts_and_its_console_come_through_one_connection,
    a_server_that_speaks_first_is_heard,
    text_frames_are_refused_with_1003_on_spice_and_vnc,
    tokens_of_other_consoles_are_refused_before_anything_is_contacted,
}

fn start(engine: &str, default: &str) -> Program {
    Program::start(&Options { name: "nova-spicehtml5proxy", default, ..Options::on(engine) })
}

/// What a channel opens with: magic, and a byte that tells the channels apart.
fn link_message(channel: u8) -> Vec<u8> {
    [b"REDQ\x02\x00\x00\x00\x02\x00\x00\x00", [channel].as_slice()].concat()
}

/// A SPICE server for all channels. Each answers its link message with `REDQ` and its own number, then
/// whatever it gets with the same; it ends with the tenant. Returns how many channels were open at once.
fn spice_server() -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let streams: Vec<_> = (0..CHANNELS).map(|_| listener.accept().unwrap().0).collect();
        let open = streams.len();
        let channels: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                thread::spawn(move || {
                    let link = compute::read(&mut stream, link_message(0).len());
                    let channel = link[link.len() - 1];
                    assert_eq!(link, link_message(channel));
                    stream.write_all(&[b"REDQ", [channel].as_slice()].concat()).unwrap();
                    let message = compute::read(&mut stream, 6);
                    stream.write_all(&[[channel].as_slice(), &message].concat()).unwrap();
                    assert_eq!(compute::read_all(&mut stream), b"");
                })
            })
            .collect();
        channels.into_iter().for_each(|channel| channel.join().unwrap());
        open
    });
    (port, thread)
}

fn four_channels_share_the_token_of_one_cookie(engine: &str) {
    let program = start(engine, "web =");
    let (port, server) = spice_server();
    let token = program.token("spice-html5", port, 600);
    // As a browser has it that is logged in to a dashboard on the same host.
    let cookie = format!("Cookie: sessionid=abc-of-the-dashboard; token={token}; csrftoken=def");
    secrets::issue("abc-of-the-dashboard");
    let headers = [cookie.as_str(), "Sec-WebSocket-Protocol: binary", "Origin: http://127.0.0.1:6082"];
    let mut channels: Vec<_> =
        (0..CHANNELS).map(|_| Client::upgrade(program.address, "/websockify", &headers)).collect();
    // The server answers nobody before all four are connected.
    for (channel, client) in (0..).zip(&mut channels) {
        client.frame(2, &link_message(channel));
    }
    for (channel, client) in (0..).zip(&mut channels) {
        assert_eq!(client.read_frame(), (0x82, vec![b'R', b'E', b'D', b'Q', channel]));
    }
    for client in channels.iter_mut().rev() {
        client.frame(2, b"binary");
    }
    for (channel, client) in (0..).zip(&mut channels) {
        assert_eq!(client.read_frame(), (0x82, [&[channel], b"binary".as_slice()].concat()));
    }
    for client in &mut channels {
        client.frame(8, &[]);
        assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
    }
    assert_eq!(server.join().unwrap(), usize::from(CHANNELS));
    assert!(!program.log().contains(&token));
}

fn a_page_its_scripts_and_its_console_come_through_one_connection(engine: &str) {
    let root = directory();
    fs::write(root.join("spice_auto.html"), "<html>spice</html>").unwrap();
    fs::write(root.join("main.js"), "export default 1;").unwrap();
    let program = start(engine, &format!("web = {}", root.display()));
    let (port, compute) = compute::serve(|mut stream| {
        let link = compute::read(&mut stream, link_message(1).len());
        stream.write_all(b"REDQ").unwrap();
        link
    });
    let token = program.token("spice-html5", port, 600);
    // All at once: two files, the upgrade, and the link message that does not wait for the 101.
    let mut segment = format!("GET /spice_auto.html?token={token} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    segment.extend(b"GET /main.js HTTP/1.1\r\nHost: h\r\n\r\n");
    segment.extend(request("/websockify", &[&format!("Cookie: token={token}")]).into_bytes());
    segment.extend(masked(0x82, &link_message(1)));
    let mut client = Client::connect(program.address);
    client.send(&segment);
    assert!(client.head().contains("\r\nContent-Type: text/html"));
    assert_eq!(client.bytes(18), b"<html>spice</html>");
    assert!(client.head().contains("\r\nContent-Type: text/javascript"));
    assert_eq!(client.bytes(17), b"export default 1;");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read_frame(), (0x82, b"REDQ".to_vec()));
    assert_eq!(compute.join().unwrap(), link_message(1));
    assert!(!program.log().contains(&token));
    fs::remove_dir_all(root).unwrap();
}

fn a_server_that_speaks_first_is_heard(engine: &str) {
    let program = start(engine, "web =");
    let (port, compute) = compute::serve(|mut stream| {
        // Not RFB's version, though it looks like it: nothing here reads RFB.
        stream.write_all(b"RFB 003.003\n").unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("spice-html5", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x82, b"RFB 003.003\n".to_vec()));
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![0x88, 2, 0x03, 0xe8], End::Fin));
    assert_eq!(compute.join().unwrap(), b"");
}

fn text_frames_are_refused_with_1003_on_spice_and_vnc(engine: &str) {
    for (name, console_type) in [("nova-spicehtml5proxy", "spice-html5"), ("nova-novncproxy", "novnc")] {
        let program = Program::start(&Options { name, ..Options::on(engine) });
        let (port, compute) = compute::serve(move |mut stream| {
            if console_type == "novnc" {
                compute::rfb_handshake(&mut stream);
            }
            compute::read_all(&mut stream)
        });
        let token = program.token(console_type, port, 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        if console_type == "novnc" {
            client.rfb_handshake();
        }
        client.frame(2, b"bytes");
        client.frame(1, b"UkVEUQ==");
        let (frames, end) = client.rest();
        assert_eq!((&frames[..1], &frames[2..4], end), (&[0x88][..], &[0x03, 0xeb][..], End::Fin), "{name}");
        assert_eq!(compute.join().unwrap(), b"bytes", "{name}");
    }
}

fn tokens_of_other_consoles_are_refused_before_anything_is_contacted(engine: &str) {
    for (name, console_type, other) in
        [("nova-spicehtml5proxy", "spice-html5", "serial"), ("nova-serialproxy", "serial", "novnc")]
    {
        let program = Program::start(&Options { name, ..Options::on(engine) });
        let token = program.token(other, compute::dead_port(), 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
        program
            .wait_for_log(&format!("the token is for a {other} console, this program serves {console_type}"));
        assert!(!program.log().contains("connecting to:"));
    }
}
