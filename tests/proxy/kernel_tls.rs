//! TLS by the kernel, where it has it: as `tests/kernel_real.rs` runs these in a guest with the kernel's module. Where
//! it has not, the same conversations go on in this program's own TLS, and nobody notices.

use std::fs;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};

use super::client::{Client, End, masked};
use super::compute;
use super::pair::{Pair, Tls, connect_with};
use super::program::{Options, Program};
use super::pump::{Stream, pattern};

mod records;

on_both_engines! {
    bulk_is_spliced_through_it,
    a_tenant_that_runs_ahead_loses_nothing,
    a_slow_tenant_gets_everything_and_then_the_end,
    close_notify_is_an_end_and_is_answered,
    a_fin_without_close_notify_is_an_end,
    a_session_is_resumed,
    keys_that_are_changed_end_it_or_nothing,
    a_forged_record_ends_it,
    half_a_record_is_waited_for,
    an_older_version_stays_with_us,
    chacha20_goes_through_it_where_the_kernel_has_that_too,
    it_can_be_switched_off,
}

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(pattern);

/// Whether this kernel has it. The module need not be loaded before somebody wants it, but that takes rights.
fn is_here() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").is_ok_and(|ulps| ulps.contains("tls"))
}

/// A counter of the kernel's.
fn stat(name: &str) -> u64 {
    let stats = fs::read_to_string("/proc/net/tls_stat").unwrap();
    let line = stats.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a client wants of TLS.
struct Wants {
    version: &'static SupportedProtocolVersion,
    suite: Option<&'static str>,
}

const NEWEST: Wants = Wants { version: &version::TLS13, suite: None };

fn client_config(pair: &Pair, wants: &Wants) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(name) = wants.suite {
        provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()) == name);
    }
    let mut roots = RootCertStore::empty();
    roots.add(pair.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[wants.version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A proxy whose log tells who does TLS.
struct Proxy {
    pair: Pair,
    program: Program,
}

impl Proxy {
    fn start(engine: &str, own: &str) -> Self {
        let pair = Pair::new();
        let default = format!("debug = true\n{}", pair.options());
        let own = format!("port_check = off\nsplice_window_ms = 500\n{own}");
        let program = Program::start(&Options { default: &default, own: &own, ..Options::on(engine) });
        Self { pair, program }
    }

    /// Opens a console on a compute node that does `script` behind the RFB handshake.
    fn open<T: Send + 'static>(
        &self,
        wants: &Wants,
        script: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (Client<Tls>, JoinHandle<T>) {
        self.open_with(&client_config(&self.pair, wants), script)
    }

    fn open_with<T: Send + 'static>(
        &self,
        config: &Arc<ClientConfig>,
        script: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (Client<Tls>, JoinHandle<T>) {
        let (port, compute) = compute::serve(|mut stream| {
            compute::rfb_handshake(&mut stream);
            script(stream)
        });
        let token = self.program.token("novnc", port, 600);
        let stream = connect_with(self.program.address, config).unwrap();
        let mut client = Client::over(stream).upgraded(&format!("/?token={token}"), &[]);
        client.rfb_handshake();
        (client, compute)
    }

    /// Waits for the end of the relay, and how many bytes were spliced. `by_kernel`: who did TLS then.
    fn spliced(&self, by_kernel: bool) -> u64 {
        self.program.wait_for_log("console relay ended");
        let log = self.program.log();
        assert_eq!(log.contains("the kernel goes on with the tenant's TLS"), by_kernel, "{log}");
        let line = log.lines().find(|line| line.contains("console relay ended")).unwrap();
        let (before, _) = line.split_once(" spliced").unwrap();
        before.rsplit('(').next().unwrap().parse().unwrap()
    }
}

/// Sends back what it gets, to its end.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 70_000];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..len]).unwrap();
    }
}

fn assert_echo(client: &mut Client<Tls>, bytes: &[u8]) {
    client.frame(2, bytes);
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let (first, payload) = client.read_frame();
        assert_eq!(first, 0x82);
        received.extend_from_slice(&payload);
    }
    assert_eq!(received, bytes);
}

/// The end as the compute node's end makes it.
fn assert_closed(client: &mut Client<Tls>) {
    assert_eq!(client.read_frame(), (0x88, [&[0x03, 0xe8], b"Target closed".as_slice()].concat()));
    client.frame(8, &[0x03, 0xe8]);
    // rustls takes FIN without close_notify for an error.
    assert_eq!(client.rest(), (vec![], End::Fin));
}

