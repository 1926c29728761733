//! Where the token is found: CPython's answers in `token.json`, and what we find beyond Nova.

use consolegate::proto::http::token;

use crate::{cases, get, parse};

/// Each character of `text` as one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
}

#[test]
fn tokens_are_those_that_nova_finds() {
    let cases = cases(include_str!("../data/http/token.json"));
    assert!(cases.len() > 300);
    for case in cases {
        let mut head =
            [b"GET ", latin1(case["target"].as_str().unwrap()).as_slice(), b" HTTP/1.0\r\n"].concat();
        if let Some(cookie) = case["cookie"].as_str() {
            head.extend_from_slice(&[b"Cookie: ", latin1(cookie).as_slice(), b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        let found = token::find(&parse(&head));
        let expected = case["token"].as_str().map(str::as_bytes);
        assert_eq!(found.token.as_ref().map(|token| token.expose()), expected, "{case}");
        assert_eq!(found.malformed_cookie, case["malformed_cookie"] == true, "{case}");
    }
}

fn found(target: &str, headers: &str) -> Option<String> {
    get(target, headers).token().map(|token| String::from_utf8(token.expose().to_vec()).unwrap())
}

#[test]
fn token_within_the_path_parameter_counts_after_the_query_and_before_the_cookie() {
    let cookie = "Cookie: token=c\r\n";
    assert_eq!(found("/?path=%3Ftoken%3Dp", cookie).as_deref(), Some("p"));
    assert_eq!(found("/?path=novnc%3Ftoken%3Dp%26x", "").as_deref(), Some("p"));
    assert_eq!(found("/?path=%3Ftoken%3Da%2520b", "").as_deref(), Some("a b"), "decoded at both levels");
    assert_eq!(found("/?path=%3Ftoken%3Dp&token=q", cookie).as_deref(), Some("q"));
    assert_eq!(found("/?path=websockify", cookie).as_deref(), Some("c"));
    assert_eq!(found("/?path=token%3Dp", cookie).as_deref(), Some("c"), "a path is not a query");
    assert_eq!(found("/?path=%3Ftoken%3D", ""), None);
}

#[test]
fn several_cookie_headers_count_like_one() {
    assert_eq!(found("/", "Cookie: token=a\r\nCookie: token=b\r\n").as_deref(), Some("b"));
    assert_eq!(found("/", "Cookie: token=a\r\ncookie: x=1\r\n").as_deref(), Some("a"));
}

#[test]
fn a_hostile_cookie_costs_linear_time() {
    // A pattern matcher that tries each "=" in turn would take seconds here.
    let cookie = format!("Cookie: {}\"\r\n", "=".repeat(16_000));
    assert_eq!(found("/", &cookie), None);
}
