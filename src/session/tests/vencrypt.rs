//! The compute node's side under TLS, in the middle of a session.

use std::io::Write;

use rustls::{ServerConnection, SupportedProtocolVersion, version};

use super::conversation::*;
use super::tls::trusting;
use super::tls_peer::{opened, opened_to_its_end, talk, wire_of};
use super::*;
use crate::proto::rfb::AuthScheme;

/// All that the compute node says before TLS.
const BEFORE_TLS: &[u8] = b"\0\x02\0\x01\0\0\x01\x04\x01";

/// VNC that wants `VeNCrypt`, and a compute node whose certificate is trusted.
fn trusted(version: &'static SupportedProtocolVersion) -> (Settings, ServerConnection) {
    let mut settings = vnc();
    settings.security = Security::Rfb(vec![AuthScheme::VeNCrypt]);
    let (server, client) = trusting("compute-1.example", &[version]);
    settings.compute_tls.verify_host = true;
    settings.compute_tls.connector.replace(Some(client));
    (settings, ServerConnection::new(server).unwrap())
}

/// A session whose compute node has agreed on everything before TLS, and which has sent its hello.
fn agreed(settings: Settings) -> Driver {
    let mut driver = Driver::dialling(settings);
    driver.connected();
    driver.receive(Side::Compute, VERSION);
    driver.receive(Side::Compute, b"\x01\x13");
    driver.flush();
    for bytes in [VERSION, b"\x01".as_slice()] {
        driver.receive(Side::Tenant, &binary(bytes));
        driver.flush();
    }
    for bytes in [&BEFORE_TLS[..2], &BEFORE_TLS[2..3], &BEFORE_TLS[3..8], &BEFORE_TLS[8..]] {
        driver.receive(Side::Compute, bytes);
        driver.flush();
    }
    driver.take_sent(Side::Tenant);
    driver
}

/// The hello, less what was sent in the clear before it.
fn hello(driver: &mut Driver) -> Vec<u8> {
    let sent = driver.take_sent(Side::Compute);
    let clear = b"RFB 003.008\n\x13\0\x02\0\0\x01\x04";
    assert_eq!(sent[..clear.len()], *clear);
    assert_eq!(sent[clear.len()], 0x16, "a TLS handshake");
    sent[clear.len()..].to_vec()
}

/// A console at rest in its relay, under TLS.
fn relaying_under_tls(
    version: &'static SupportedProtocolVersion,
    piece: usize,
) -> (Driver, ServerConnection) {
    let (settings, mut server) = trusted(version);
    let mut driver = agreed(settings);
    server.writer().write_all(&[0; 4]).unwrap();
    let hello = hello(&mut driver);
    assert_eq!(opened(&mut server, &hello), b"");
    assert_eq!(talk(&mut driver, Side::Compute, &mut server, piece), b"");
    assert_eq!(driver.phase(), "relaying");
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(&[0; 4]));
    (driver, server)
}

#[test]
fn any_split_of_the_wire_leads_to_the_relay_and_bytes_go_both_ways() {
    for version in [&version::TLS12, &version::TLS13] {
        for piece in [1, 2, 5, 6, 100, usize::MAX] {
            let (mut driver, mut server) = relaying_under_tls(version, piece);
            driver.receive(Side::Tenant, &binary(b"\x01"));
            driver.flush();
            server.writer().write_all(b"a screen").unwrap();
            assert_eq!(talk(&mut driver, Side::Compute, &mut server, piece), b"\x01");
            assert_eq!(unframed(&driver.take_sent(Side::Tenant)).0, b"a screen", "pieces of {piece}");
            driver.receive(Side::Tenant, &close_frame(1000, ""));
            driver.flush();
            // close_notify, and FIN behind it.
            opened_to_its_end(&mut server, &driver.take_sent(Side::Compute));
            assert!(driver.compute.shut_down);
        }
    }
}

#[test]
fn a_screen_under_tls_is_never_spliced() {
    let (mut driver, mut server) = relaying_under_tls(&version::TLS13, usize::MAX);
    let full = limits::size(driver.settings.limits.read_bytes);
    for round in 0..8_u8 {
        assert!(driver.compute.reading && !driver.compute.may_pipe, "round {round}");
        server.writer().write_all(&vec![round; full.min(16_384)]).unwrap();
        talk(&mut driver, Side::Compute, &mut server, usize::MAX);
        let (plain, _) = long_unframed(&driver.take_sent(Side::Tenant));
        assert_eq!(plain, full.min(16_384));
    }
}

/// Length of the payloads of our binary frames.
fn long_unframed(mut wire: &[u8]) -> (usize, usize) {
    let (mut sum, mut frames) = (0, 0);
    while let [0x82, len, rest @ ..] = wire {
        let (len, rest) = match len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(), &rest[8..]),
            len => (usize::from(*len), rest),
        };
        (sum, frames, wire) = (sum + len, frames + 1, &rest[len..]);
    }
    assert!(wire.is_empty());
    (sum, frames)
}

#[test]
fn a_compute_node_that_talks_ahead_gets_all_our_plain_bytes_before_the_hello() {
    let (settings, mut server) = trusted(&version::TLS13);
    let mut driver = Driver::dialling(settings);
    driver.connected();
    // Nothing of ours is written yet when all of this is there.
    driver.receive(Side::Compute, &[VERSION, b"\x01\x13".as_slice(), BEFORE_TLS].concat());
    driver.written(Side::Tenant);
    driver.receive(Side::Tenant, &binary(&[VERSION, b"\x01".as_slice()].concat()));
    driver.flush();
    server.writer().write_all(&[0; 4]).unwrap();
    let hello = hello(&mut driver);
    opened(&mut server, &hello);
    talk(&mut driver, Side::Compute, &mut server, usize::MAX);
    assert_eq!(driver.phase(), "relaying");
}

