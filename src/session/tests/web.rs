//! Web files: one connection, several requests, and readers that are slow or gone.

use super::conversation::*;
use super::*;
use crate::proto::http::FileMeta;

/// Length of the large file below: several pieces, and no multiple of their length.
const LARGE: usize = 10_000;
const PIECE: usize = 4_096;

fn get(path: &str) -> Vec<u8> {
    request("GET", path, "")
}

fn request(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: proxy.example\r\n{headers}\r\n").into_bytes()
}

fn meta(len: usize) -> FileMeta {
    FileMeta { len: len as u64, modified_unix_ns: 1_000_000_000, gzip: false, media_type: "text/html" }
}

fn opened(len: usize, first: &[u8]) -> Input {
    let event = FileEvent::Opened {
        file: FileHandle::new(len),
        meta: Box::new(meta(len)),
        first: Chunk::copied_from(first),
    };
    Input::File(event)
}

fn piece(bytes: &[u8]) -> Input {
    Input::File(FileEvent::Piece(Chunk::copied_from(bytes)))
}

fn content() -> Vec<u8> {
    (0..LARGE).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Splits responses into status line, head and body, by their Content-Length.
fn responses(mut sent: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut responses = Vec::new();
    while !sent.is_empty() {
        let head_len = sent.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&sent[..head_len]).unwrap().to_owned();
        let len = content_length(&head).unwrap_or(0);
        responses.push((head, sent[head_len..head_len + len].to_vec()));
        sent = &sent[head_len + len..];
    }
    responses
}

fn content_length(head: &str) -> Option<usize> {
    Some(head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().unwrap())
}

#[test]
fn two_pipelined_requests_are_answered_in_order() {
    let mut driver = Driver::accept(vnc());
    driver.receive(Side::Tenant, &[get("/first.html"), get("/second.html")].concat());
    for (name, body) in [("first.html", b"one".as_slice()), ("second.html", b"two!")] {
        let Question::OpenFile { path, wants_bytes: true, .. } = driver.take_question() else { panic!() };
        assert_eq!(path.as_path(), std::path::Path::new(name));
        driver.input(opened(body.len(), body));
        assert!(driver.question.is_none(), "the next request waits for this answer");
        driver.flush();
    }
    let responses = responses(&driver.take_sent(Side::Tenant));
    let bodies: Vec<_> = responses.iter().map(|(_, body)| body.as_slice()).collect();
    assert_eq!(bodies, [b"one".as_slice(), b"two!"]);
    for (head, _) in &responses {
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nConnection: keep-alive\r\n"));
    }
    assert_eq!(driver.phase(), "request");
    assert_eq!(driver.waits(), Some(Duration::from_secs(15)));
    driver.receive(Side::Tenant, &request("GET", "/third.html", "Connection: close\r\n"));
    driver.answer(opened(0, b""));
    driver.flush();
    assert!(driver.tenant.shut_down);
    assert_eq!(driver.finish().name(), "http");
}

