//! VeNCrypt to the real QEMU: who is trusted, what is on the wire, and what a tenant sees of it.

use std::fs;

use super::admin;
use super::client::{Client, End};
use super::guest::{GUEST_BEFORE_TLS, Guest, PROXY_BEFORE_TLS, assert_tls, wiretap};
use super::pair::{Pair, connect};
use super::pki::{Authority, Pki};
use super::program::{Options, Program};
use super::screen::see_the_screen;

on_both_engines! {
    a_screen_is_relayed_and_nothing_of_it_is_clear_on_the_wire,
    a_tenant_under_tls_sees_the_same_screen,
    client_certificates_that_qemu_does_not_accept_are_named,
    guests_of_an_unknown_authority_are_refused,
    clear_bytes_behind_the_answer_to_the_sub_type_are_never_taken_for_its_result,
    guests_whose_certificate_has_expired_are_refused,
    names_count_only_with_vencrypt_verify_host,
    renewed_authorities_serve_the_next_console,
    without_authorities_vencrypt_is_refused,
}

const FAILED: &[u8] = b"\0\0\0\x01\0\0\0\x28Unable to negotiate security with server";

const OWN: &str = "port_check = off\nadmin_socket = admin.sock";

fn start(engine: &str, extra: &str) -> Program {
    Program::start(&Options { own: OWN, extra, ..Options::on(engine) })
}

/// One negotiation has failed, as this.
fn assert_counted(program: &Program, kind: &str) {
    assert_eq!(admin::counted(program, "rfb_failed"), [format!("{{kind=\"{kind}\"}} 1")]);
}

fn open(program: &Program, port: u16) -> Client {
    let token = program.token("novnc", port, 600);
    Client::upgrade(program.address, &format!("/?token={token}"), &[])
}

/// The tenant's part up to a refusal, which tells it no more than Nova does.
fn see_it_fail(client: &mut Client) {
    assert_eq!(client.read_frame(), (0x82, b"RFB 003.008\n".to_vec()));
    client.frame(2, b"RFB 003.008\n");
    assert_eq!(client.read_frame(), (0x82, vec![1, 1]));
    client.frame(2, &[1]);
    assert_eq!(client.read_frame(), (0x82, FAILED.to_vec()));
    assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![], End::Fin));
}

fn a_screen_is_relayed_and_nothing_of_it_is_clear_on_the_wire(engine: &str) {
    let pki = Pki::new();
    for (credentials, client) in [
        ("verify-peer=on", Some((&pki.ours, "client"))),
        ("verify-peer=on,priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", Some((&pki.ours, "client"))),
        ("verify-peer=on,priority=NORMAL:-VERS-ALL:+VERS-TLS1.3", Some((&pki.ours, "client"))),
        ("verify-peer=off", None),
        ("verify-peer=off,priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", None),
        ("verify-peer=off", Some((&pki.foreign, "client"))),
    ] {
        let guest = Guest::start(pki.ours.folder(), credentials);
        let program = start(engine, &pki.options(&pki.ours, client));
        let (port, wire) = wiretap(guest.port, b"");
        see_the_screen(&mut open(&program, port));
        let wire = wire.join().unwrap();
        assert_eq!(wire.from_proxy[..12], *b"RFB 003.008\n");
        assert_eq!(wire.from_proxy[12..PROXY_BEFORE_TLS], [19, 0, 2, 0, 0, 1, 4], "{credentials}");
        assert_tls(&wire.from_proxy[PROXY_BEFORE_TLS..]);
        assert_tls(&wire.from_guest[GUEST_BEFORE_TLS..]);
        let clear = wire.from_guest.windows(8).any(|window| window == b"instance");
        assert!(!clear && wire.from_guest.len() > 1_000_000, "{} bytes", wire.from_guest.len());
        // Name indication would tell everybody on the wire whose console this is.
        assert!(!wire.from_proxy.windows(9).any(|window| window == b"127.0.0.1"));
    }
}

