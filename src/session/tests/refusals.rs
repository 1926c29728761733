//! Refusals: what a tenant may learn from them, which is nothing.

use super::conversation::*;
use super::*;
use crate::console::ConnectInfo;
use crate::proto::http::connect::ConnectError;
use crate::proto::http::origin::OriginError;

/// How a session is brought to its refusal.
type Course = fn(&mut Driver);

/// Refuses a session that begins with `upgrade`, checks what the tenant gets and what the compute side gets,
/// and returns the outputs in words.
fn refused(settings: Settings, upgrade: &[u8], close: &[u8], course: Course) -> (Vec<String>, Refusal) {
    let mut driver = Driver::accept(settings);
    driver.receive(Side::Tenant, upgrade);
    course(&mut driver);
    assert_eq!(driver.phase(), "closing");
    driver.flush();
    driver.compute_leaves();
    driver.take_101();
    assert_eq!(driver.take_sent(Side::Tenant), close, "101, then the Close frame, and no other byte");
    assert!(driver.tenant.shut_down);
    assert_eq!(driver.waits(), Some(Duration::from_secs(5)));
    assert!(driver.closed.is_none(), "FIN, and no RST");
    driver.end(Side::Tenant);
    let Some(CloseReason::Refused(refusal)) = driver.closed else { panic!("{:?}", driver.closed) };
    (driver.trace, refusal)
}

fn authorize_fails(driver: &mut Driver, error: AuthorizeError) {
    driver.answer(Input::Failed(Failure::Authorize(error)));
}

fn token_is_invalid(driver: &mut Driver) {
    authorize_fails(driver, AuthorizeError::TokenInvalid);
}

fn token_is_for_a_spice_console(driver: &mut Driver) {
    driver.answer(Input::Authorized(Admitted::boxed(connect_info(ConsoleType::SpiceHtml5))));
}

fn port_check_fails(driver: &mut Driver) {
    authorize_fails(driver, AuthorizeError::PortCheck("no reply".to_owned()));
}

fn instance_has_no_host(driver: &mut Driver) {
    let instance_uuid = connect_info(ConsoleType::NoVnc).instance_uuid;
    authorize_fails(driver, AuthorizeError::InstanceWithoutHost { instance_uuid });
}

fn database_is_down(driver: &mut Driver) {
    authorize_fails(driver, AuthorizeError::Database("connection refused".to_owned()));
}

fn lookup_times_out(driver: &mut Driver) {
    driver.flush();
    assert_eq!(driver.waits(), Some(Duration::from_secs(60)));
    driver.expire();
    assert!(driver.question.take().is_some());
}

fn authorization_is_overloaded(driver: &mut Driver) {
    driver.answer(Input::Failed(Failure::Overloaded(Overloaded)));
}

fn port_is_for_tls_alone(driver: &mut Driver) {
    let info = ConnectInfo { port: None, tls_port: Some(5901), ..connect_info(driver.settings.console_type) };
    driver.answer(Input::Authorized(Admitted::boxed(info)));
}

fn resolution_fails(driver: &mut Driver) {
    driver.authorized();
    driver.answer(Input::Failed(Failure::Resolve("no such host".to_owned())));
}

fn resolution_is_overloaded(driver: &mut Driver) {
    driver.authorized();
    driver.answer(Input::Failed(Failure::Overloaded(Overloaded)));
}

fn resolution_finds_nothing(driver: &mut Driver) {
    driver.authorized();
    driver.answer(Input::Resolved(Vec::new()));
}

fn every_address_refuses(driver: &mut Driver) {
    driver.authorized();
    let addresses: Vec<SocketAddr> =
        (1..=3).map(|last| SocketAddr::from(([198, 51, 100, last], 5900))).collect();
    driver.answer(Input::Resolved(addresses.clone()));
    for address in addresses {
        assert_eq!(driver.connecting, Some(address), "one address after the other");
        driver.connect_fails();
    }
}

