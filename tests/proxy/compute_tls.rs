//! TLS to real serial ports and SPICE servers of QEMU, from the first byte on: who is trusted, what is on the
//! wire, and what a tenant sees of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::admin;
use super::client::{Client, End};
use super::compute;
use super::guest::{Guest, assert_tls, wiretap};
use super::pki::Pki;
use super::program::{Options, Program, free_port};

on_both_engines! {
    what_is_typed_on_a_serial_console_is_echoed_and_nothing_of_it_is_clear_on_the_wire,
    pairs_that_the_serial_port_does_not_accept_are_named,
    serial_ports_that_are_not_to_be_trusted_are_refused,
    a_serial_port_without_tls_is_refused,
    a_serial_port_that_does_not_answer_has_its_time,
    a_serial_port_that_somebody_has_refuses_the_next_and_goes_on,
    what_the_token_asks_for_by_connect_is_asked_inside_tls,
    spice_is_spoken_on_the_port_for_tls_and_nothing_of_it_is_clear_on_the_wire,
    spice_servers_that_are_not_to_be_trusted_are_refused,
    the_plain_port_of_spice_is_never_spoken_to_in_the_clear,
    spice_that_listens_for_tls_alone_needs_spice_tls,
    spice_whose_plain_port_wants_tls_says_so_to_the_tenant_and_is_spoken_to_with_spice_tls,
    without_authorities_both_are_refused,
}

const CREDENTIALS: [&str; 2] =
    ["priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.3"];

fn start(engine: &str, name: &str, own: &str, extra: &str) -> Program {
    let own = format!("port_check = off\nadmin_socket = admin.sock\n{own}");
    Program::start(&Options { name, default: "web =", own: &own, extra, ..Options::on(engine) })
}

fn serial(engine: &str, extra: &str) -> Program {
    start(engine, "nova-serialproxy", "serial_tls = on", extra)
}

fn spice(engine: &str, extra: &str) -> Program {
    start(engine, "nova-spicehtml5proxy", "spice_tls = on", extra)
}

fn open_serial(program: &Program, port: u16) -> Client {
    let token = program.token("serial", port, 600);
    Client::upgrade(program.address, &format!("/?token={token}"), &[])
}

/// A SPICE channel whose token has these ports.
fn open_spice(program: &Program, plain: impl Into<Option<u16>>, tls_port: Option<u16>) -> Client {
    let plain = plain.into().map_or("-1".to_owned(), |port| port.to_string());
    let tls_port = tls_port.map(|port| port.to_string());
    let more: Vec<_> = tls_port.iter().flat_map(|port| ["--tls-port", port]).collect();
    let token = program.token_at("spice-html5", &plain, 600, &more);
    Client::upgrade(program.address, &format!("/?token={token}"), &[])
}

/// Types, sees the echo, and leaves.
fn type_and_see(client: &mut Client) {
    let mut seen = Vec::new();
    // What the firmware has said meanwhile may come first.
    // Far more than the port's FIFO holds: a paste.
    let pasted = b"typed under TLS".repeat(4);
    client.frame(2, &pasted);
    while !seen.ends_with(&pasted) {
        match client.read_frame() {
            (0x82, payload) => seen.extend(payload),
            // The guest sleeps between two bytes: on a busy machine it takes its time.
            (opcode, payload) => assert_eq!((opcode, payload), (0x89, Vec::new()), "a ping"),
        }
    }
    leave(client);
}

fn leave(client: &mut Client) {
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
    assert_eq!(client.rest(), (vec![], End::Fin));
}

/// Refused as a compute node is that is not there, with `said` in the log and `kind` counted.
fn see_it_refused(program: &Program, client: &mut Client, kind: &str, said: &str) {
    assert_eq!(client.rest(), (vec![0x88, 0], End::Fin), "{said}");
    program.wait_for_log(&format!("handler exception: {said}"));
    assert_eq!(admin::counted(program, "compute_tls_failed"), [format!("{{kind=\"{kind}\"}} 1")]);
    assert_eq!(admin::counted(program, "rejected"), ["{reason=\"compute_tls\"} 1"]);
}

