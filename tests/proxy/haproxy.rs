//! Behind a real HAProxy: TLS ending there, TCP mode with PROXY headers, and its idle time-outs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::balancer::HaProxy;
use super::client::{Client, End};
use super::compute;
use super::program::{INSTANCE, Options, Program};

on_both_engines! {
    tls_may_end_at_the_load_balancer,
    proxy_headers_tell_the_clients_address,
    pings_keep_an_idle_session_through_three_idle_timeouts,
}

/// A compute node that echoes.
fn echo() -> (u16, thread::JoinHandle<()>) {
    compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        let mut buffer = [0; 1_024];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..len]).unwrap();
        }
    })
}

fn tls_may_end_at_the_load_balancer(engine: &str) {
    let own = "port_check = off\ntrusted_proxies = 127.0.0.1";
    let program = Program::start(&Options { own, ..Options::on(engine) });
    let signed = rcgen::generate_simple_self_signed(["console.example".to_owned()]).unwrap();
    let pem = program.directory.join("balancer.pem");
    fs::write(&pem, signed.cert.pem() + &signed.signing_key.serialize_pem()).unwrap();
    let listener = format!("ssl crt {}", pem.display());
    let forwarded = "http-request set-header X-Forwarded-Proto https";
    let balancer = HaProxy::before(&program, "http", &listener, "", forwarded);
    let (port, compute) = echo();
    let url = program.token_tool(&[
        "create",
        "--init",
        "--type",
        "novnc",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--instance",
        INSTANCE,
        "--base-url",
        "https://console.example/vnc_lite.html",
    ]);
    let token = &url[url.len() - 36..];
    // The page came over https, what we see is http: the header tells.
    let script = "import ssl, sys, websocket\n\
        ws = websocket.create_connection(sys.argv[1], sslopt={'cert_reqs': ssl.CERT_NONE}, timeout=20,\n\
            host='console.example', origin='https://console.example', subprotocols=['binary'])\n\
        assert ws.recv() == b'RFB 003.008\\n'; ws.send_binary(b'RFB 003.008\\n')\n\
        assert ws.recv() == b'\\x01\\x01'; ws.send_binary(b'\\x01')\n\
        assert ws.recv() == b'\\0\\0\\0\\0'; ws.send_binary(b'key'); assert ws.recv() == b'key'\n\
        ws.close(); print('done')";
    let python = std::env::var("CONSOLEGATE_TEST_PYTHON")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-python/bin/python").to_owned());
    let output = Command::new(python)
        .args(["-c", script, &format!("wss://{}/websockify?token={token}", balancer.address)])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{output:?}\n{}", program.log());
    compute.join().unwrap();
}

/// A connection from another of this machine's loopback addresses.
fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let [a, b, c, d] = source;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    let SocketAddr::V4(to) = to else { panic!("{to} is not IPv4") };
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(to)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn proxy_headers_tell_the_clients_address(engine: &str) {
    let own = "port_check = off\ntrusted_proxies = 127.0.0.1\nproxy_protocol = true";
    let program = Program::start(&Options { own, ..Options::on(engine) });
    for (server, host) in [("send-proxy", 77), ("send-proxy-v2", 78)] {
        let balancer = HaProxy::before(&program, "tcp", "", server, "");
        let (port, compute) = echo();
        let token = program.token("novnc", port, 600 + u32::from(host));
        let mut client = Client::over(connect_from([127, 0, 0, host], balancer.address))
            .upgraded(&format!("/?token={token}"), &[]);
        client.rfb_handshake();
        client.frame(2, b"key");
        assert_eq!(client.read_frame(), (0x82, b"key".to_vec()));
        program.wait_for_log(&format!("127.0.0.{host}: Plain non-SSL (ws://) WebSocket connection"));
        drop(client);
        compute.join().unwrap();
    }
    // Whoever is trusted has to send one, and nobody else may.
    let mut trusted = Client::connect(program.address);
    trusted.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(trusted.rest(), (vec![], End::Fin));
    let mut stranger = Client::over(connect_from([127, 0, 0, 79], program.address));
    stranger.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(stranger.rest().0.starts_with(b"HTTP/1.1 400 "));
}

fn pings_keep_an_idle_session_through_three_idle_timeouts(engine: &str) {
    let program =
        Program::start(&Options { own: "port_check = off\nping_interval_ms = 500", ..Options::on(engine) });
    let balancer = HaProxy::before(&program, "http", "", "", "");
    let (port, compute) = echo();
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(balancer.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    let idle_until = Instant::now() + Duration::from_secs(6);
    let mut pings = 0;
    while Instant::now() < idle_until {
        assert_eq!(client.read_frame(), (0x89, vec![]));
        pings += 1;
    }
    assert!(pings >= 3, "{pings}");
    client.frame(2, b"key");
    let answer = loop {
        let frame = client.read_frame();
        if frame.0 != 0x89 {
            break frame;
        }
    };
    assert_eq!(answer, (0x82, b"key".to_vec()));
    drop(client);
    compute.join().unwrap();
}
