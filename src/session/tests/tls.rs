//! TLS, PROXY headers, and what the first bytes of a connection decide.

use std::io::{BufRead, Write};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::tls_peer::{close_notify_of, opened_to_its_end, talk, wire_of};
use super::*;

const HEAD_REQUEST: &[u8] = b"HEAD /vnc.html HTTP/1.1\r\nHost: console.example\r\n\r\n";

/// A server of that name, which speaks these versions, and a client that trusts it.
pub(super) fn trusting(
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}

/// Settings with a certificate, and a client that trusts it.
fn with_certificate() -> (Settings, ClientConnection) {
    with_certificate_for(rustls::ALL_VERSIONS)
}

pub(super) fn with_certificate_for(
    versions: &[&'static SupportedProtocolVersion],
) -> (Settings, ClientConnection) {
    let mut settings = Settings::for_console(ConsoleType::Serial);
    let (server, client) = trusting("console.example", versions);
    settings.tls.acceptor.replace(Some(server));
    settings.tls.cert = "/etc/nova/cert.pem".into();
    let name = ServerName::try_from("console.example").unwrap();
    (settings, ClientConnection::new(client, name).unwrap())
}

#[test]
fn any_split_of_the_wire_gives_the_same_answer() {
    let mut plainly = Driver::accept(Settings::for_console(ConsoleType::Serial));
    plainly.receive(Side::Tenant, HEAD_REQUEST);
    plainly.flush();
    let expected = plainly.take_sent(Side::Tenant);
    assert!(expected.starts_with(b"HTTP/1.1 405 "));
    for piece in [1, 2, 5, 6, 100, usize::MAX] {
        let (settings, mut client) = with_certificate();
        let mut driver = Driver::accept(settings);
        client.writer().write_all(HEAD_REQUEST).unwrap();
        assert_eq!(talk(&mut driver, Side::Tenant, &mut client, piece), expected, "pieces of {piece}");
        assert!(driver.tenant.shut_down, "close_notify is followed by FIN");
        driver.end(Side::Tenant);
        assert!(matches!(driver.closed, Some(CloseReason::Http(HttpEnd::Answered))));
    }
}

#[test]
fn the_end_of_tls_is_the_tenants_end() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    assert_eq!(talk(&mut driver, Side::Tenant, &mut client, usize::MAX), b"");
    assert_eq!(driver.phase(), "request");
    driver.receive(Side::Tenant, &close_notify_of(&mut client));
    driver.flush();
    assert!(matches!(driver.closed, Some(CloseReason::Http(HttpEnd::Idle))), "{:?}", driver.closed);
}

#[test]
fn a_handshake_has_its_own_time_and_the_request_its_own_behind_it() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings.clone());
    assert_eq!(driver.waits(), Some(Duration::from_secs(3)), "for the first byte");
    let hello = wire_of(&mut client);
    driver.receive(Side::Tenant, &hello[..1]);
    assert_eq!(driver.waits(), Some(Duration::from_secs(10)));
    driver.expire();
    assert!(driver.tenant.shut_down, "a silent peer is let go");
    assert_eq!(driver.take_sent(Side::Tenant), b"");

    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    driver.sleep(Duration::from_secs(2));
    talk(&mut driver, Side::Tenant, &mut client, usize::MAX);
    assert_eq!(driver.waits(), Some(Duration::from_secs(10)), "for the whole head");
}

#[test]
fn tls_that_begins_behind_our_fin_is_not_answered() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    driver.expire();
    assert_eq!((driver.phase(), driver.tenant.shut_down), ("closing", true), "no first byte came");
    let hello = wire_of(&mut client);
    driver.receive(Side::Tenant, &hello);
    assert_eq!(driver.take_sent(Side::Tenant), b"");
    assert_eq!(driver.phase(), "closing");
}

#[test]
fn a_session_that_ended_in_its_handshake_waits_for_nothing() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    let hello = wire_of(&mut client);
    driver.receive(Side::Tenant, &hello[..1]);
    driver.end(Side::Tenant);
    assert!(driver.closed.is_some());
    assert_eq!(driver.waits(), None);
}

#[test]
fn a_session_killed_in_its_handshake_sends_nothing_behind_its_fin() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    let hello = wire_of(&mut client);
    driver.receive(Side::Tenant, &hello[..1]);
    driver.input(Input::Kill(CloseReason::ShuttingDown));
    assert!(driver.tenant.shut_down);
    assert_eq!(driver.waits(), Some(Duration::from_secs(5)), "the closing phase's time");
    driver.receive(Side::Tenant, &hello[1..]);
    assert_eq!(driver.take_sent(Side::Tenant), b"");
}