fn what_is_typed_on_a_serial_console_is_echoed_and_nothing_of_it_is_clear_on_the_wire(engine: &str) {
    let pki = Pki::new();
    let with_pair = pki.options(&pki.ours, Some((&pki.ours, "client")));
    let without = pki.options(&pki.ours, None);
    let foreign = pki.options(&pki.ours, Some((&pki.foreign, "client")));
    for (verify, extra) in [("on", &with_pair), ("off", &without), ("off", &foreign)] {
        for version in CREDENTIALS {
            let guest = Guest::serial(pki.ours.folder(), &format!("verify-peer={verify},{version}"));
            let program = serial(engine, extra);
            let (port, wire) = wiretap(guest.port, b"");
            type_and_see(&mut open_serial(&program, port));
            let wire = wire.join().unwrap();
            assert_tls(&wire.from_proxy);
            assert_tls(&wire.from_guest);
            for bytes in [&wire.from_proxy, &wire.from_guest] {
                assert!(!bytes.windows(5).any(|window| window == b"typed"), "{verify} {version}");
            }
            assert_eq!(admin::counted(&program, "compute_tls_failed"), [""; 0]);
        }
    }
}

fn pairs_that_the_serial_port_does_not_accept_are_named(engine: &str) {
    let pki = Pki::new();
    for version in CREDENTIALS {
        let guest = Guest::serial(pki.ours.folder(), &format!("verify-peer=on,{version}"));
        for client in [None, Some((&pki.foreign, "client")), Some((&pki.ours, "expired"))] {
            let program = serial(engine, &pki.options(&pki.ours, client));
            let mut client = open_serial(&program, guest.port);
            // The handshake succeeds: to the tenant it is a console that ends.
            assert_eq!(client.read_frame(), (0x88, b"\x03\xe8Target closed".to_vec()));
            program.wait_for_log(
                "compute closed the connection right behind the TLS handshake: it did not accept our client \
                 certificate, or wants one (vencrypt_client_cert)",
            );
            let counted = admin::counted(&program, "compute_tls_failed");
            assert_eq!(counted, ["{kind=\"closed-after-tls\"} 1"], "{version}");
        }
    }
}

fn serial_ports_that_are_not_to_be_trusted_are_refused(engine: &str) {
    let pki = Pki::new();
    let of_another = pki.options(&pki.foreign, None);
    let ours = pki.options(&pki.ours, None);
    let guest = Guest::serial(pki.ours.folder(), "verify-peer=off");
    for (own, extra, why) in [
        ("serial_tls = on", &of_another, "UnknownIssuer"),
        ("serial_tls = on\nvencrypt_verify_host = true", &ours, "certificate not valid for name"),
    ] {
        let program = start(engine, "nova-serialproxy", own, extra);
        let said = format!("TLS with compute failed: invalid peer certificate: {why}");
        see_it_refused(&program, &mut open_serial(&program, guest.port), "tls", &said);
    }
    pki.ours.expired_server();
    let guest = Guest::serial(pki.ours.folder(), "verify-peer=off,sanity-check=off");
    let program = serial(engine, &ours);
    let said = "TLS with compute failed: invalid peer certificate: certificate expired";
    see_it_refused(&program, &mut open_serial(&program, guest.port), "tls", said);
}

fn a_serial_port_without_tls_is_refused(engine: &str) {
    let pki = Pki::new();
    let program = serial(engine, &pki.options(&pki.ours, None));
    let (port, console) = compute::serve(|mut stream| {
        stream.write_all(b"\r\nlogin: ").unwrap();
        compute::read_all(&mut stream)
    });
    let said = "TLS with compute failed: received corrupt message";
    see_it_refused(&program, &mut open_serial(&program, port), "tls", said);
    assert_tls(&console.join().unwrap());
}

fn a_serial_port_that_does_not_answer_has_its_time(engine: &str) {
    let pki = Pki::new();
    let own = "serial_tls = on\ncompute_tls_timeout_ms = 300";
    let program = start(engine, "nova-serialproxy", own, &pki.options(&pki.ours, None));
    let (port, console) = compute::serve(|mut stream| compute::read_all(&mut stream));
    let said = "compute let the time run out with the TLS handshake still due";
    see_it_refused(&program, &mut open_serial(&program, port), "time-out", said);
    assert_eq!(console.join().unwrap()[0], 0x16, "a hello, and nothing of the console");
}

