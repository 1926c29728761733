//! TLS towards browsers, with OpenSSL's and curl's eyes and rustls' own.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::CertificateDer;

use super::client::{Client, End};
use super::compute;
use super::pair::{Pair, Tls, connect, connect_to_any};
use super::program::{Options, Program};
use super::pump::{Stream, pattern};

on_both_engines! {
    plain_and_tls_share_the_port,
    old_versions_and_other_ciphers_are_refused,
    a_renewed_certificate_serves_the_next_handshake_and_sessions_go_on,
    renewals_and_reloads_under_load_lose_no_session_and_no_line,
    nothing_is_said_to_plain_clients_with_ssl_only_or_to_tls_without_a_certificate,
    megabytes_go_both_ways_under_tls,
    a_handshake_that_stalls_is_given_up,
}

/// What `openssl s_client` says of a handshake.
fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn plain_and_tls_share_the_port(engine: &str) {
    let pair = Pair::new();
    let program = pair.start(engine, "", "");
    program.wait_for_log("  - SSL/TLS support");
    for (version, says) in [("-tls1_2", "Protocol  : TLSv1.2"), ("-tls1_3", "New, TLSv1.3")] {
        let said = s_client(program.address, &[version]);
        assert!(said.contains(says), "{said}");
    }
    let said = s_client(program.address, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(said.contains("no peer certificate available"), "{said}");
    for scheme in ["http", "https"] {
        // Without a web root every request is answered with 405.
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--cacert"])
            .arg(pair.directory.join("cert.pem"))
            .args(["--write-out", "%{http_code} %{ssl_verify_result}", "--output", "/dev/null"])
            .arg(format!("{scheme}://localhost:{}/vnc_lite.html", program.address.port()))
            .args(["--resolve", &format!("localhost:{}:127.0.0.1", program.address.port())])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "405 0", "{scheme}: {output:?}");
    }
}

fn old_versions_and_other_ciphers_are_refused(engine: &str) {
    let pair = Pair::new();
    let newest = pair.start(engine, "", "[console]\nssl_minimum_version = tlsv1_3");
    assert!(s_client(newest.address, &["-tls1_2"]).contains("alert protocol version"));
    assert!(s_client(newest.address, &["-tls1_3"]).contains("New, TLSv1.3"));

    let one = "ECDHE-ECDSA-AES128-GCM-SHA256";
    let chosen = pair.start(engine, "", &format!("[console]\nssl_ciphers = {one}:!aNULL:FOO-BAR"));
    assert!(s_client(chosen.address, &["-tls1_2"]).contains(&format!("Cipher is {one}")));
    let said = s_client(chosen.address, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
    assert!(said.contains("alert handshake failure"), "{said}");
    assert!(s_client(chosen.address, &["-tls1_3"]).contains("New, TLSv1.3"), "1.3 has suites of its own");
    chosen.wait_for_log("[console] ssl_ciphers names what this program does not speak: FOO-BAR.");
}

fn a_renewed_certificate_serves_the_next_handshake_and_sessions_go_on(engine: &str) {
    let pair = Pair::new();
    let program = pair.start(engine, "", "");
    let mut live = Live::open(&program, &pair);
    live.echo(1);
    let wait_for = |certificate: &CertificateDer<'static>| {
        let until = Instant::now() + Duration::from_secs(20);
        while connect(program.address, certificate).is_err() {
            assert!(Instant::now() < until, "the new certificate is not served:\n{}", program.log());
            thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for(&Pair::write(&pair.directory, copied));
    live.echo(2);
    let renamed = Pair::write(&pair.directory, renamed);
    wait_for(&renamed);
    live.echo(3);
    // A broken pair changes nothing but the log.
    fs::write(pair.directory.join("key.pem"), "no key").unwrap();
    program.wait_for_log("key.pem holds no private key without a passphrase; the one before stays in use");
    assert!(connect(program.address, &renamed).is_ok());
    live.echo(4);
    live.vanish();
    assert!(program.log().contains("SSL/TLS (wss://) WebSocket connection"), "{}", program.log());
}

/// An open VNC console under TLS, which echoes bytes.
struct Live {
    tenant: Client<Tls>,
    compute: JoinHandle<()>,
}

impl Live {
    fn open(program: &Program, pair: &Pair) -> Self {
        let (port, compute) = compute::serve(|mut stream| {
            compute::rfb_handshake(&mut stream);
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                stream.write_all(&byte).unwrap();
            }
        });
        let token = program.token("novnc", port, 600);
        let mut tenant = Client::over(connect(program.address, &pair.certificate).unwrap())
            .upgraded(&format!("/?token={token}"), &[]);
        tenant.rfb_handshake();
        Self { tenant, compute }
    }

    fn echo(&mut self, byte: u8) {
        self.tenant.frame(2, &[byte]);
        assert_eq!(self.tenant.read_frame(), (0x82, vec![byte]));
    }

    fn vanish(self) {
        drop(self.tenant);
        self.compute.join().unwrap();
    }
}

fn copied(name: &Path, pem: &str) {
    fs::write(name, pem).unwrap();
}

fn renamed(name: &Path, pem: &str) {
    let beside = name.with_extension("new");
    fs::write(&beside, pem).unwrap();
    fs::rename(&beside, name).unwrap();
}

/// Every handshake gets the old pair or the new one, whatever is half written; each connection's number is on
/// one last line.
fn renewals_and_reloads_under_load_lose_no_session_and_no_line(engine: &str) {
    let pair = Pair::new();
    let mut program = pair.start(engine, "debug = true", "");
    let mut live = Live::open(&program, &pair);
    let known = Mutex::new(vec![pair.certificate.clone()]);
    let done = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        let (address, pid, known, done) = (program.address, program.pid(), &known, &done);
        let load = scope.spawn(move || {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                let trusted = known.lock().unwrap().clone();
                // One that has come in the meantime is not among them: then again, with all of them.
                let attempt = connect_to_any(address, &trusted);
                let again = || known.lock().unwrap().len() > trusted.len();
                match attempt {
                    Ok(mut stream) => {
                        stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
                        let mut answer = Vec::new();
                        stream.read_to_end(&mut answer).unwrap();
                        assert!(answer.starts_with(b"HTTP/1.1 405 "));
                        served += 1;
                    }
                    Err(why) => assert!(again(), "{why}"),
                }
            }
            served
        });
        for round in 0..20_u8 {
            let put = if round % 2 == 0 { copied } else { renamed };
            Pair::write_known(&pair.directory, put, |new| known.lock().unwrap().push(new.clone()));
            for reload in 0..5 {
                kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGHUP).unwrap();
                live.echo(round * 5 + reload);
            }
        }
        // The last of them comes to be served.
        let newest = known.lock().unwrap().last().unwrap().clone();
        let until = Instant::now() + Duration::from_secs(20);
        while connect(address, &newest).is_err() {
            assert!(Instant::now() < until, "the newest certificate is not served");
            thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(served > 20, "{served} connections");
    live.vanish();
    assert_eq!(program.end(Signal::SIGTERM), 0);
    let log = program.log();
    let closed = log.lines().filter_map(|line| line.split_once(": connection closed"));
    let mut numbers: Vec<u64> =
        closed.map(|(before, _)| before.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert!(numbers == all, "lines are lost or doubled: {numbers:?}");
    assert!(!log.contains("were lost"), "{log}");
}

fn nothing_is_said_to_plain_clients_with_ssl_only_or_to_tls_without_a_certificate(engine: &str) {
    let pair = Pair::new();
    let only = pair.start(engine, "ssl_only = true", "");
    only.wait_for_log("  - Deny non-SSL/TLS connections");
    let mut client = Client::connect(only.address);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.rest(), (vec![], End::Fin));
    only.wait_for_log("127.0.0.1: non-SSL connection received but disallowed");
    assert!(connect(only.address, &pair.certificate).is_ok());

    let without = Program::start(&Options { default: "web =\ncert = none.pem", ..Options::on(engine) });
    without.wait_for_log("  - No SSL/TLS support (no cert file)");
    let mut client = Client::connect(without.address);
    client.send(b"\x16\x03\x01\x00\x05");
    assert_eq!(client.rest(), (vec![], End::Fin));
    let cert = without.directory.join("none.pem");
    without.wait_for_log(&format!("127.0.0.1: SSL connection but '{}' not found", cert.display()));
    // What is there and cannot be used is no better, but another thing.
    fs::write(&cert, "no certificate").unwrap();
    without.wait_for_log("none.pem holds no certificate");
    let mut client = Client::connect(without.address);
    client.send(b"\x16\x03\x01\x00\x05");
    assert_eq!(client.rest(), (vec![], End::Fin));
    without.wait_for_log(&format!("127.0.0.1: SSL connection but '{}' cannot be used", cert.display()));
    // Once it is good, it is used.
    fs::write(without.directory.join("both.pem"), "").unwrap();
    let both = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(pair.directory.join(name)).unwrap());
    fs::write(&cert, both.concat()).unwrap();
    without.wait_for_log("was read anew");
    assert!(connect(without.address, &pair.certificate).is_ok());
}