fn bulk_is_spliced_through_it(engine: &str) {
    const LEN: usize = 4 << 20;
    let proxy = Proxy::start(engine, "");
    let says = if is_here() {
        "kernel TLS is used for consoles: AES-128-GCM, AES-256-GCM"
    } else {
        "kernel TLS is not used: "
    };
    proxy.program.wait_for_log(says);
    let before = is_here().then(|| (stat("TlsTxSw"), stat("TlsRxSw")));
    let (mut client, compute) = proxy.open(&NEWEST, |mut stream| {
        assert_eq!(compute::read(&mut stream, 1), [1]);
        let mut sends = Stream::new(7, LEN);
        while !sends.is_done() {
            stream.write_all(sends.next(&PATTERN, 200_000)).unwrap();
        }
        let mut receives = Stream::new(1_234, LEN);
        let mut buffer = vec![0; 70_000];
        while !receives.is_done() {
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "the proxy ended early");
            receives.check(&PATTERN, &buffer[..len]);
        }
    });
    // ClientInit; what a tenant says first is what the kernel takes over behind.
    client.frame(2, &[1]);
    let mut receives = Stream::new(7, LEN);
    while !receives.is_done() {
        let (first, payload) = client.read_frame();
        assert_eq!(first, 0x82);
        receives.check(&PATTERN, &payload);
    }
    let mut sends = Stream::new(1_234, LEN);
    while !sends.is_done() {
        let piece = sends.next(&PATTERN, 30_000);
        client.frame(2, piece);
    }
    compute.join().unwrap();
    assert_closed(&mut client);
    let spliced = proxy.spliced(is_here());
    assert_eq!(spliced > 0, is_here(), "{spliced} bytes");
    if let Some((sent, received)) = before {
        assert!(stat("TlsTxSw") > sent && stat("TlsRxSw") > received);
    }
}

/// When the kernel takes over, there are records in the socket, and perhaps the beginning of one in rustls.
fn a_tenant_that_runs_ahead_loses_nothing(engine: &str) {
    const FRAMES: u16 = 5_000;
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, |mut stream| {
        let received = compute::read(&mut stream, usize::from(FRAMES) * 2);
        stream.write_all(b"all of it").unwrap();
        received
    });
    let mut records = Vec::new();
    for number in 0..FRAMES {
        client.stream.conn.writer().write_all(&masked(0x82, &number.to_be_bytes())).unwrap();
        client.stream.conn.write_tls(&mut records).unwrap();
    }
    client.stream.sock.write_all(&records).unwrap();
    let sent: Vec<u8> = (0..FRAMES).flat_map(u16::to_be_bytes).collect();
    assert_eq!(compute.join().unwrap(), sent);
    assert_eq!(client.read_frame(), (0x82, b"all of it".to_vec()));
    assert_closed(&mut client);
    proxy.spliced(is_here());
}

fn a_slow_tenant_gets_everything_and_then_the_end(engine: &str) {
    const LEN: usize = 1 << 20;
    let proxy = Proxy::start(engine, "flush_timeout_ms = 60000");
    let (mut client, compute) = proxy.open(&NEWEST, |mut stream| {
        assert_eq!(compute::read(&mut stream, 1), [1]);
        let mut sends = Stream::new(99, LEN);
        while !sends.is_done() {
            stream.write_all(sends.next(&PATTERN, 100_000)).unwrap();
        }
    });
    client.frame(2, &[1]);
    let mut receives = Stream::new(99, LEN);
    while !receives.is_done() {
        let (first, payload) = client.read_frame();
        assert_eq!(first, 0x82);
        receives.check(&PATTERN, &payload);
        thread::sleep(Duration::from_millis(20));
    }
    compute.join().unwrap();
    assert_closed(&mut client);
    proxy.spliced(is_here());
}

fn close_notify_is_an_end_and_is_answered(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, b"alive");
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    // The connection is not half closed: it is the record that ends it.
    compute.join().unwrap();
    assert_eq!(client.rest(), (vec![], End::Fin));
    proxy.spliced(is_here());
    proxy.program.wait_for_log("the tenant ended the connection without a Close frame");
}

fn a_fin_without_close_notify_is_an_end(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, b"alive");
    client.stream.sock.shutdown(Shutdown::Write).unwrap();
    compute.join().unwrap();
    assert_eq!(client.rest(), (vec![], End::Fin));
    proxy.spliced(is_here());
}

