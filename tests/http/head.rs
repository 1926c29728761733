//! Request heads: what is taken, what is refused, and how early.

use consolegate::proto::http::{HeadLimits, HeadParser, Method, RequestError};

use crate::{get, parse, try_parse};

#[test]
fn parts_of_a_request_are_kept_as_sent() {
    let request = parse(
        b"\r\nGET /a%20b?x=1?y HTTP/1.1\r\nHost: h:6080\r\nX-A: \t caf\xe9 \r\nx-a:2\r\nEmpty:\r\n\r\nrest",
    );
    assert_eq!((request.method(), request.minor_version()), (Method::Get, 1));
    assert_eq!(request.path(), b"/a%20b");
    assert_eq!(request.query().unwrap().expose(), b"x=1?y");
    assert_eq!(request.host(), Some(b"h:6080".as_slice()));
    assert_eq!(request.header("X-a"), Some(b"caf\xe9".as_slice()));
    assert_eq!(request.header_values("x-A").collect::<Vec<_>>(), [b"caf\xe9".as_slice(), b"2"]);
    assert_eq!(request.header("empty"), Some(b"".as_slice()));
    assert_eq!(request.header("absent"), None);
    assert_eq!(get("/", "").query(), None);
    assert_eq!(get("/?", "").query().map(|query| query.is_empty()), Some(true));
}

#[test]
fn a_fragment_is_no_part_of_path_and_query() {
    for (target, path, query) in [
        ("/vnc.html#top", "/vnc.html", None),
        ("/#", "/", None),
        ("/?a=b#c?d", "/", Some("a=b")),
        ("/a#b?c", "/a", None),
        ("http://other#x", "/", None),
    ] {
        let request = get(target, "");
        assert_eq!(request.path(), path.as_bytes(), "{target}");
        let got = request.query();
        assert_eq!(got.as_ref().map(|query| query.expose()), query.map(str::as_bytes), "{target}");
    }
}

#[test]
fn absolute_form_replaces_host() {
    for (target, host, path, query) in [
        ("http://other:80/x?y", "other:80", "/x", Some("y")),
        ("WSS://other", "other", "/", None),
        ("ws://[::1]:1?y", "[::1]:1", "/", Some("y")),
        ("https://other//x", "other", "//x", None),
    ] {
        let request = get(target, "");
        assert_eq!(request.host(), Some(host.as_bytes()), "{target}");
        assert_eq!(request.path(), path.as_bytes(), "{target}");
        assert_eq!(
            request.query().as_ref().map(|query| query.expose()),
            query.map(str::as_bytes),
            "{target}"
        );
    }
}

#[test]
fn malformed_heads_are_refused_for_the_right_reason() {
    use RequestError as E;
    for (head, expected) in [
        ("GET / HTTP/1.1\nHost: h\n\n", E::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", E::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\rX: 1\r\n\r\n", E::BareCr),
        ("\r\r\n", E::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n", E::ControlByte),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: \x7f\r\n\r\n", E::ControlByte),
        ("GET\t/ HTTP/1.1\r\n", E::ControlByte),
        ("\x16\x03\x01", E::ControlByte),
        ("GET /\r\n", E::RequestLine),
        ("GET  / HTTP/1.1\r\n", E::RequestLine),
        ("GET / HTTP/1.1 \r\n", E::RequestLine),
        (" GET / HTTP/1.1\r\n", E::RequestLine),
        ("GET / http/1.1\r\n", E::RequestLine),
        ("GET / HTTP/1.10\r\n", E::RequestLine),
        ("GET / HTTP/11\r\n", E::RequestLine),
        ("G:T / HTTP/1.1\r\n", E::RequestLine),
        ("\r\n\r\nGET / HTTP/1.1\r\n", E::RequestLine),
        ("GET / HTTP/2.0\r\n", E::Version),
        ("PRI * HTTP/2.0\r\n", E::Version),
        ("GET * HTTP/1.1\r\n", E::Target),
        ("GET vnc.html HTTP/1.1\r\n", E::Target),
        ("GET #a HTTP/1.1\r\n", E::Target),
        ("GET ftp://h/ HTTP/1.1\r\n", E::Target),
        ("GET http:///x HTTP/1.1\r\n", E::Target),
        ("GET http://u@h/ HTTP/1.1\r\n", E::Target),
        ("GET http://h\\x/ HTTP/1.1\r\n", E::Target),
        ("GET / HTTP/1.1\r\n Host: h\r\n", E::Folded),
        ("GET / HTTP/1.1\r\nHost: h\r\n\tX: 1\r\n", E::Folded),
        ("GET / HTTP/1.1\r\nHost : h\r\n", E::HeaderLine),
        ("GET / HTTP/1.1\r\n: h\r\n", E::HeaderLine),
        ("GET / HTTP/1.1\r\nHost\r\n", E::HeaderLine),
        ("GET / HTTP/1.1\r\nH\u{e9}: h\r\n", E::HeaderLine),
        ("GET / HTTP/1.1\r\n\r\n", E::HostMissing),
        ("GET http://h/ HTTP/1.1\r\n\r\n", E::HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", E::HostRepeated),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", E::HostRepeated),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", E::HostMalformed),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", E::HostMalformed),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", E::HostMalformed),
    ] {
        assert_eq!(try_parse(head.as_bytes()).map(|_| ()), Err(expected), "{head:?}");
    }
}