fn connect_times_out(driver: &mut Driver) {
    driver.authorized();
    driver.flush();
    driver.sleep(Duration::from_secs(4));
    driver.answer(Input::Resolved(vec![COMPUTE.into(), COMPUTE.into()]));
    driver.sleep(Duration::from_secs(4));
    driver.connect_fails();
    assert_eq!(driver.waits(), Some(Duration::from_secs(2)), "ten seconds over all addresses");
    driver.expire();
}

fn connect_behind(driver: &mut Driver, path: &str) {
    let internal_access_path = Some(path.to_owned());
    let info = ConnectInfo { internal_access_path, ..connect_info(driver.settings.console_type) };
    driver.answer(Input::Authorized(Admitted::boxed(info)));
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
}

fn tunnel_is_refused(driver: &mut Driver) {
    connect_behind(driver, "/console");
    driver.receive(Side::Compute, b"HTTP/1.1 401 Unauthorized\r\n\r\n");
}

fn tunnel_ends_early(driver: &mut Driver) {
    connect_behind(driver, "/console");
    driver.receive(Side::Compute, b"HTTP/1.1 200 OK\r\n");
    driver.end(Side::Compute);
}

fn tunnel_is_reset(driver: &mut Driver) {
    connect_behind(driver, "/console");
    driver.write_fails(Side::Compute);
    driver.reset(Side::Compute);
}

fn tunnel_answer_is_endless(driver: &mut Driver) {
    connect_behind(driver, "/console");
    driver.receive(Side::Compute, &[b'a'; 4096]);
}

fn tunnel_path_is_malformed(driver: &mut Driver) {
    connect_behind(driver, "/console\r\nHost: elsewhere");
}

/// Every refusal that follows a good request, by name.
const COURSES: &[(&str, Course)] = &[
    ("unknown or expired token", token_is_invalid),
    ("token of another type", token_is_for_a_spice_console),
    ("port check failed", port_check_fails),
    ("instance without a host", instance_has_no_host),
    ("database down", database_is_down),
    ("lookup timed out", lookup_times_out),
    ("authorization overloaded", authorization_is_overloaded),
    ("no port but for TLS", port_is_for_tls_alone),
    ("resolution failed", resolution_fails),
    ("resolution overloaded", resolution_is_overloaded),
    ("no address", resolution_finds_nothing),
    ("every address refused", every_address_refuses),
    ("connect timed out", connect_times_out),
    ("tunnel refused", tunnel_is_refused),
    ("tunnel ended early", tunnel_ends_early),
    ("tunnel reset", tunnel_is_reset),
    ("tunnel answer endless", tunnel_answer_is_endless),
    ("tunnel path malformed", tunnel_path_is_malformed),
];

#[test]
fn every_refusal_is_101_then_an_empty_close_then_fin() {
    for (name, course) in COURSES {
        println!("{name}");
        refused(vnc(), &upgrade(), EMPTY_CLOSE, *course);
    }
}

#[test]
fn explained_refusals_say_1008_or_1013_and_nothing_about_the_cause() {
    for (name, course) in COURSES {
        println!("{name}");
        let code = if name.contains("overloaded") { 1013 } else { 1008 };
        let close = close_sent(code, "console session refused");
        let settings = Settings { explain_refusals: true, ..vnc() };
        refused(settings, &upgrade(), &close, *course);
    }
}

#[test]
fn unknown_expired_and_mismatching_tokens_look_the_same() {
    let [unknown, mismatch] = [token_is_invalid, token_is_for_a_spice_console]
        .map(|course: Course| refused(vnc(), &upgrade(), EMPTY_CLOSE, course));
    assert_eq!(unknown.0, mismatch.0, "the same outputs in the same order");
    assert!(matches!(unknown.1, Refusal::Authorize(AuthorizeError::TokenInvalid)));
    assert!(matches!(
        mismatch.1,
        Refusal::ConsoleType { got: ConsoleType::SpiceHtml5, expected: ConsoleType::NoVnc }
    ));
}

#[test]
fn a_request_without_a_token_is_looked_up_like_any_other() {
    for target in ["/websockify", "/websockify?token=", "/websockify?path=%3Ftoken%3D"] {
        let request = String::from_utf8(upgrade()).unwrap();
        let request = request.replace(&format!("/websockify?token={TOKEN}"), target);
        let missing = refused(vnc(), request.as_bytes(), EMPTY_CLOSE, token_is_invalid);
        let unknown = refused(vnc(), &upgrade(), EMPTY_CLOSE, token_is_invalid);
        assert_eq!(missing.0, unknown.0, "{target}");
    }
}

