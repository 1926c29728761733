//! `upgrade.json`: raw requests, what we answer, and what websockify 0.13.0 answers.

use consolegate::proto::http::{Upgrade, UpgradePolicy, upgrade};
use serde_json::Value;

use crate::{cases, get, try_parse};

const UPGRADE_HEADERS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// What becomes of `bytes`: a status or "static", the answer, and the bytes behind the head.
struct Outcome {
    verdict: Value,
    answer: String,
    rest: Vec<u8>,
}

fn outcome(bytes: &[u8], strict: bool) -> Outcome {
    let (verdict, answer, head_len) = match try_parse(bytes) {
        Err(error) => (error.status().code().into(), Vec::new(), bytes.len()),
        Ok(None) => panic!("the head is incomplete"),
        Ok(Some((request, head_len))) => match upgrade::decide(&request, &UpgradePolicy { strict }) {
            Upgrade::Static => ("static".into(), Vec::new(), head_len),
            Upgrade::Accept(accept) => (101.into(), accept.response(0), head_len),
            Upgrade::Reject(reject) => (reject.status().code().into(), reject.response(0), bytes.len()),
        },
    };
    Outcome { verdict, answer: String::from_utf8(answer).unwrap(), rest: bytes[head_len..].to_vec() }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The request of a case; the long ones are described by their names alone.
fn request_bytes(case: &Value) -> Vec<u8> {
    if let Some(digits) = case["request_hex"].as_str() {
        return hex(digits);
    }
    let head = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: h:6080\r\n{UPGRADE_HEADERS}{headers}\r\n").into_bytes()
    };
    match case["name"].as_str().unwrap() {
        "big line 70000" => head("/", &format!("X-A: {}\r\n", "a".repeat(70_000))),
        "200 headers" => head("/", &"X-A: 1\r\n".repeat(200)),
        "URI 70000" => head(&format!("/{}", "a".repeat(70_000)), ""),
        name => panic!("no bytes for {name}"),
    }
}

#[test]
fn captured_requests_get_the_expected_answer() {
    let cases = cases(include_str!("../data/websocket/upgrade.json"));
    assert_eq!(cases.len(), 58);
    for case in cases {
        let bytes = request_bytes(&case);
        assert_eq!(outcome(&bytes, false).verdict, case["expect"], "{}", case["name"]);
        let strict_expect = case.get("strict_expect").unwrap_or(&case["expect"]);
        assert_eq!(&outcome(&bytes, true).verdict, strict_expect, "{} (strict)", case["name"]);
    }
}