#[test]
fn broken_tls_is_answered_with_an_alert_and_fin() {
    let (settings, _) = with_certificate();
    let mut driver = Driver::accept(settings);
    driver.receive(Side::Tenant, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00");
    driver.flush();
    let sent = driver.take_sent(Side::Tenant);
    assert_eq!(sent[0], 0x15, "an alert: {sent:?}");
    assert!(driver.tenant.shut_down);
}

#[test]
fn tls_without_a_certificate_and_plain_bytes_with_ssl_only_are_closed_without_a_byte() {
    let mut without = Settings::for_console(ConsoleType::Serial);
    without.tls.cert = "/nowhere/cert.pem".into();
    let (mut only, _) = with_certificate();
    only.tls.only = true;
    for (settings, first) in
        [(without.clone(), &b"\x16\x03\x01"[..]), (without, b"\x80\x2e"), (only, HEAD_REQUEST)]
    {
        let mut driver = Driver::accept(settings);
        driver.receive(Side::Tenant, first);
        assert_eq!(driver.take_sent(Side::Tenant), b"");
        assert!(driver.tenant.shut_down, "{first:?}");
        driver.end(Side::Tenant);
        assert!(driver.closed.is_some());
    }
}

#[test]
fn a_trusted_proxy_says_whom_it_speaks_for_in_any_pieces() {
    let mut settings = Settings::for_console(ConsoleType::Serial);
    settings.proxy_protocol = true;
    settings.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let bytes = [b"PROXY TCP4 203.0.113.9 192.0.2.1 8080 6080\r\n", HEAD_REQUEST].concat();
    for piece in [1, 3, 43, bytes.len()] {
        let mut driver = Driver::accept(settings.clone());
        for bytes in bytes.chunks(piece) {
            driver.receive(Side::Tenant, bytes);
        }
        driver.flush();
        assert!(driver.take_sent(Side::Tenant).starts_with(b"HTTP/1.1 405 "), "pieces of {piece}");
        assert_eq!(driver.session.peer, "203.0.113.9:8080".parse().unwrap());
    }
    // It has to: a header that is optional can be forged.
    let mut driver = Driver::accept(settings.clone());
    driver.receive(Side::Tenant, HEAD_REQUEST);
    assert!(driver.tenant.shut_down && driver.take_sent(Side::Tenant).is_empty());
}

#[test]
fn the_time_of_the_first_byte_begins_behind_the_proxy_header() {
    let mut settings = Settings::for_console(ConsoleType::Serial);
    settings.proxy_protocol = true;
    settings.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 8080 6080\r\n";
    let mut driver = Driver::accept(settings.clone());
    driver.sleep(Duration::from_secs(2));
    driver.receive(Side::Tenant, &header[..9]);
    assert_eq!(driver.waits(), Some(Duration::from_secs(1)), "the header has no time of its own");
    driver.receive(Side::Tenant, &header[9..]);
    assert_eq!(driver.waits(), Some(Duration::from_secs(3)));
    driver.receive(Side::Tenant, HEAD_REQUEST);
    driver.flush();
    assert!(driver.take_sent(Side::Tenant).starts_with(b"HTTP/1.1 405 "));
}

#[test]
fn nobody_else_may_send_a_proxy_header() {
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 8080 6080\r\n";
    let mut others = Settings::for_console(ConsoleType::Serial);
    others.proxy_protocol = true;
    others.trusted_proxies = vec!["198.51.100.0/24".parse().unwrap()];
    let mut switched_off = others.clone();
    switched_off.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    switched_off.proxy_protocol = false;
    for settings in [others, switched_off] {
        let mut driver = Driver::accept(settings);
        driver.receive(Side::Tenant, &[header, HEAD_REQUEST].concat());
        driver.flush();
        assert!(driver.take_sent(Side::Tenant).starts_with(b"HTTP/1.1 400 "));
        assert_eq!(driver.session.peer.ip(), "192.0.2.7".parse::<std::net::IpAddr>().unwrap());
    }
}

/// A serial console at rest in its relay, and its tenant.
fn relaying() -> (Driver, ClientConnection) {
    let (settings, client) = with_certificate();
    relaying_with(settings, client)
}

pub(super) fn relaying_with(settings: Settings, mut client: ClientConnection) -> (Driver, ClientConnection) {
    let mut driver = Driver::accept(settings);
    let upgrade = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: console.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    client.writer().write_all(upgrade.as_bytes()).unwrap();
    assert!(talk(&mut driver, Side::Tenant, &mut client, usize::MAX).starts_with(b"HTTP/1.1 101 "));
    driver.answer(Input::Authorized(Admitted::boxed(conversation::connect_info(ConsoleType::Serial))));
    driver.answer(Input::Resolved(vec!["198.51.100.1:10000".parse().unwrap()]));
    driver.connected();
    assert_eq!(driver.phase(), "relaying");
    (driver, client)
}

#[test]
fn a_console_under_tls_is_never_spliced() {
    let (mut driver, mut client) = relaying();
    let full = size_of_read(&driver.settings);
    for round in 0..8_u8 {
        assert!(driver.compute.reading && !driver.compute.may_pipe, "round {round}");
        driver.receive(Side::Compute, &vec![round; full]);
        driver.flush();
        let plain = talk(&mut driver, Side::Tenant, &mut client, 1_000);
        assert_eq!(plain.len(), full + 10, "one frame");
        assert!(plain[10..].iter().all(|byte| *byte == round));
    }
}

pub(super) fn size_of_read(settings: &Settings) -> usize {
    limits::size(settings.limits.read_bytes)
}

#[test]
fn the_end_waits_for_close_notify_and_fin() {
    let (settings, mut client) = with_certificate();
    let mut driver = Driver::accept(settings);
    talk(&mut driver, Side::Tenant, &mut client, usize::MAX);
    driver.receive(Side::Tenant, &close_notify_of(&mut client));
    // Nothing more comes from the tenant, so nothing else is awaited.
    assert!(driver.closed.is_none(), "a Close cancels the write that is under way");
    assert_eq!((driver.phase(), driver.waits()), ("closing", Some(Duration::from_secs(5))));
    opened_to_its_end(&mut client, &driver.take_sent(Side::Tenant));
    driver.written(Side::Tenant);
    assert!(driver.tenant.shut_down);
    assert!(matches!(driver.closed, Some(CloseReason::Http(HttpEnd::Idle))), "{:?}", driver.closed);
}

#[test]
fn a_tenant_that_takes_no_close_notify_is_not_waited_for_long() {
    for breaks in [false, true] {
        let (settings, mut client) = with_certificate();
        let mut driver = Driver::accept(settings);
        talk(&mut driver, Side::Tenant, &mut client, usize::MAX);
        driver.receive(Side::Tenant, &close_notify_of(&mut client));
        driver.input(Input::Kill(CloseReason::ShuttingDown));
        assert!(driver.closed.is_none(), "it ends already, and soon");
        if breaks {
            driver.write_fails(Side::Tenant);
        } else {
            driver.expire();
        }
        assert!(!driver.tenant.shut_down);
        assert!(matches!(driver.closed, Some(CloseReason::Http(HttpEnd::Idle))), "{:?}", driver.closed);
    }
}

#[test]
fn a_tenant_that_breaks_tls_in_its_relay_gets_the_alert_behind_what_is_under_way() {
    let (mut driver, mut client) = relaying();
    driver.receive(Side::Compute, b"a screen");
    driver.receive(Side::Tenant, b"\x17\x03\x03\x00\x20 is not what a key has sealed !!!");
    assert!(driver.tenant.writing && driver.closed.is_none());
    driver.flush();
    if driver.closed.is_none() {
        driver.end(Side::Compute);
    }
    assert!(matches!(driver.closed, Some(CloseReason::TenantFailed(_))), "{:?}", driver.closed);
    let sent = driver.take_sent(Side::Tenant);
    let mut rest = &sent[..];
    client.read_tls(&mut rest).unwrap();
    let alert = client.process_new_packets().unwrap_err();
    assert!(matches!(alert, rustls::Error::AlertReceived(_)), "{alert}");
    assert_eq!(client.reader().fill_buf().unwrap(), b"\x82\x08a screen");
}

#[test]
fn a_step_under_tls_goes_through_one_buffer() {
    let (mut driver, mut client) = relaying();
    client.writer().write_all(&conversation::binary(b"a key")).unwrap();
    let mut wire = Chunk::with_capacity(1_024);
    let len = client.write_tls(&mut wire.spare_mut()).unwrap();
    wire.commit(len);
    let storage = wire.bytes().as_ptr_range().start.addr();
    driver.tenant.reading = false;
    driver.session.handle(
        driver.now,
        UNIX_S,
        &driver.settings,
        Input::Received { from: Side::Tenant, chunk: wire },
        &mut driver.outbox,
    );
    let outputs: Vec<_> = driver.outbox.drain().collect();
    let [Output::Write { to: Side::Compute, chunk }, ..] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(chunk.bytes(), b"a key");
    let written = chunk.bytes().as_ptr().addr();
    assert!((storage..storage + 1_024).contains(&written), "the buffer that was read into is written");
}

#[test]
fn what_comes_behind_our_close_notify_is_discarded_unopened() {
    let (mut driver, mut client) = relaying();
    driver.end(Side::Compute);
    driver.flush();
    opened_to_its_end(&mut client, &driver.take_sent(Side::Tenant));
    assert!(driver.tenant.shut_down);
    driver.receive(Side::Tenant, b"\x17\x03\x03\x00\x20 is not what a key has sealed !!!");
    assert_eq!(driver.take_sent(Side::Tenant), b"", "no alert behind close_notify and FIN");
    driver.end(Side::Tenant);
    assert!(matches!(driver.closed, Some(CloseReason::ComputeEnded)), "{:?}", driver.closed);
}