fn a_serial_port_that_somebody_has_refuses_the_next_and_goes_on(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::serial(pki.ours.folder(), "verify-peer=off");
    let extra = pki.options(&pki.ours, None);
    let program = serial(engine, &extra);
    let mut first = open_serial(&program, guest.port);
    program.wait_for_log("console relay started");
    let hasty = start(engine, "nova-serialproxy", "serial_tls = on\ncompute_tls_timeout_ms = 500", &extra);
    let said = "compute let the time run out with the TLS handshake still due";
    see_it_refused(&hasty, &mut open_serial(&hasty, guest.port), "time-out", said);
    type_and_see(&mut first);
    // And the next one has it then.
    type_and_see(&mut open_serial(&program, guest.port));
}

fn what_the_token_asks_for_by_connect_is_asked_inside_tls(engine: &str) {
    let pki = Pki::new();
    let port = free_port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-naccept", "1", "-accept", &format!("127.0.0.1:{port}")])
        .args([OsStr::new("-cert"), pki.ours.file("server-cert").as_os_str()])
        .args([OsStr::new("-key"), pki.ours.file("server-key").as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut says, mut hears) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
    let program = serial(engine, &pki.options(&pki.ours, None));
    let more = ["--internal-access-path", "/console?ref=1"];
    let token = program.token_with("serial", port, 600, &more);
    // Not asked for before: the server takes one connection.
    let until = Instant::now() + Duration::from_secs(60);
    while !is_listening(port) {
        assert!(Instant::now() < until, "openssl does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    let connect = "CONNECT /console?ref=1 HTTP/1.1\r\n\r\n";
    let mut asked = vec![0; connect.len()];
    hears.read_exact(&mut asked).unwrap();
    assert_eq!(String::from_utf8(asked).unwrap(), connect);
    says.write_all(b"HTTP/1.1 200 OK\r\n\r\nlogin: ").unwrap();
    says.flush().unwrap();
    assert_eq!(client.read_frame(), (0x82, b"login: ".to_vec()));
    leave(&mut client);
    server.wait().unwrap();
}

/// Whether something listens on that port of loopback, without a connection to it.
fn is_listening(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
    sockets.lines().any(|line| line.contains(&listening))
}

/// What a SPICE client says first on the main channel, and how QEMU's answer to it begins.
const LINK: &[u8] =
    b"REDQ\x02\0\0\0\x02\0\0\0\x1a\0\0\0\0\0\0\0\x01\0\x01\0\0\0\x01\0\0\0\x12\0\0\0\x09\0\0\0\x04\0\0\0";
const LINKED: &[u8] = b"REDQ\x02\0\0\0\x02\0\0\0\xba\0\0\0\0\0\0\0";

/// Links the main channel. QEMU answers that it is linked.
fn link_main_channel(client: &mut Client) {
    client.frame(2, LINK);
    // Header and reply: SpiceLinkHeader says 0xba bytes behind its 16.
    let answer = read_bytes(client, 16 + 0xba);
    assert_eq!(answer[..LINKED.len()], *LINKED, "no error");
}

/// At least `len` bytes of what the compute node says.
fn read_bytes(client: &mut Client, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let (opcode, payload) = client.read_frame();
        assert_eq!(opcode, 0x82);
        bytes.extend(payload);
    }
    bytes
}

fn spice_is_spoken_on_the_port_for_tls_and_nothing_of_it_is_clear_on_the_wire(engine: &str) {
    let pki = Pki::new();
    let (guest, plain) = Guest::spice(pki.ours.folder());
    for client in [None, Some((&pki.ours, "client")), Some((&pki.foreign, "client"))] {
        let program = spice(engine, &pki.options(&pki.ours, client));
        let (port, wire) = wiretap(guest.port, b"");
        let mut client = open_spice(&program, plain, Some(port));
        link_main_channel(&mut client);
        leave(&mut client);
        let wire = wire.join().unwrap();
        assert_tls(&wire.from_proxy);
        assert_tls(&wire.from_guest);
        for bytes in [&wire.from_proxy, &wire.from_guest] {
            assert!(!bytes.windows(4).any(|window| window == b"REDQ"));
        }
        program.wait_for_log(&format!("connecting to: 127.0.0.1:{port}"));
    }
}

fn spice_servers_that_are_not_to_be_trusted_are_refused(engine: &str) {
    let pki = Pki::new();
    let (guest, plain) = Guest::spice(pki.ours.folder());
    let program = spice(engine, &pki.options(&pki.foreign, None));
    let said = "TLS with compute failed: invalid peer certificate: UnknownIssuer";
    see_it_refused(&program, &mut open_spice(&program, plain, Some(guest.port)), "tls", said);
    pki.ours.expired_server();
    let (guest, plain) = Guest::spice(pki.ours.folder());
    let program = spice(engine, &pki.options(&pki.ours, None));
    let said = "TLS with compute failed: invalid peer certificate: certificate expired";
    see_it_refused(&program, &mut open_spice(&program, plain, Some(guest.port)), "tls", said);
}

fn the_plain_port_of_spice_is_never_spoken_to_in_the_clear(engine: &str) {
    let pki = Pki::new();
    let (_guest, plain) = Guest::spice(pki.ours.folder());
    let program = spice(engine, &pki.options(&pki.ours, None));
    let (port, wire) = wiretap(plain, b"");
    let mut client = open_spice(&program, port, None);
    client.frame(2, LINK);
    // QEMU says that this is no SPICE, which is no TLS.
    let said = "TLS with compute failed: received corrupt message";
    see_it_refused(&program, &mut client, "tls", said);
    assert_tls(&wire.join().unwrap().from_proxy);
}

fn spice_that_listens_for_tls_alone_needs_spice_tls(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::spice_for_tls_alone(pki.ours.folder());
    let extra = pki.options(&pki.ours, None);
    let program = spice(engine, &extra);
    let (port, wire) = wiretap(guest.port, b"");
    let mut client = open_spice(&program, None, Some(port));
    link_main_channel(&mut client);
    leave(&mut client);
    let wire = wire.join().unwrap();
    assert_tls(&wire.from_proxy);
    assert_tls(&wire.from_guest);
    program.wait_for_log("port=-1,token='***'");
    program.wait_for_log(&format!("connecting to: 127.0.0.1:{port}"));
    program.wait_for_log(&format!(": 127.0.0.1:{port}: Websocket client or target closed"));

    let program = start(engine, "nova-spicehtml5proxy", "", &extra);
    let mut client = open_spice(&program, None, Some(guest.port));
    assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
    program.wait_for_log(
        "handler exception: the console listens for TLS alone: its token has port -1, and [consolegate] \
         spice_tls is off",
    );
    assert_eq!(admin::counted(&program, "rejected"), ["{reason=\"no_port\"} 1"]);
    assert!(!program.log().contains("connecting to: "), "nothing is contacted");
}

fn spice_whose_plain_port_wants_tls_says_so_to_the_tenant_and_is_spoken_to_with_spice_tls(engine: &str) {
    // `enum SpiceLinkErr` of spice/error_codes.h
    const NEED_SECURED: [u8; 4] = [5, 0, 0, 0];
    let pki = Pki::new();
    let (guest, plain) = Guest::spice_with_secure_channels(pki.ours.folder());
    let extra = pki.options(&pki.ours, None);
    let program = spice(engine, &extra);
    let mut client = open_spice(&program, plain, Some(guest.port));
    link_main_channel(&mut client);
    leave(&mut client);

    let program = start(engine, "nova-spicehtml5proxy", "", &extra);
    let mut client = open_spice(&program, plain, Some(guest.port));
    client.frame(2, LINK);
    assert_eq!(read_bytes(&mut client, 20)[16..20], NEED_SECURED, "in the clear");
}

fn without_authorities_both_are_refused(engine: &str) {
    for (name, console, option) in
        [("nova-serialproxy", "serial", "serial_tls"), ("nova-spicehtml5proxy", "spice-html5", "spice_tls")]
    {
        let program = start(engine, name, &format!("{option} = on"), "");
        program.wait_for_log(&format!(
            "[consolegate] {option} is set, but vencrypt_ca_certs is not: all consoles are refused."
        ));
        let (port, node) = compute::serve(|mut stream| compute::read_all(&mut stream));
        let token = program.token(console, port, 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        let said = "TLS with compute failed: there are no certificate authorities to check it by";
        see_it_refused(&program, &mut client, "tls", said);
        assert_eq!(node.join().unwrap(), b"", "{name}");
    }
}