fn a_session_is_resumed(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let config = client_config(&proxy.pair, &NEWEST);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (mut client, compute) = proxy.open_with(&config, echo);
        assert_eq!(client.stream.conn.handshake_kind(), Some(kind));
        assert_echo(&mut client, b"either way");
        drop(client);
        compute.join().unwrap();
    }
}

/// Whether a connection ended with that alert, or without any: closing with unread input resets it.
fn is_cut(error: &Error, alert: &str) -> bool {
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
    error.to_string().contains(alert) || kinds.contains(&error.kind())
}

fn keys_that_are_changed_end_it_or_nothing(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, b"before");
    client.stream.conn.refresh_traffic_keys().unwrap();
    if is_here() {
        client.frame(2, b"behind");
        compute.join().unwrap();
        let error = client.stream.read(&mut [0; 64]).unwrap_err();
        assert!(is_cut(&error, "InternalError"), "{error:?}");
        proxy.spliced(true);
        proxy.program.wait_for_log("TLS keys are to be changed, which the kernel's TLS does not do");
    } else {
        assert_echo(&mut client, b"behind");
        drop(client);
        compute.join().unwrap();
    }
}

fn a_forged_record_ends_it(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, b"alive");
    let forged = [&[0x17, 3, 3, 0, 64], [0x55; 64].as_slice()].concat();
    client.stream.sock.write_all(&forged).unwrap();
    compute.join().unwrap();
    let error = client.stream.read(&mut [0; 64]).unwrap_err();
    assert!(is_cut(&error, "BadRecordMac"), "{error:?}");
    proxy.spliced(is_here());
}

/// Clock ticks that the program has computed for.
fn ticks(program: &Program) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut fields = fields.split(' ').skip(11).map(|ticks| ticks.parse::<u64>().unwrap());
    fields.next().unwrap() + fields.next().unwrap()
}

fn half_a_record_is_waited_for(engine: &str) {
    let proxy = Proxy::start(engine, "");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, b"alive");
    let mut record = Vec::new();
    client.stream.conn.writer().write_all(&masked(0x82, b"in two pieces")).unwrap();
    client.stream.conn.write_tls(&mut record).unwrap();
    let (first, second) = record.split_at(record.len() / 2);
    client.stream.sock.write_all(first).unwrap();
    let (since, before) = (Instant::now(), ticks(&proxy.program));
    thread::sleep(Duration::from_secs(2));
    // A hundred ticks are a second.
    let (took, ticks) = (since.elapsed(), ticks(&proxy.program) - before);
    assert!(Duration::from_millis(ticks * 10) < took / 2, "{ticks} ticks in {took:?}");
    client.stream.sock.write_all(second).unwrap();
    assert_eq!(client.read_frame(), (0x82, b"in two pieces".to_vec()));
    drop(client);
    compute.join().unwrap();
    proxy.spliced(is_here());
}

/// Bytes and the end come through, and it is `by_kernel` whether the kernel does TLS.
fn assert_served(proxy: &Proxy, wants: &Wants, by_kernel: bool) {
    let (mut client, compute) = proxy.open(wants, echo);
    assert_echo(&mut client, &PATTERN[..300_000]);
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    compute.join().unwrap();
    assert_eq!(client.rest(), (vec![], End::Fin));
    let spliced = proxy.spliced(by_kernel);
    assert!(by_kernel || spliced == 0, "{spliced} bytes");
}

fn an_older_version_stays_with_us(engine: &str) {
    let wants = Wants { version: &version::TLS12, suite: None };
    assert_served(&Proxy::start(engine, ""), &wants, false);
}

fn chacha20_goes_through_it_where_the_kernel_has_that_too(engine: &str) {
    let wants = Wants { version: &version::TLS13, suite: Some("TLS13_CHACHA20_POLY1305_SHA256") };
    let proxy = Proxy::start(engine, "");
    proxy.program.wait_for_log("kernel TLS is ");
    let by_kernel = proxy.program.log().contains("ChaCha20-Poly1305");
    assert_served(&proxy, &wants, by_kernel);
    println!("ChaCha20-Poly1305 by {}", if by_kernel { "the kernel" } else { "us" });
}

fn it_can_be_switched_off(engine: &str) {
    let proxy = Proxy::start(engine, "kernel_tls = off");
    let (mut client, compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut client, &PATTERN[..300_000]);
    drop(client);
    compute.join().unwrap();
    assert_eq!(proxy.spliced(false), 0);
    assert!(!proxy.program.log().contains("kernel TLS"), "{}", proxy.program.log());
}
