//! A password of compute nodes that the proxy holds: real QEMUs that want one, inside TLS and in the clear.

use std::fs;
use std::path::PathBuf;

use super::admin;
use super::client::{Client, End};
use super::guest::{GUEST_BEFORE_TLS, Guest, PROXY_BEFORE_TLS, assert_tls, wiretap};
use super::pki::Pki;
use super::program::{Options, Program, secrets};
use super::screen::see_the_screen;

on_both_engines! {
    a_guest_that_wants_a_password_inside_tls_gets_it_and_the_tenant_is_not_asked,
    a_guest_that_wants_a_password_in_the_clear_gets_it_only_where_that_is_allowed,
    a_wrong_password_is_told_apart_and_a_changed_file_serves_the_next_console,
    a_file_that_is_not_there_costs_the_consoles_that_need_it_until_it_is,
    a_guest_that_refuses_our_certificate_gets_no_password,
}

const PASSWORD: &str = "secretpw";

/// QEMU's words for a wrong password, as the tenant gets them.
const REFUSED: &[u8] = b"\0\0\0\x01\0\0\0\x15Authentication failed";
const FAILED: &[u8] = b"\0\0\0\x01\0\0\0\x28Unable to negotiate security with server";

/// A file with the password, in a folder of the test's.
fn file(pki: &Pki, password: &str) -> PathBuf {
    secrets::issue(password);
    let path = pki.ours.folder().join("vnc-password");
    fs::write(&path, format!("{password}\n")).unwrap();
    path
}

fn start(engine: &str, own: &str, extra: &str) -> Program {
    let own = format!("port_check = off\nadmin_socket = admin.sock\n{own}");
    Program::start(&Options { own: &own, extra, ..Options::on(engine) })
}

fn open(program: &Program, port: u16) -> Client {
    let token = program.token("novnc", port, 600);
    Client::upgrade(program.address, &format!("/?token={token}"), &[])
}

/// The tenant's part up to a refusal.
fn see_it_fail(program: &Program, port: u16, told: &[u8]) {
    let mut client = open(program, port);
    assert_eq!(client.read_frame(), (0x82, b"RFB 003.008\n".to_vec()));
    client.frame(2, b"RFB 003.008\n");
    assert_eq!(client.read_frame(), (0x82, vec![1, 1]));
    client.frame(2, &[1]);
    assert_eq!(client.read_frame(), (0x82, told.to_vec()));
    assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest(), (vec![], End::Fin));
}

fn assert_counted(program: &Program, kind: &str) {
    assert_eq!(admin::counted(program, "rfb_failed"), [format!("{{kind=\"{kind}\"}} 1")]);
    assert!(!program.log().contains(PASSWORD));
}

fn a_guest_that_wants_a_password_inside_tls_gets_it_and_the_tenant_is_not_asked(engine: &str) {
    let pki = Pki::new();
    let own = format!("vnc_password_file = {}", file(&pki, PASSWORD).display());
    for (credentials, client) in [
        ("verify-peer=on", Some((&pki.ours, "client"))),
        ("verify-peer=off,priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", None),
    ] {
        let guest = Guest::wanting_a_password(pki.ours.folder(), Some(credentials));
        Guest::set_password(pki.ours.folder(), PASSWORD);
        let program = start(engine, &own, &pki.options(&pki.ours, client));
        let (port, wire) = wiretap(guest.port, b"");
        see_the_screen(&mut open(&program, port));
        let wire = wire.join().unwrap();
        assert_eq!(wire.from_proxy[12..PROXY_BEFORE_TLS], [19, 0, 2, 0, 0, 1, 5], "X509Vnc");
        assert_tls(&wire.from_proxy[PROXY_BEFORE_TLS..]);
        assert_tls(&wire.from_guest[GUEST_BEFORE_TLS..]);
        assert!(!program.log().contains(PASSWORD));
    }
}

fn a_guest_that_wants_a_password_in_the_clear_gets_it_only_where_that_is_allowed(engine: &str) {
    let pki = Pki::new();
    let guest = Guest::wanting_a_password(pki.ours.folder(), None);
    Guest::set_password(pki.ours.folder(), PASSWORD);
    let own = format!("vnc_password_file = {}", file(&pki, PASSWORD).display());
    let program = start(engine, &own, "");
    program.wait_for_log("[consolegate] vnc_password_file is set, but is not used: ");
    see_it_fail(&program, guest.port, FAILED);
    program.wait_for_log("compute offered the security types 2 (VNC); usable from auth_schemes: 1 (NONE)");
    assert_counted(&program, "no-common-type");
    // What Nova has in auth_schemes comes first, as it does here.
    let program = start(engine, &format!("{own}\nvnc_password_in_clear = on"), "");
    see_the_screen(&mut open(&program, guest.port));
    assert!(!program.log().contains(PASSWORD));
}

fn a_wrong_password_is_told_apart_and_a_changed_file_serves_the_next_console(engine: &str) {
    let pki = Pki::new();
    let own = format!("vnc_password_file = {}\nvnc_password_in_clear = on", file(&pki, "wrongpwd").display());
    for credentials in [Some("verify-peer=off"), None] {
        file(&pki, "wrongpwd");
        let guest = Guest::wanting_a_password(pki.ours.folder(), credentials);
        let program = start(engine, &own, &pki.options(&pki.ours, None));
        // None was set: no answer is the right one.
        see_it_fail(&program, guest.port, REFUSED);
        assert_counted(&program, "auth-failed");
        Guest::set_password(pki.ours.folder(), PASSWORD);
        see_it_fail(&program, guest.port, REFUSED);
        program.wait_for_log("compute failed the authentication with result 1: \"Authentication failed\"");
        file(&pki, PASSWORD);
        program.wait_for_log("vnc-password was read anew");
        see_the_screen(&mut open(&program, guest.port));
        file(&pki, "");
        program.wait_for_log("vnc-password holds no password in its first line; the one before stays in use");
        see_the_screen(&mut open(&program, guest.port));
        assert!(!program.log().contains(PASSWORD) && !program.log().contains("wrongpwd"));
    }
}

fn a_file_that_is_not_there_costs_the_consoles_that_need_it_until_it_is(engine: &str) {
    let pki = Pki::new();
    let own = format!("vnc_password_file = {}", pki.ours.folder().join("vnc-password").display());
    let guest = Guest::wanting_a_password(pki.ours.folder(), Some("verify-peer=off"));
    Guest::set_password(pki.ours.folder(), PASSWORD);
    let program = start(engine, &own, &pki.options(&pki.ours, None));
    program.wait_for_log("vnc-password could not be read: ");
    see_it_fail(&program, guest.port, FAILED);
    program.wait_for_log("compute offered the VeNCrypt sub-types 261 (X509VNC); usable: 260 (X509NONE)");
    assert_counted(&program, "ven-subtype");
    file(&pki, PASSWORD);
    program.wait_for_log("vnc-password was read anew");
    see_the_screen(&mut open(&program, guest.port));
}

fn a_guest_that_refuses_our_certificate_gets_no_password(engine: &str) {
    let pki = Pki::new();
    let own = format!("vnc_password_file = {}", file(&pki, PASSWORD).display());
    let guest = Guest::wanting_a_password(pki.ours.folder(), Some("verify-peer=on"));
    Guest::set_password(pki.ours.folder(), PASSWORD);
    let program = start(engine, &own, &pki.options(&pki.ours, Some((&pki.foreign, "client"))));
    see_it_fail(&program, guest.port, FAILED);
    program.wait_for_log("compute closed the connection right behind the TLS handshake");
    assert_counted(&program, "closed-after-tls");
}