fn megabytes_go_both_ways_under_tls(engine: &str) {
    const LEN: usize = 24 << 20;
    let pair = Pair::new();
    // What the kernel does where it can is the matter of `kernel_tls`.
    let program = pair.start(engine, "", "kernel_tls = off");
    let (port, compute) = compute::serve(|mut stream| {
        let pattern = pattern();
        compute::rfb_handshake(&mut stream);
        let mut sends = Stream::new(7, LEN);
        while !sends.is_done() {
            stream.write_all(sends.next(&pattern, 50_000)).unwrap();
        }
        let mut receives = Stream::new(1_234, LEN);
        let mut buffer = vec![0; 70_000];
        while !receives.is_done() {
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "the proxy ended early");
            receives.check(&pattern, &buffer[..len]);
        }
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::over(connect(program.address, &pair.certificate).unwrap())
        .upgraded(&format!("/?token={token}"), &[]);
    client.rfb_handshake();
    let pattern = pattern();
    let mut receives = Stream::new(7, LEN);
    while !receives.is_done() {
        let (first, payload) = client.read_frame();
        assert_eq!(first, 0x82);
        receives.check(&pattern, &payload);
    }
    let mut sends = Stream::new(1_234, LEN);
    while !sends.is_done() {
        let piece = sends.next(&pattern, 30_000);
        client.frame(2, piece);
    }
    compute.join().unwrap();
    // What the compute node's end says, then close_notify and FIN.
    assert_eq!(client.read_frame(), (0x88, [&[0x03, 0xe8], b"Target closed".as_slice()].concat()));
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![], End::Fin));
    program.wait_for_log("(0 spliced, ");
}

fn a_handshake_that_stalls_is_given_up(engine: &str) {
    let pair = Pair::new();
    let own = "port_check = off\ntls_handshake_timeout_ms = 300";
    let default = pair.options();
    let program = Program::start(&Options { default: &default, own, ..Options::on(engine) });
    let mut client = Client::connect(program.address);
    client.send(b"\x16\x03\x01\x02\x00\x01");
    assert_eq!(client.rest(), (vec![], End::Fin));
}