#[test]
fn half_a_request_behind_another_has_the_time_of_a_head() {
    let mut driver = Driver::accept(vnc());
    driver.receive(Side::Tenant, &[get("/a"), b"GET /b".to_vec()].concat());
    driver.answer(opened(1, b"x"));
    driver.flush();
    assert_eq!(driver.waits(), Some(Duration::from_secs(10)));
    driver.receive(Side::Tenant, b" HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(matches!(driver.take_question(), Question::OpenFile { .. }));
}

#[test]
fn head_gets_the_head_of_get_and_no_body() {
    let mut heads = Vec::new();
    for method in ["GET", "HEAD"] {
        let mut driver = Driver::accept(vnc());
        driver.receive(Side::Tenant, &request(method, "/vnc.html", ""));
        let Question::OpenFile { wants_bytes, .. } = driver.take_question() else { panic!() };
        assert_eq!(wants_bytes, method == "GET");
        driver.input(opened(4, if wants_bytes { b"file" } else { b"" }));
        driver.flush();
        assert_eq!(driver.phase(), "request", "{method}");
        heads.push(driver.take_sent(Side::Tenant));
    }
    assert_eq!(heads[0], [heads[1].as_slice(), b"file"].concat());
    assert!(heads[1].ends_with(b"\r\n\r\n"));
}

#[test]
fn an_unmodified_file_gets_304_and_the_connection_goes_on() {
    let mut driver = Driver::accept(vnc());
    let headers = format!("If-None-Match: {}\r\n", meta(4).etag());
    driver.receive(Side::Tenant, &[request("GET", "/vnc.html", &headers), get("/next")].concat());
    driver.answer(opened(4, b"file"));
    driver.flush();
    let sent = String::from_utf8(driver.take_sent(Side::Tenant)).unwrap();
    assert!(sent.starts_with("HTTP/1.1 304 Not Modified\r\n") && sent.ends_with("\r\n\r\n"), "{sent}");
    assert!(matches!(driver.take_question(), Question::OpenFile { .. }));
}

#[test]
fn errors_are_answered_and_end_the_connection() {
    for (input, status) in [
        (Input::File(FileEvent::Missing), "404 Not Found"),
        (Input::File(FileEvent::Failed), "500 Internal Server Error"),
        (Input::Failed(Failure::Overloaded(Overloaded)), "503 Service Unavailable"),
    ] {
        let mut driver = Driver::accept(vnc());
        driver.receive(Side::Tenant, &[get("/vnc.html"), get("/never-looked-at")].concat());
        driver.answer(input);
        driver.flush();
        let responses = responses(&driver.take_sent(Side::Tenant));
        assert_eq!(responses.len(), 1);
        assert!(responses[0].0.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{}", responses[0].0);
        assert!(responses[0].0.contains("\r\nConnection: close\r\n"));
        assert!(driver.tenant.shut_down && driver.question.is_none());
        assert_eq!(driver.finish().name(), "http");
    }
}

#[test]
fn requests_that_name_no_file_ask_nobody() {
    for (path, status) in
        [("/../etc/passwd", "404"), ("/.git/config", "404"), ("//evil.example/", "400"), ("/%zz", "400")]
    {
        let mut driver = Driver::accept(vnc());
        driver.receive(Side::Tenant, &get(path));
        assert!(driver.question.is_none(), "{path}");
        driver.flush();
        let sent = driver.take_sent(Side::Tenant);
        assert!(sent.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{path}");
    }
}

#[test]
fn other_methods_get_405_and_so_does_everything_without_a_web_root() {
    for (settings, method, has_body) in [
        (vnc(), "POST", true),
        (vnc(), "DELETE", true),
        (serial(), "GET", true),
        (serial(), "HEAD", false),
        (serial(), "POST", true),
    ] {
        let mut driver = Driver::accept(settings);
        driver.receive(Side::Tenant, &request(method, "/", ""));
        driver.flush();
        let sent = String::from_utf8(driver.take_sent(Side::Tenant)).unwrap();
        assert!(sent.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{method}: {sent}");
        assert!(sent.contains("\r\nAllow: "), "RFC 9110 section 15.5.6: {sent}");
        assert_eq!(sent.ends_with("</html>\n"), has_body, "{method}");
        assert_eq!(driver.finish().name(), "http");
    }
}

#[test]
fn a_directory_without_its_slash_is_redirected_and_the_connection_goes_on() {
    let mut driver = Driver::accept(vnc());
    driver.receive(Side::Tenant, &[get("/app?autoconnect=1"), get("/app/")].concat());
    driver.answer(Input::File(FileEvent::Directory));
    driver.flush();
    let responses = responses(&driver.take_sent(Side::Tenant));
    assert_eq!(responses.len(), 1);
    assert!(responses[0].0.starts_with("HTTP/1.1 301 "));
    assert!(responses[0].0.contains("\r\nLocation: /app/?autoconnect=1\r\n"));
    assert!(matches!(driver.take_question(), Question::OpenFile { path, .. } if path.is_directory_form()));
}

/// A large file of which the first piece is on its way.
fn sending_large() -> Driver {
    let mut driver = Driver::accept(vnc());
    driver.receive(Side::Tenant, &get("/large.js"));
    driver.answer(opened(LARGE, &content()[..PIECE]));
    driver
}

#[test]
fn a_large_file_is_read_piece_by_piece_as_the_reader_takes_it() {
    let mut driver = sending_large();
    for offset in [PIECE, 2 * PIECE] {
        assert!(driver.question.is_none(), "one piece is held at a time");
        driver.flush();
        let Question::ReadFile { file, offset: asked } = driver.take_question() else { panic!() };
        assert_eq!((file.get::<usize>(), asked), (Some(&LARGE), offset as u64));
        driver.input(piece(&content()[offset..LARGE.min(offset + PIECE)]));
    }
    driver.flush();
    let responses = responses(&driver.take_sent(Side::Tenant));
    assert_eq!(responses.len(), 1);
    assert_eq!(responses[0].1, content());
    assert_eq!(driver.phase(), "request");
}

#[test]
fn what_goes_wrong_in_the_middle_of_a_file_ends_the_connection_short_of_its_length() {
    let wrong: [fn() -> Input; 5] = [
        || piece(b""),
        || piece(&[0; LARGE]),
        || Input::File(FileEvent::Failed),
        || Input::File(FileEvent::Missing),
        || Input::Failed(Failure::Overloaded(Overloaded)),
    ];
    for wrong in wrong {
        let mut driver = sending_large();
        driver.flush();
        driver.answer(wrong());
        driver.flush();
        let sent = driver.take_sent(Side::Tenant);
        assert!(sent.ends_with(&content()[..PIECE]), "no byte that is not the file's");
        assert_eq!(content_length(std::str::from_utf8(&sent[..sent.len() - PIECE]).unwrap()), Some(LARGE));
        assert!(driver.tenant.shut_down);
        assert_eq!(driver.finish().name(), "http");
    }
}

#[test]
fn a_reader_has_thirty_seconds_for_each_piece() {
    let mut driver = sending_large();
    driver.sleep(Duration::from_secs(29));
    driver.flush();
    driver.answer(piece(&content()[PIECE..2 * PIECE]));
    assert_eq!(driver.waits(), Some(Duration::from_secs(30)));
    driver.expire();
    assert_eq!(driver.phase(), "closing");
    driver.expire();
    assert_eq!(driver.closed.expect("nothing more is waited for").name(), "http");
    assert!(!driver.tenant.shut_down, "the piece was never taken");
}

#[test]
fn a_reader_that_is_gone_is_given_up_at_once() {
    let mut driver = sending_large();
    driver.write_fails(Side::Tenant);
    assert_eq!(driver.closed.expect("there is nobody to drain").name(), "http");
}

#[test]
fn half_a_head_holds_no_more_than_twice_its_bytes() {
    let mut driver = Driver::accept(vnc());
    for (piece, held) in
        [("GET", "Chunk(3 of 3)"), (" /vnc.html", "Chunk(13 of 26)"), (" HTTP", "Chunk(18 of 26)")]
    {
        driver.receive(Side::Tenant, piece.as_bytes());
        let debug = format!("{:?}", driver.session);
        assert!(debug.contains(held), "{held}: {debug}");
    }
}

#[test]
fn a_probe_that_says_nothing_leaves_nothing() {
    let mut driver = Driver::accept(vnc());
    driver.end(Side::Tenant);
    assert_eq!(driver.trace, ["shutdown tenant", "close http"]);
    assert!(matches!(driver.closed, Some(CloseReason::Http(HttpEnd::Idle))));
}
