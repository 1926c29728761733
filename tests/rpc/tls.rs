//! TLS to the real broker, with good and bad certificates.

use consolegate::control::rpc::{CallError, RpcSettings};

use crate::peers::{Log, Peer, ask_once, broker, settings, uuid};

const SECONDS: u64 = 60;

fn over_tls(host: &str, options: &str) -> RpcSettings {
    let port = broker().text("/tls_port");
    let url = format!("rabbit://nova:pa55-wort@{host}:{port}/nova");
    settings(&url, "", &format!("ssl = true\n{options}"), "")
}

fn file(option: &str, fact: &str) -> String {
    format!("{option} = {}\n", broker().text(fact))
}

fn ask(settings: RpcSettings, seconds: u64) -> Result<bool, CallError> {
    ask_once(settings, &Peer::shared().host, &uuid(), seconds)
}

fn fails(settings: RpcSettings) -> String {
    let (failed, log) = Log::of(|| ask(settings, 3).unwrap_err());
    assert!(log.contains("is unreachable"), "{log}");
    failed.to_string()
}

#[test]
fn the_right_authority_lets_in() {
    for name in ["127.0.0.1", "localhost"] {
        assert!(ask(over_tls(name, &file("ssl_ca_file", "/ca")), SECONDS).unwrap(), "{name}");
    }
    let tls12 = file("ssl_ca_file", "/ca") + "ssl_version = TLSv1_2";
    assert!(ask(over_tls("localhost", &tls12), SECONDS).unwrap());
}

#[test]
fn another_authority_and_the_systems_do_not() {
    let said = fails(over_tls("localhost", &file("ssl_ca_file", "/other_ca")));
    assert!(said.contains("invalid peer certificate"), "{said}");
    let said = fails(over_tls("localhost", ""));
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn the_name_counts_unless_the_operator_says_otherwise() {
    let wrong = broker().text("/wrong_host");
    let said = fails(over_tls(&wrong, &file("ssl_ca_file", "/ca")));
    assert!(said.contains("not valid for name"), "{said}");
    let off = "ssl_enforce_hostname_verification = false\n";
    assert!(ask(over_tls(&wrong, &(file("ssl_ca_file", "/ca") + off)), SECONDS).unwrap());
    // Off for the name, not for the rest.
    let said = fails(over_tls(&wrong, &(file("ssl_ca_file", "/other_ca") + off)));
    assert!(said.contains("invalid peer certificate"), "{said}");
}

#[test]
fn a_client_certificate_logs_in() {
    let port = broker().text("/tls_port");
    let url = format!("rabbit://localhost:{port}/nova");
    let options = format!(
        "ssl = true\nrabbit_login_method = EXTERNAL\n{}{}{}",
        file("ssl_ca_file", "/ca"),
        file("ssl_cert_file", "/cert"),
        file("ssl_key_file", "/key"),
    );
    assert!(ask(settings(&url, "", &options, ""), SECONDS).unwrap());
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let said = fails(over_tls("localhost", "ssl_ca_file = /nonexistent/ca.pem"));
    assert!(said.contains("/nonexistent/ca.pem could not be read: No such file"), "{said}");
    let said = fails(over_tls("localhost", &(file("ssl_ca_file", "/ca") + &file("ssl_cert_file", "/ca"))));
    assert!(said.contains("holds no private key"), "{said}");
}

#[test]
fn a_broker_without_tls_is_told_apart() {
    let port = broker().text("/port");
    let url = format!("rabbit://nova:pa55-wort@localhost:{port}/nova");
    let options = format!("ssl = true\n{}", file("ssl_ca_file", "/ca"));
    let said = fails(settings(&url, "", &options, ""));
    assert!(said.contains("the TLS handshake failed"), "{said}");
}