#[test]
fn bytes_in_the_clear_behind_the_last_answer_are_refused_with_an_alert() {
    let (settings, _) = trusted(&version::TLS13);
    let mut driver = Driver::dialling(settings);
    driver.connected();
    driver.receive(Side::Compute, &[VERSION, b"\x01\x13".as_slice()].concat());
    driver.flush();
    driver.receive(Side::Tenant, &binary(&[VERSION, b"\x01".as_slice()].concat()));
    driver.flush();
    driver.take_sent(Side::Tenant);
    driver.receive(Side::Compute, &[BEFORE_TLS, &[0; 4], b"a screen"].concat());
    // Its connection may say more, which nobody waits for.
    driver.receive(Side::Compute, b"and more");
    driver.flush();
    let wire = hello(&mut driver);
    let hello_len = 5 + usize::from(u16::from_be_bytes([wire[3], wire[4]]));
    assert_eq!(wire[hello_len], 0x15, "an alert behind the hello");
    assert!(driver.compute.shut_down);
    let (refusal, _) = unframed(&driver.take_sent(Side::Tenant));
    assert_eq!(refusal[..8], [0, 0, 0, 1, 0, 0, 0, 40]);
    let CloseReason::Rfb(error) = driver.finish() else { panic!() };
    assert_eq!(error.kind(), "tls");
}

#[test]
fn whatever_ends_a_tls_handshake_is_told_apart_and_nothing_follows_the_fin() {
    for (how, kind) in
        [("FIN", "closed-early"), ("RST", "closed-early"), ("silence", "time-out"), ("nonsense", "tls")]
    {
        let (settings, mut server) = trusted(&version::TLS13);
        let mut driver = agreed(settings);
        opened(&mut server, &hello(&mut driver));
        let answer = wire_of(&mut server);
        match how {
            "FIN" => driver.end(Side::Compute),
            "RST" => driver.reset(Side::Compute),
            "silence" => driver.expire(),
            _ => driver.receive(Side::Compute, b"\x16\x03\x03\x00\x04\x02\0\0\0"),
        }
        driver.flush();
        assert!(unframed(&driver.take_sent(Side::Tenant)).0.starts_with(&[0, 0, 0, 1]), "{kind}");
        driver.take_sent(Side::Compute);
        if driver.compute.reading {
            driver.receive(Side::Compute, &answer);
            driver.flush();
            assert_eq!(driver.take_sent(Side::Compute), b"", "{kind}");
        }
        let CloseReason::Rfb(error) = driver.finish() else { panic!("{kind}") };
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn a_session_killed_in_the_compute_nodes_handshake_sends_nothing_behind_its_fin() {
    let (settings, mut server) = trusted(&version::TLS13);
    let mut driver = agreed(settings);
    opened(&mut server, &hello(&mut driver));
    driver.input(Input::Kill(CloseReason::ShuttingDown));
    driver.flush();
    assert!(driver.compute.shut_down);
    driver.receive(Side::Compute, &wire_of(&mut server));
    assert_eq!(driver.take_sent(Side::Compute), b"");
    assert!(matches!(driver.finish(), CloseReason::ShuttingDown));
}

#[test]
fn an_end_right_behind_the_handshake_is_the_client_certificates() {
    let (settings, mut server) = trusted(&version::TLS13);
    let mut driver = agreed(settings);
    opened(&mut server, &hello(&mut driver));
    talk(&mut driver, Side::Compute, &mut server, usize::MAX);
    assert_eq!(driver.phase(), "securing");
    driver.end(Side::Compute);
    let CloseReason::Rfb(error) = driver.finish() else { panic!() };
    assert_eq!(error.kind(), "closed-after-tls");
}

#[test]
fn what_came_ahead_of_a_broken_record_is_shown() {
    let (mut driver, mut server) = relaying_under_tls(&version::TLS13, usize::MAX);
    server.writer().write_all(b"the last of it").unwrap();
    let broken = [&wire_of(&mut server)[..], b"\x17\x03\x03\x00\x20", &[0; 32]].concat();
    driver.receive(Side::Compute, &broken);
    driver.flush();
    let sent = driver.take_sent(Side::Tenant);
    assert_eq!(unframed(&sent).0, b"the last of it");
    assert!(matches!(driver.finish(), CloseReason::ComputeFailed(_)));
}

#[test]
fn without_authorities_there_is_no_hello() {
    let (settings, _) = trusted(&version::TLS13);
    settings.compute_tls.connector.replace(None);
    let mut driver = Driver::dialling(settings);
    driver.connected();
    driver.receive(Side::Compute, &[VERSION, b"\x01\x13".as_slice(), BEFORE_TLS].concat());
    driver.flush();
    driver.receive(Side::Tenant, &binary(&[VERSION, b"\x01".as_slice()].concat()));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"RFB 003.008\n\x13\0\x02\0\0\x01\x04", "no hello");
    let CloseReason::Rfb(error) = driver.finish() else { panic!() };
    assert!(error.to_string().contains("no certificate authorities"), "{error}");
}
