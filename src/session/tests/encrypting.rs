//! The compute node's side under TLS from its first byte on.

use std::io::Write;

use rustls::{ServerConnection, SupportedProtocolVersion, version};

use super::conversation::*;
use super::tls::trusting;
use super::tls_peer::{opened, opened_to_its_end, talk, wire_of};
use super::*;
use crate::console::ConnectInfo;

/// A serial console that wants TLS, and a compute node whose certificate is trusted.
fn trusted(version: &'static SupportedProtocolVersion) -> (Settings, ServerConnection) {
    let mut settings = serial();
    let (server, client) = trusting("compute-1.example", &[version]);
    settings.compute_tls = ComputeTlsSettings { verify_host: true, whole: true, ..Default::default() };
    settings.compute_tls.connector.replace(Some(client));
    (settings, ServerConnection::new(server).unwrap())
}

/// Connected; our hello is on its way.
pub(super) fn encrypting() -> (Driver, ServerConnection) {
    let (settings, server) = trusted(&version::TLS13);
    let mut driver = Driver::dialling(settings);
    driver.connected();
    assert_eq!(driver.phase(), "encrypting");
    (driver, server)
}

fn kind(reason: &CloseReason) -> &'static str {
    let CloseReason::Refused(Refusal::ComputeTls(error)) = reason else { panic!("{reason:?}") };
    match error {
        ComputeTlsError::Failed(_) => "tls",
        ComputeTlsError::Closed => "closed-early",
        ComputeTlsError::TimedOut => "time-out",
        ComputeTlsError::ClosedAfterTls => "closed-after-tls",
    }
}

/// What metrics have counted as TLS that failed.
fn counted(driver: &Driver) -> Vec<&'static str> {
    use crate::telemetry::labels::{ComputeTlsFailure, Label};
    let failed = &driver.outbox.counters().compute_tls_failed;
    let kinds = ComputeTlsFailure::ALL.iter();
    kinds.filter(|kind| failed.of(**kind).get() == 1).map(|kind| kind.as_str()).collect()
}

#[test]
fn any_split_of_the_wire_leads_to_the_relay_and_nothing_is_clear() {
    for version in [&version::TLS12, &version::TLS13] {
        for piece in [1, 5, 100, usize::MAX] {
            let (settings, mut server) = trusted(version);
            let mut driver = Driver::dialling(settings);
            // Typed before the console is there.
            driver.receive(Side::Tenant, &binary(b"early bird"));
            driver.connected();
            driver.flush();
            // A console that speaks first, in the flight that ends its handshake where TLS lets it.
            server.writer().write_all(b"login: ").unwrap();
            let hello = driver.take_sent(Side::Compute);
            assert_eq!(hello[0], 0x16, "a TLS handshake and nothing before it");
            opened(&mut server, &hello);
            assert_eq!(
                talk(&mut driver, Side::Compute, &mut server, piece),
                b"early bird",
                "pieces of {piece}"
            );
            assert_eq!(driver.phase(), "relaying");
            assert_eq!(unframed(&driver.take_sent(Side::Tenant)).0, b"login: ");
            driver.receive(Side::Tenant, &close_frame(1000, ""));
            driver.flush();
            opened_to_its_end(&mut server, &driver.take_sent(Side::Compute));
            assert!(driver.compute.shut_down);
        }
    }
}

#[test]
fn the_path_of_the_token_is_asked_for_inside_tls() {
    let (settings, mut server) = trusted(&version::TLS13);
    let mut driver = Driver::authorizing(settings);
    let internal_access_path = Some("/console?ref=1".to_owned());
    let info = ConnectInfo { internal_access_path, ..connect_info(ConsoleType::Serial) };
    driver.answer(Input::Authorized(Admitted::boxed(info)));
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
    driver.flush();
    opened(&mut server, &driver.take_sent(Side::Compute));
    let asked = talk(&mut driver, Side::Compute, &mut server, usize::MAX);
    assert_eq!(asked, b"CONNECT /console?ref=1 HTTP/1.1\r\n\r\n");
    assert_eq!(driver.phase(), "tunnelling");
    server.writer().write_all(b"HTTP/1.1 200 OK\r\n\r\nlogin: ").unwrap();
    talk(&mut driver, Side::Compute, &mut server, 7);
    assert_eq!(driver.phase(), "relaying");
    assert_eq!(unframed(&driver.take_sent(Side::Tenant)).0, b"login: ");
}

