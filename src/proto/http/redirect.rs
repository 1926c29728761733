//! The redirect from a directory's name to the directory.

use super::request::{Method, Request};
use super::response::{self, ResponseHead};
use super::status::Status;

/// The answer to a request for a directory that lacks the slash at the end: 301 to the same path with
/// the slash, the query kept. `now_unix_s` is the time in seconds since 1970.
///
/// A path that a browser would read as another host is answered with 400, since it reads `//host` and
/// `/\host` in a `Location` so (CVE-2021-3654); and so is a path that has the slash already. That answer
/// ends the connection; the redirect keeps it where [`Request::keep_alive`] says so.
#[must_use]
pub fn redirect_to_directory(request: &Request, now_unix_s: u64) -> Vec<u8> {
    let path = request.path();
    let names_a_host = matches!(path.get(1), Some(b'/' | b'\\'));
    if names_a_host || !path.starts_with(b"/") || path.ends_with(b"/") {
        return response::error_page(Status::BAD_REQUEST, &[], request.method() == Method::Head, now_unix_s);
    }
    let mut location = Vec::with_capacity(path.len() + 1);
    push_escaped(&mut location, path);
    location.push(b'/');
    if let Some(query) = request.raw_query().filter(|query| !query.is_empty()) {
        location.push(b'?');
        push_escaped(&mut location, query);
    }
    ResponseHead::new(Status::MOVED_PERMANENTLY, now_unix_s)
        .connection(request.keep_alive())
        .field("Location", location)
        .field("Content-Length", "0")
        // The query may hold a token, so nobody is to keep this answer.
        .field("Cache-Control", "no-store")
        .field("Referrer-Policy", "no-referrer")
        .finish()
}

/// Appends `bytes`, with escapes for all that has no place in a URL. Escapes in `bytes` stay as they are.
fn push_escaped(location: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            location.push(byte);
        } else {
            location.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0x0f)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HeadLimits, HeadParser};

    fn redirect(target: &str) -> String {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let (request, _) = HeadParser::new().parse(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        String::from_utf8(redirect_to_directory(&request, 0)).unwrap()
    }

    #[test]
    fn path_and_query_are_kept() {
        let response = redirect("/app/images?token=a%20b&title=n(1)");
        assert!(response.starts_with("HTTP/1.1 301 Moved Permanently\r\n"));
        assert!(response.contains("\r\nLocation: /app/images/?token=a%20b&title=n(1)\r\n"));
        assert!(response.contains("\r\nConnection: keep-alive\r\nLocation: "));
        assert!(response.ends_with("\r\n\r\n") && response.contains("\r\nContent-Length: 0\r\n"));
        assert!(redirect("/app?").contains("\r\nLocation: /app/\r\n"));
        assert!(redirect("/app?a=b#top").contains("\r\nLocation: /app/?a=b\r\n"));
        assert!(redirect("http://elsewhere/app").contains("\r\nLocation: /app/\r\n"));
    }

    #[test]
    fn what_a_url_cannot_hold_is_escaped() {
        assert!(redirect("/a\\b\u{e9}?\"<").contains("\r\nLocation: /a%5Cb%C3%A9/?%22%3C\r\n"));
        assert!(redirect("/%0d%0aSet-Cookie:a").contains("\r\nLocation: /%0d%0aSet-Cookie:a/\r\n"));
    }

    #[test]
    fn no_location_leads_to_another_host() {
        for target in [
            "//evil.example/%2F..",
            "///evil.example",
            "/\\evil.example",
            "http://h//evil.example",
            "/",
            "ws://h",
        ] {
            let response = redirect(target);
            assert!(response.starts_with("HTTP/1.1 400 ") && !response.contains("Location"), "{target}");
        }
    }
}