#[test]
fn unusual_heads_are_taken() {
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.9\r\nHost:\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET //?token=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /{x}|^`\"<>?\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX:a:b\tc\r\n\r\n",
    ] {
        assert!(matches!(try_parse(head.as_bytes()), Ok(Some(_))), "{head:?}");
    }
}

#[test]
fn keep_alive_follows_version_and_connection() {
    for (version, headers, expected) in [
        ("1.1", "", true),
        ("1.2", "", true),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = parse(format!("GET / HTTP/{version}\r\nHost: h\r\n{headers}\r\n").as_bytes());
        assert_eq!(request.keep_alive(), expected, "{version} {headers:?}");
    }
}

const SMALL: HeadLimits =
    HeadLimits { request_line_bytes_max: 16, header_line_bytes_max: 8, headers_max: 2, head_bytes_max: 38 };

#[test]
fn limits_are_exact() {
    let parse = |head: &str| HeadParser::new().parse(head.as_bytes(), &SMALL).map(|parsed| parsed.is_some());
    assert_eq!(parse("GET /a HTTP/1.0\r\n\r\n"), Ok(true));
    assert_eq!(parse("GET /aa HTTP/1.0\r\n\r\n"), Ok(true), "a line of exactly the limit");
    assert_eq!(parse("GET /aaa HTTP/1.0\r\n\r\n"), Err(RequestError::RequestLineTooLong));
    assert_eq!(parse("GET / HTTP/1.0\r\nX:345678\r\n\r\n"), Ok(true));
    assert_eq!(parse("GET / HTTP/1.0\r\nX:3456789\r\n\r\n"), Err(RequestError::HeaderLineTooLong));
    assert_eq!(parse("GET / HTTP/1.0\r\nA:\r\nB:\r\n\r\n"), Ok(true));
    assert_eq!(parse("GET / HTTP/1.0\r\nA:\r\nB:\r\nC"), Err(RequestError::TooManyHeaders));
    assert_eq!(
        parse("GET / HTTP/1.0\r\nX:345678\r\nY:345678\r\n\r\n"),
        Ok(true),
        "a head of exactly the limit"
    );
    let full = "GET / HTTP/1.0\r\nX:345678\r\nY:345678\r\n\r";
    assert_eq!(parse(full), Ok(false));
    assert_eq!(
        parse(&full.replace("GET /", "GET /a")),
        Err(RequestError::HeadTooLong),
        "no room for the end"
    );
    assert_eq!(parse("GET /a HTTP/1.0\r\nX:345678\r\nY:345678\r\n\r\n"), Err(RequestError::HeadTooLong));
}

#[test]
fn limits_have_the_right_status() {
    assert_eq!(RequestError::RequestLineTooLong.status().code(), 414);
    for error in [RequestError::HeaderLineTooLong, RequestError::TooManyHeaders, RequestError::HeadTooLong] {
        assert_eq!(error.status().code(), 431);
    }
    assert_eq!(RequestError::Version.status().code(), 505);
    assert_eq!(RequestError::HostMissing.status().code(), 400);
}

#[test]
fn endless_input_of_one_kind_ends_in_a_refusal_at_the_limit() {
    const PIECE_LEN: usize = 1024;
    let start = "GET / HTTP/1.1\r\n";
    for (prefix, unit, expected, bytes_max) in [
        ("", "a", RequestError::RequestLineTooLong, 16 * 1024),
        ("", "\r\n", RequestError::RequestLine, 4),
        ("", "\r", RequestError::BareCr, 2),
        (start, "a", RequestError::HeaderLineTooLong, start.len() + 16 * 1024),
        (start, "A:\r\n", RequestError::TooManyHeaders, start.len() + 400),
        (start, "\r", RequestError::BareCr, start.len() + 2),
    ] {
        let input = prefix.bytes().chain(unit.bytes().cycle()).take(80 * 1024).collect::<Vec<_>>();
        let mut parser = HeadParser::new();
        let mut fed = 0;
        let error = loop {
            fed += PIECE_LEN;
            if let Err(error) = parser.parse(&input[..fed], &HeadLimits::default()) {
                break error;
            }
        };
        assert_eq!(error, expected, "{unit:?}");
        assert!(fed <= bytes_max + PIECE_LEN, "{unit:?} was refused after {fed} bytes");
    }
    let lines = format!("{start}{}", format!("X: {}\r\n", "a".repeat(2000)).repeat(40));
    assert_eq!(try_parse(lines.as_bytes()).map(|_| ()), Err(RequestError::HeadTooLong));
}
