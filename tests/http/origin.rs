//! The Origin check, row by row. `h:6080` is the request's own host.

use consolegate::proto::http::OriginPolicy;
use consolegate::proto::http::origin::{OriginError, check};
use proptest::prelude::*;

use crate::{get, parse};

fn verdict(headers: &str, access_url_base: &str, policy: &OriginPolicy) -> Result<(), OriginError> {
    check(&get("/", headers), Some(access_url_base), policy)
}

fn behind_a_proxy() -> OriginPolicy {
    OriginPolicy { allowed: vec!["dashboard.example.org".to_owned()], honour_forwarded_proto: true }
}

#[test]
fn scheme_is_compared_with_the_access_url() {
    for (base, origin, forwarded, expected) in [
        ("http://h/vnc.html", "http://h:6080", None, Ok(())),
        ("http://h/vnc.html", "https://h:6080", None, Err(OriginError::Protocol)),
        ("http://h/vnc.html", "https://h", Some("http"), Ok(())),
        ("https://h/vnc.html", "http://h", Some("https"), Ok(())),
        ("https://h/vnc.html", "https://h", Some("http"), Err(OriginError::Protocol)),
        ("https://h/vnc.html", "https://h", Some(""), Err(OriginError::Malformed)),
        ("https://h/vnc.html", "https://h", Some("https, http"), Err(OriginError::Protocol)),
        ("wss://h/", "https://h", None, Ok(())),
        ("wss://h/", "wss://h", None, Ok(())),
        ("wss://h/", "http://h", None, Err(OriginError::Protocol)),
        ("wss://h/", "ws://h", None, Err(OriginError::Protocol)),
        ("ws://127.0.0.1:6083/", "http://h", None, Ok(())),
        ("ws://127.0.0.1:6083/", "https://h", None, Err(OriginError::Protocol)),
        ("HTTPS://h/", "HTTPS://H", None, Ok(())),
        ("http://h/", "chrome-extension://h", None, Err(OriginError::Protocol)),
        ("no url", "http://h", None, Err(OriginError::Protocol)),
        ("", "http://h", None, Err(OriginError::Protocol)),
    ] {
        let mut headers = format!("Origin: {origin}\r\n");
        if let Some(forwarded) = forwarded {
            headers.push_str(&format!("X-Forwarded-Proto: {forwarded}\r\n"));
        }
        assert_eq!(verdict(&headers, base, &behind_a_proxy()), expected, "{base} {headers:?}");
    }
}

#[test]
fn forwarded_protocol_of_an_untrusted_peer_is_ignored() {
    let policy = OriginPolicy { honour_forwarded_proto: false, ..behind_a_proxy() };
    let headers = "Origin: http://h\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(verdict(headers, "https://h/", &policy), Err(OriginError::Protocol));
    assert_eq!(verdict(headers, "http://h/", &policy), Ok(()));
}

#[test]
fn only_own_and_allowed_hosts_pass() {
    let verdict = |origin: &str| verdict(&format!("Origin: {origin}\r\n"), "http://h/", &behind_a_proxy());
    for origin in
        ["http://h", "http://H.:1", "http://dashboard.example.org", "http://Dashboard.Example.ORG.:8080"]
    {
        assert_eq!(verdict(origin), Ok(()), "{origin}");
    }
    for origin in [
        "http://h.evil.example",
        "http://evil-h",
        "http://dashboard.example.org.evil.example",
        "http://evil.dashboard.example.org",
        "http://h..",
        "http://[::1]",
    ] {
        assert_eq!(verdict(origin), Err(OriginError::Host), "{origin}");
    }
    for origin in [
        "",
        "null",
        "h",
        "//h",
        "http:",
        "http://",
        "http:h",
        "://h",
        "http://h@evil.example",
        "http://evil@h",
        "http://evil\\@h",
        "http://h\\.evil",
        "http://h\t",
        "http://h evil",
        "http://h#evil",
        "http://h?evil",
        "1http://h",
        "http://h:x",
        "http://\u{e9}",
        "http://h, http://h",
        "http://h\r\nOrigin: http://h",
    ] {
        let trimmed_by_http = origin == "http://h\t";
        let expected = if trimmed_by_http { Ok(()) } else { Err(OriginError::Malformed) };
        assert_eq!(verdict(origin), expected, "{origin:?}");
    }
}