#[test]
fn the_port_for_tls_is_dialled_where_the_token_has_one_and_tls_is_wanted() {
    let plain = Some(5900);
    for (whole, port, tls_port, dialled) in [
        (true, plain, Some(5901), 5901),
        (true, plain, None, 5900),
        (false, plain, Some(5901), 5900),
        (true, None, Some(5901), 5901),
    ] {
        let (mut settings, _) = trusted(&version::TLS13);
        settings.compute_tls.whole = whole;
        let mut driver = Driver::authorizing(settings);
        let info = ConnectInfo { port, tls_port, ..connect_info(ConsoleType::Serial) };
        driver.answer(Input::Authorized(Admitted::boxed(info)));
        let Question::Resolve { port, .. } = driver.take_question() else { panic!() };
        assert_eq!(port, dialled, "{whole} {tls_port:?}");
    }
}

#[test]
fn whatever_ends_the_handshake_is_told_apart_and_the_tenant_learns_nothing() {
    for (how, expected) in
        [("FIN", "closed-early"), ("RST", "closed-early"), ("silence", "time-out"), ("nonsense", "tls")]
    {
        let (mut driver, mut server) = encrypting();
        driver.flush();
        opened(&mut server, &driver.take_sent(Side::Compute));
        let answer = wire_of(&mut server);
        match how {
            "FIN" => driver.end(Side::Compute),
            "RST" => driver.reset(Side::Compute),
            "silence" => driver.expire(),
            _ => driver.receive(Side::Compute, b"REDQ\x02\0\0\0\x02\0\0\0"),
        }
        driver.flush();
        assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE, "{how}");
        let alert = driver.take_sent(Side::Compute);
        assert_eq!(alert.first(), (how == "nonsense").then_some(&0x15), "{how}");
        if driver.compute.reading {
            driver.receive(Side::Compute, &answer);
            driver.flush();
            assert_eq!(driver.take_sent(Side::Compute), b"", "nothing follows the FIN, {how}");
        }
        assert_eq!(counted(&driver), [expected], "{how}");
        assert_eq!(kind(&driver.finish()), expected, "{how}");
    }
}

#[test]
fn without_authorities_nothing_is_sent() {
    let (settings, _) = trusted(&version::TLS13);
    settings.compute_tls.connector.replace(None);
    let mut driver = Driver::dialling(settings);
    driver.connected();
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"");
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE);
    assert_eq!(kind(&driver.finish()), "tls");
}

#[test]
fn an_end_at_once_and_without_a_word_is_the_client_certificates() {
    for (how, late, said, expected) in [
        ("FIN", false, false, &["closed-after-tls"][..]),
        ("RST", false, false, &["closed-after-tls"]),
        ("FIN", true, false, &[]),
        ("FIN", false, true, &[]),
    ] {
        let (mut driver, mut server) = encrypting();
        driver.flush();
        opened(&mut server, &driver.take_sent(Side::Compute));
        talk(&mut driver, Side::Compute, &mut server, usize::MAX);
        assert_eq!(driver.phase(), "relaying");
        if said {
            server.writer().write_all(b"bye").unwrap();
            talk(&mut driver, Side::Compute, &mut server, usize::MAX);
        }
        if late {
            driver.sleep(Duration::from_secs(11));
        }
        if how == "RST" {
            driver.reset(Side::Compute)
        } else {
            driver.end(Side::Compute)
        }
        driver.flush();
        assert_eq!(counted(&driver), expected, "{how} {late} {said}");
    }
}

#[test]
fn a_session_killed_in_the_handshake_sends_nothing_behind_its_fin() {
    let (mut driver, mut server) = encrypting();
    driver.flush();
    opened(&mut server, &driver.take_sent(Side::Compute));
    driver.input(Input::Kill(CloseReason::ShuttingDown));
    driver.flush();
    assert!(driver.compute.shut_down);
    driver.receive(Side::Compute, &wire_of(&mut server));
    assert_eq!(driver.take_sent(Side::Compute), b"");
    assert!(matches!(driver.finish(), CloseReason::ShuttingDown));
}
