//! What holds for `proto::http` whatever bytes arrive. Included by the property tests and by the fuzz
//! target, so that both check the same.

use consolegate::proto::http::connect::ConnectPreamble;
use consolegate::proto::http::{
    HeadLimits, HeadParser, Method, Request, RequestError, Upgrade, UpgradePolicy, WebPath,
    redirect_to_directory, response, upgrade,
};

type Parsed = Result<Option<(Request, usize)>, RequestError>;

/// Everything below, for one input.
pub(crate) fn all(input: &[u8]) {
    let (plan, stream) = input.split_at(input.len().min(4));
    head_is_independent_of_splits(plan, stream);
    heads_agree_with_httparse(stream);
    bytes_behind_the_head_change_nothing(stream, plan);
    only_requests_without_surprises_are_static(stream);
    responses_hold_nothing_of_the_request(stream);
    web_path_stays_inside_the_root(stream);
    connect_preamble_is_independent_of_splits(plan, stream);
}

fn parse(bytes: &[u8]) -> Parsed {
    HeadParser::new().parse(bytes, &HeadLimits::default())
}

/// The ends of the pieces that `plan`, a repeated list of lengths, cuts `len` bytes into.
fn piece_ends(plan: &[u8], len: usize) -> Vec<usize> {
    let mut lengths = plan.iter().map(|&length| usize::from(length) + 1).collect::<Vec<_>>();
    if lengths.is_empty() {
        lengths.push(1);
    }
    let mut end = 0;
    let mut ends = Vec::new();
    for length in lengths.iter().cycle() {
        if end >= len {
            break;
        }
        end = (end + length).min(len);
        ends.push(end);
    }
    ends
}

/// Feeds `bytes` in pieces. Returns what came out, and how many bytes had been fed by then.
fn parse_in_pieces(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> (Parsed, usize) {
    let mut parser = HeadParser::new();
    for end in ends {
        let parsed = parser.parse(&bytes[..end], &HeadLimits::default());
        if !matches!(parsed, Ok(None)) {
            if parsed.is_err() {
                assert_eq!(parser.parse(bytes, &HeadLimits::default()), parsed, "an error is final");
            }
            return (parsed, end);
        }
    }
    (Ok(None), bytes.len())
}

/// Whole, in pieces and byte by byte: the same request or error, and as early as its last byte is there.
pub(crate) fn head_is_independent_of_splits(plan: &[u8], bytes: &[u8]) {
    let whole = parse(bytes);
    let (by_byte, needed) = parse_in_pieces(bytes, 1..=bytes.len());
    assert_eq!(by_byte, whole);
    if let Ok(Some((_, head_len))) = whole {
        assert_eq!(needed, head_len, "a head is reported at its last byte");
    }
    let ends = piece_ends(plan, bytes.len());
    let (in_pieces, fed) = parse_in_pieces(bytes, ends.iter().copied());
    assert_eq!(in_pieces, whole);
    assert_eq!(fed, ends.into_iter().find(|&end| end >= needed).unwrap_or(bytes.len()));
}

/// What we accept httparse accepts and reads alike; what it accepts and we refuse is refused for one of
/// a few known reasons.
pub(crate) fn heads_agree_with_httparse(bytes: &[u8]) {
    let mut patched = bytes.to_vec();
    downgrade_minor_version(&mut patched);
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut fields);
    let their_result = theirs.parse(&patched);
    match parse(bytes) {
        Ok(Some((request, head_len))) => {
            let target_is_text = std::str::from_utf8(first_line(bytes)).is_ok();
            if !target_is_text && their_result == Err(httparse::Error::Token) {
                return;
            }
            assert_eq!(their_result, Ok(httparse::Status::Complete(head_len)));
            agree(&request, &theirs);
        }
        Ok(None) => assert!(!matches!(their_result, Ok(httparse::Status::Complete(_)))),
        Err(error) => {
            let known = match error {
                RequestError::BareLf
                | RequestError::HostMissing
                | RequestError::HostRepeated
                | RequestError::HostMalformed
                | RequestError::TooManyHeaders => true,
                RequestError::RequestLine => bytes.starts_with(b"\r\n\r\n"),
                RequestError::Target => theirs.path.is_some_and(|target| !target.starts_with('/')),
                RequestError::RequestLineTooLong | RequestError::HeaderLineTooLong => bytes.len() > 16 * 1024,
                RequestError::HeadTooLong => bytes.len() >= 64 * 1024,
                _ => false,
            };
            assert!(known || !matches!(their_result, Ok(httparse::Status::Complete(_))), "{error:?}");
        }
    }
}

fn agree(request: &Request, theirs: &httparse::Request<'_, '_>) {
    let method = match theirs.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    assert_eq!(request.method(), method);
    assert_eq!(Some(request.minor_version().min(1)), theirs.version);
    let ours = request.header_fields().collect::<Vec<_>>();
    let theirs_fields = theirs.headers.iter().map(|h| (h.name.as_bytes(), h.value)).collect::<Vec<_>>();
    assert_eq!(ours, theirs_fields);
    if method != Method::Other {
        let mut path_and_query = request.path().to_vec();
        if let Some(query) = request.query() {
            path_and_query.push(b'?');
            path_and_query.extend_from_slice(query.expose());
        }
        let target = theirs.path.and_then(|target| target.split('#').next()).unwrap_or_default().as_bytes();
        let without_path = path_and_query.strip_prefix(b"/").unwrap_or_default();
        assert!(target == path_and_query || target.contains(&b':') && target.ends_with(without_path));
    }
}