fn a_tenant_under_tls_sees_the_same_screen(engine: &str) {
    let (pki, pair) = (Pki::new(), Pair::new());
    let guest = Guest::start(pki.ours.folder(), "verify-peer=on");
    let program = pair.start(engine, "", &pki.options(&pki.ours, Some((&pki.ours, "client"))));
    let token = program.token("novnc", guest.port, 600);
    let stream = connect(program.address, &pair.certificate).unwrap();
    see_the_screen(&mut Client::over(stream).upgraded(&format!("/?token={token}"), &[]));
}

fn client_certificates_that_qemu_does_not_accept_are_named(engine: &str) {
    let pki = Pki::new();
    for version in ["TLS1.2", "TLS1.3"] {
        let credentials = format!("verify-peer=on,priority=NORMAL:-VERS-ALL:+VERS-{version}");
        let guest = Guest::start(pki.ours.folder(), &credentials);
        for client in [None, Some((&pki.foreign, "client")), Some((&pki.ours, "expired"))] {
            let program = start(engine, &pki.options(&pki.ours, client));
            see_it_fail(&mut open(&program, guest.port));
            program.wait_for_log(
                "Failed to negotiate security type with server: compute closed the connection right behind the TLS \
                 handshake: it did not accept our client certificate, or wants one (vencrypt_client_cert)",
            );
            assert_counted(&program, "closed-after-tls");
        }
    }
}

fn guests_of_an_unknown_authority_are_refused(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    let program = start(engine, &pki.options(&pki.foreign, None));
    see_it_fail(&mut open(&program, guest.port));
    program.wait_for_log("TLS with compute failed: invalid peer certificate: UnknownIssuer");
    assert_counted(&program, "tls");
}

fn guests_whose_certificate_has_expired_are_refused(engine: &str) {
    let pki = Pki::new();
    let program = start(engine, &pki.options(&pki.ours, None));
    pki.ours.expired_server();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off,sanity-check=off");
    see_it_fail(&mut open(&program, guest.port));
    program.wait_for_log("TLS with compute failed: invalid peer certificate: certificate expired");
}

fn clear_bytes_behind_the_answer_to_the_sub_type_are_never_taken_for_its_result(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    let program = start(engine, &pki.options(&pki.ours, None));
    // A result that says yes, and the start of a screen.
    let (port, wire) = wiretap(guest.port, b"\0\0\0\0\x02\x80\x01\xe0");
    see_it_fail(&mut open(&program, port));
    program.wait_for_log("TLS with compute failed: received corrupt message");
    // Our hello and the alert, not one byte of the session.
    assert_tls(&wire.join().unwrap().from_proxy[PROXY_BEFORE_TLS..]);
}

fn names_count_only_with_vencrypt_verify_host(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    let options = pki.options(&pki.ours, None);
    let own = "port_check = off\nvencrypt_verify_host = true";
    let program = Program::start(&Options { own, extra: &options, ..Options::on(engine) });
    see_it_fail(&mut open(&program, guest.port));
    program.wait_for_log("TLS with compute failed: invalid peer certificate: certificate not valid for name");
    pki.ours.server(&["127.0.0.1"]);
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    see_the_screen(&mut open(&program, guest.port));
}

fn renewed_authorities_serve_the_next_console(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    let mixed = Authority::new(pki.ours.folder().join("mixed"));
    let program = start(engine, &pki.options(&mixed, None));
    see_it_fail(&mut open(&program, guest.port));
    fs::write(mixed.file("ca-cert"), "").unwrap();
    program.wait_for_log("ca-cert.pem holds no certificate; the one before stays in use");
    let both = [&mixed, &pki.ours].map(|authority| fs::read_to_string(authority.file("ca-cert")).unwrap());
    fs::write(mixed.file("ca-cert"), both.concat()).unwrap();
    program.wait_for_log("ca-cert.pem was read anew");
    see_the_screen(&mut open(&program, guest.port));
}

fn without_authorities_vencrypt_is_refused(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::start(pki.ours.folder(), "verify-peer=off");
    let program = start(engine, "[vnc]\nauth_schemes = vencrypt");
    program.wait_for_log("[vnc] auth_schemes lists vencrypt, but vencrypt_ca_certs is not set");
    see_it_fail(&mut open(&program, guest.port));
    program.wait_for_log("there are no certificate authorities to check it by");
}