#[test]
fn the_question_holds_the_hash_of_the_token_presented() {
    let mut driver = Driver::authorizing(vnc());
    let Question::Authorize { hash, .. } = driver.take_question() else { panic!("not asked about a token") };
    assert_eq!(hash, crate::console::ConsoleToken::new(TOKEN).hash());
}

#[test]
fn any_console_type_lifts_the_check_of_the_type() {
    let settings = Settings { any_console_type: true, ..vnc() };
    let mut driver = Driver::authorizing(settings);
    token_is_for_a_spice_console(&mut driver);
    assert_eq!(driver.phase(), "connecting");
    assert!(
        matches!(driver.take_question(), Question::Resolve { host, port: 5900 } if host == "compute-1.example")
    );
}

fn token_is_valid(driver: &mut Driver) {
    driver.authorized();
}

#[test]
fn every_origin_failure_is_refused_after_the_lookup() {
    for (headers, expected) in [
        ("Origin: nonsense\r\n", OriginError::Malformed),
        ("Origin: null\r\n", OriginError::Malformed),
        ("Origin: http://proxy.example\r\nOrigin: http://proxy.example\r\n", OriginError::Malformed),
        ("Origin: http://evil.example\r\n", OriginError::Host),
        ("Origin: http://proxy.example.evil.example:6080\r\n", OriginError::Host),
        ("Origin: https://proxy.example:6080\r\n", OriginError::Protocol),
        ("Origin: http://proxy.example:6080\r\nX-Forwarded-Proto: https\r\n", OriginError::Protocol),
    ] {
        let upgrade = upgrade_with(headers);
        let (trace, refusal) = refused(vnc(), &upgrade, EMPTY_CLOSE, token_is_valid);
        assert!(matches!(refusal, Refusal::Origin(got) if got == expected), "{headers}: {refusal:?}");
        assert_eq!(trace, refused(vnc(), &upgrade, EMPTY_CLOSE, token_is_invalid).0, "{headers}");
        let settings = Settings { explain_refusals: true, ..vnc() };
        refused(settings, &upgrade, &close_sent(1008, "console session refused"), token_is_valid);
    }
}

#[test]
fn good_origins_and_none_at_all_are_let_through() {
    for headers in [
        "",
        "Origin: http://proxy.example\r\n",
        "Origin: http://PROXY.example:6080\r\n",
        "Origin: http://dashboard.example\r\n",
        "Origin: https://proxy.example\r\nX-Forwarded-Proto: http\r\n",
    ] {
        let settings = Settings { allowed_origins: vec!["dashboard.example".to_owned()], ..vnc() };
        let mut driver = Driver::accept(settings);
        driver.receive(Side::Tenant, &upgrade_with(headers));
        driver.authorized();
        assert_eq!(driver.phase(), "connecting", "{headers}");
    }
}

#[test]
fn the_log_knows_the_cause_that_the_tenant_is_not_told() {
    let (_, refusal) = refused(vnc(), &upgrade(), EMPTY_CLOSE, tunnel_is_refused);
    assert!(matches!(refusal, Refusal::Tunnel(ConnectError::Refused)));
    let (_, refusal) = refused(vnc(), &upgrade(), EMPTY_CLOSE, every_address_refuses);
    assert!(
        matches!(&refusal, Refusal::Unreachable(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    let (_, refusal) = refused(vnc(), &upgrade(), EMPTY_CLOSE, token_is_invalid);
    assert_eq!(refusal.to_string(), "The token '***' is invalid or has expired");
}

#[test]
fn no_more_than_eight_addresses_are_tried() {
    let mut driver = Driver::resolving(vnc());
    driver.answer(Input::Resolved(vec![COMPUTE.into(); 20]));
    let mut tried = 0;
    while driver.phase() == "connecting" {
        driver.connect_fails();
        tried += 1;
    }
    assert_eq!(tried, 8);
}