/// httparse knows HTTP/1.0 and 1.1 only; we count a higher minor version as 1.
fn downgrade_minor_version(bytes: &mut [u8]) {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let end = start + first_line(bytes).len();
    if let Some(minor @ b'2'..=b'9') = bytes[start..end].last_mut() {
        *minor = b'1';
    }
}

/// The request line without its line end and without an empty line in front.
fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// The bytes behind a head are not looked at, and belong to the caller from the first one on.
pub(crate) fn bytes_behind_the_head_change_nothing(bytes: &[u8], other: &[u8]) {
    if let Ok(Some((request, head_len))) = parse(bytes) {
        assert!(bytes[..head_len].ends_with(b"\r\n\r\n"));
        let alone = parse(&bytes[..head_len]);
        assert_eq!(alone, Ok(Some((request, head_len))));
        assert_eq!(parse(&[&bytes[..head_len], other].concat()), alone);
    }
}

/// Only a plain GET or HEAD leaves the connection open for another head: no body, no upgrade. Strictness
/// may turn an acceptance into a refusal, and nothing else.
pub(crate) fn only_requests_without_surprises_are_static(bytes: &[u8]) {
    let Ok(Some((request, _))) = parse(bytes) else { return };
    let lenient = upgrade::decide(&request, &UpgradePolicy { strict: false });
    let strict = upgrade::decide(&request, &UpgradePolicy { strict: true });
    match &lenient {
        Upgrade::Static => {
            assert_ne!(request.method(), Method::Other);
            for (name, value) in request.header_fields() {
                assert!(!name.eq_ignore_ascii_case(b"transfer-encoding"));
                assert!(!name.eq_ignore_ascii_case(b"content-length") || value == b"0");
                assert!(!name.eq_ignore_ascii_case(b"upgrade") || !value.eq_ignore_ascii_case(b"websocket"));
            }
            assert_eq!(strict, lenient);
        }
        Upgrade::Accept(_) => {
            assert_eq!(request.method(), Method::Get);
            assert!(strict == lenient || matches!(strict, Upgrade::Reject(_)));
        }
        Upgrade::Reject(_) => assert!(matches!(strict, Upgrade::Reject(_))),
    }
}

/// Each answer is one response, and only a redirect repeats something of the request: within one
/// `Location`, as a path on this host.
pub(crate) fn responses_hold_nothing_of_the_request(bytes: &[u8]) {
    let (request, _) = match parse(bytes) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return,
        Err(error) => return one_response(&response::error_page(error.status(), &[], false, 0), false, &[]),
    };
    let head_only = request.method() == Method::Head;
    match upgrade::decide(&request, &UpgradePolicy::default()) {
        Upgrade::Static => {}
        Upgrade::Accept(accept) => {
            let answer = accept.response(0);
            one_response(&answer, true, &["Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"]);
        }
        Upgrade::Reject(reject) => {
            one_response(&reject.response(0), head_only, &["Allow", "Upgrade", "Sec-WebSocket-Version"]);
        }
    }
    let redirect = redirect_to_directory(&request, 0);
    one_response(&redirect, head_only, &["Location", "Cache-Control", "Referrer-Policy"]);
    if let Some(location) = header_of(&redirect, "Location") {
        assert!(location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\"));
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// Asserts that `bytes` is one response with known header fields alone.
fn one_response(bytes: &[u8], without_body: bool, further_fields: &[&str]) {
    const USUAL_FIELDS: [&str; 6] =
        ["Server", "Date", "Connection", "Content-Type", "Content-Length", "X-Content-Type-Options"];
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head_len)) = parsed.parse(bytes) else {
        unreachable!("our own response does not parse");
    };
    for (index, field) in parsed.headers.iter().enumerate() {
        assert!(USUAL_FIELDS.contains(&field.name) || further_fields.contains(&field.name), "{}", field.name);
        assert!(
            parsed.headers[..index].iter().all(|earlier| earlier.name != field.name),
            "twice: {}",
            field.name
        );
    }
    let announced = header_of(bytes, "Content-Length").and_then(|len| len.parse::<usize>().ok());
    assert_eq!(bytes.len() - head_len, if without_body { 0 } else { announced.unwrap_or(0) });
}

fn header_of<'a>(response: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(response).ok()?;
    let head = text.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// However a path is written, what it resolves to lies below the root and is not hidden.
pub(crate) fn web_path_stays_inside_the_root(bytes: &[u8]) {
    let Ok(path) = WebPath::parse(bytes) else { return };
    assert!(bytes.first().is_some_and(|byte| matches!(byte, b'/' | b'%')));
    assert!(path.as_path().is_relative());
    for component in path.as_path().components() {
        assert!(matches!(component, std::path::Component::Normal(_)));
    }
    for name in path.components() {
        assert!(!name.is_empty() && !name.starts_with(b"."));
        assert!(name.iter().all(|byte| !byte.is_ascii_control() && !b"/\\".contains(byte)));
    }
    assert_eq!(path.components().count(), path.as_path().components().count());
}

/// The CONNECT preamble ends at the same byte with the same result, however its answer arrives.
pub(crate) fn connect_preamble_is_independent_of_splits(plan: &[u8], bytes: &[u8]) {
    let feed = |ends: Vec<usize>| {
        let mut preamble = ConnectPreamble::new();
        let mut start = 0;
        for end in ends {
            match preamble.feed(&bytes[start..end]) {
                Ok(None) => start = end,
                Ok(Some(len)) => return Ok(Some(start + len)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    };
    let whole = feed(vec![bytes.len()]);
    assert_eq!(feed(piece_ends(plan, bytes.len())), whole);
    if let Ok(Some(head_len)) = whole {
        assert!(bytes[..head_len].ends_with(b"\r\n\r\n"));
    }
}