#[test]
fn notes_of_the_captured_requests_hold() {
    let cases = cases(include_str!("../data/websocket/upgrade.json"));
    let outcome_of = |name: &str| {
        let case = cases.iter().find(|case| case["name"] == name).expect("the case is there");
        outcome(&request_bytes(case), false)
    };
    assert_eq!(
        outcome_of("frame in same segment").rest,
        hex("828301020304606060"),
        "the early frame is kept"
    );
    assert_eq!(outcome_of("two pipelined GET").rest, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(!outcome_of("plain").answer.contains("Sec-WebSocket-Protocol"));
    assert!(!outcome_of("proto ''").answer.contains("Sec-WebSocket-Protocol"));
    for name in ["proto 'binary'", "proto 'base64, binary'", "proto 'base64,binary'", "proto ' binary '"] {
        assert!(outcome_of(name).answer.contains("\r\nSec-WebSocket-Protocol: binary\r\n"), "{name}");
    }
    for name in ["ver 12", "no ver", "ver \"13, 8\""] {
        assert!(outcome_of(name).answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{name}");
    }
    assert!(outcome_of("POST upgrade").answer.contains("\r\nAllow: GET, HEAD\r\n"));
}

#[test]
fn answers_have_the_exact_lines_that_clients_look_for() {
    let answer = |headers: &str| match upgrade::decide(&get("/?token=t", headers), &UpgradePolicy::default())
    {
        Upgrade::Accept(accept) => String::from_utf8(accept.response(0)).unwrap(),
        Upgrade::Reject(reject) => String::from_utf8(reject.response(0)).unwrap(),
        Upgrade::Static => panic!("not an upgrade"),
    };
    assert_eq!(
        answer(&format!("{UPGRADE_HEADERS}Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        "HTTP/1.1 101 Switching Protocols\r\nServer: WebSockify consolegate\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    let other_version = answer(&UPGRADE_HEADERS.replace("Version: 13", "Version: 14"));
    assert!(other_version.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(other_version.contains("\r\nConnection: close, Upgrade\r\n"));
    assert!(other_version.contains("\r\nUpgrade: websocket\r\n"));
}

#[test]
fn missing_connection_header_leaves_a_hint() {
    let hint = |headers: &str| match upgrade::decide(&get("/", headers), &UpgradePolicy::default()) {
        Upgrade::Accept(accept) => accept.connection_missing,
        other => panic!("{other:?}"),
    };
    assert!(!hint(UPGRADE_HEADERS));
    assert!(!hint(
        &UPGRADE_HEADERS.replace("Connection: Upgrade", "Connection: keep-alive\r\nconnection: x ,UPGRADE")
    ));
    assert!(hint(&UPGRADE_HEADERS.replace("Connection: Upgrade", "Connection: keep-alive")));
}

#[test]
fn faulty_upgrades_are_refused_in_the_order_of_the_checks() {
    use upgrade::RejectReason as Reason;
    let reason = |method: &str, headers: &str| {
        let head = format!("{method} / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        match upgrade::decide(&crate::parse(head.as_bytes()), &UpgradePolicy::default()) {
            Upgrade::Reject(reject) => Some(reject.reason()),
            _ => None,
        }
    };
    let with = |from: &str, to: &str| reason("GET", &UPGRADE_HEADERS.replace(from, to));
    assert_eq!(reason("get", UPGRADE_HEADERS), Some(Reason::Method), "methods are case-sensitive");
    assert_eq!(reason("HEAD", UPGRADE_HEADERS), Some(Reason::UpgradeByHead));
    assert_eq!(reason("GET", "Content-Length: 5\r\n"), Some(Reason::Body), "also without an upgrade");
    assert_eq!(reason("HEAD", "Content-Length: 0\r\nContent-Length: 00\r\n"), Some(Reason::Body));
    assert_eq!(reason("GET", "Transfer-Encoding: identity\r\n"), Some(Reason::Body));
    assert_eq!(reason("GET", "Content-Length: 0\r\n"), None);
    for (version, expected) in [
        ("6", Reason::VersionUnsupported),
        ("0", Reason::VersionUnsupported),
        ("99999999999999999999", Reason::VersionUnsupported),
        ("013", Reason::VersionMalformed),
        ("+13", Reason::VersionMalformed),
        ("13,", Reason::VersionMalformed),
        ("", Reason::VersionMalformed),
        ("13\r\nSec-WebSocket-Version: 13", Reason::VersionMalformed),
    ] {
        assert_eq!(with("Version: 13", &format!("Version: {version}")), Some(expected), "{version:?}");
    }
    for key in [
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQQ==",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "",
        "==",
    ] {
        assert_eq!(with("dGhlIHNhbXBsZSBub25jZQ==", key), Some(Reason::KeyMalformed), "{key:?}");
    }
    assert_eq!(with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR=="), None, "unused bits may be set");
    assert_eq!(with("Sec-WebSocket-Key", "X"), Some(Reason::KeyMissing));
    assert_eq!(
        with("Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: a, b"),
        Some(Reason::VersionMissing)
    );
    assert_eq!(
        reason("GET", &format!("{UPGRADE_HEADERS}Sec-WebSocket-Protocol: a,b\r\n")),
        Some(Reason::Subprotocol)
    );
}

#[test]
fn strict_upgrades_need_http_1_1_and_connection() {
    let head = format!("GET / HTTP/1.0\r\n{UPGRADE_HEADERS}\r\n");
    assert_eq!(outcome(head.as_bytes(), false).verdict, 101);
    assert_eq!(outcome(head.as_bytes(), true).verdict, 400);
}