#[test]
fn opaque_origin_passes_only_when_listed() {
    let policy = OriginPolicy { allowed: vec!["null".to_owned()], honour_forwarded_proto: true };
    assert_eq!(verdict("Origin: null\r\n", "https://h/", &policy), Ok(()));
    let headers = "Origin: null\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(verdict(headers, "https://h/", &behind_a_proxy()), Err(OriginError::Malformed));
}

#[test]
fn no_origin_means_no_browser() {
    assert_eq!(check(&get("/", ""), None, &OriginPolicy::default()), Ok(()));
    let request = get("/", "Origin: http://h\r\n");
    assert_eq!(check(&request, None, &OriginPolicy::default()), Err(OriginError::Protocol));
}

#[test]
fn one_request_does_not_widen_the_next() {
    let policy = OriginPolicy::default();
    let evil = parse(b"GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n");
    assert_eq!(check(&evil, Some("http://h/"), &policy), Ok(()), "its own host");
    assert_eq!(verdict("Origin: http://evil.example\r\n", "http://h/", &policy), Err(OriginError::Host));
}

#[test]
fn own_host_is_that_of_the_target_when_it_has_one() {
    let policy = OriginPolicy::default();
    let request = get("http://other:80/", "Origin: http://other\r\n");
    assert_eq!(check(&request, Some("http://x/"), &policy), Ok(()));
    let without_host = parse(b"GET / HTTP/1.0\r\nOrigin: http://h\r\n\r\n");
    assert_eq!(check(&without_host, Some("http://x/"), &policy), Err(OriginError::Host));
}

#[test]
fn error_texts_are_those_of_nova() {
    assert_eq!(OriginError::Malformed.to_string(), "Origin header not valid.");
    assert_eq!(OriginError::Host.to_string(), "Origin header does not match this host.");
    assert_eq!(OriginError::Protocol.to_string(), "Origin header protocol does not match this host.");
}

/// The other case for each letter whose bit in `flips` is set.
fn flip_case(text: &str, flips: u32) -> String {
    let flip = |(index, c): (usize, char)| match flips >> (index % 32) & 1 {
        0 => c.to_ascii_lowercase(),
        _ => c.to_ascii_uppercase(),
    };
    text.chars().enumerate().map(flip).collect()
}

proptest! {
    #[test]
    fn spelling_of_a_host_never_changes_the_verdict(
        origin_host in "a|a\\.b|\\[::1\\]|\\[2001:db8::a\\]|evil",
        own_host in "a|a\\.b|\\[::1\\]|\\[2001:db8::a\\]",
        origin_flips: u32,
        own_flips: u32,
        origin_tail in "(:80|:443)?",
        own_tail in "(:80|:6080)?",
        origin_dot: bool,
        own_dot: bool,
    ) {
        let spell = |host: &str, flips, dot: bool, tail: &str| {
            let dot = if dot && !host.starts_with('[') { "." } else { "" };
            format!("{}{dot}{tail}", flip_case(host, flips))
        };
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nOrigin: http://{}\r\n\r\n",
            spell(&own_host, own_flips, own_dot, &own_tail),
            spell(&origin_host, origin_flips, origin_dot, &origin_tail),
        );
        let verdict = check(&parse(head.as_bytes()), Some("http://x/"), &OriginPolicy::default());
        prop_assert_eq!(verdict.is_ok(), origin_host == own_host, "{}", head);
    }

    #[test]
    fn an_unlisted_host_never_passes(origin in "[ -~]{0,30}") {
        let request = get("/", &format!("Origin: http://{origin}\r\n"));
        let host = origin.split(['/', ':']).next().unwrap_or_default().trim_end().to_ascii_lowercase();
        prop_assume!(host != "h" && host != "h.");
        prop_assert!(check(&request, Some("http://h/"), &OriginPolicy::default()).is_err());
    }
}
