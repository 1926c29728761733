//! Response heads, and the error pages.
//!
//! Every head is written by `ResponseHead`, which drops control bytes from values: whatever reaches
//! it, one call makes one line.

use std::time::{Duration, SystemTime};

use super::conditional::{Evaluation, FileMeta};
use super::status::Status;

/// The value of `Server`. Tempest looks for the substring `Server: WebSockify`; versions are nobody's
/// business.
pub const SERVER: &str = "WebSockify consolegate";

/// Further header fields, as `(name, value)` pairs: what the operator configured for web files, for
/// example `Content-Security-Policy`.
pub type ExtraHeaders<'a> = &'a [(&'a str, &'a str)];

/// A complete error response, which ends the connection. With `head_only` (the answer to HEAD) the body
/// is left out but its length is stated. `now_unix_s` is the time in seconds since 1970.
#[must_use]
pub fn error_page(status: Status, extra: ExtraHeaders<'_>, head_only: bool, now_unix_s: u64) -> Vec<u8> {
    error_page_saying(status.explanation(), status, extra, head_only, now_unix_s)
}

/// [`error_page`] with a sentence of ours in place of the usual one. `explanation` must not come from the
/// network: it goes into the page as it is.
pub(super) fn error_page_saying(
    explanation: &'static str,
    status: Status,
    extra: ExtraHeaders<'_>,
    head_only: bool,
    now_unix_s: u64,
) -> Vec<u8> {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status}</title></head>\n\
         <body>\n<h1>{status}</h1>\n<p>{explanation}</p>\n</body>\n</html>\n"
    );
    //= https://www.rfc-editor.org/rfc/rfc9110#section-7.8
    //# A sender of Upgrade MUST also send an "Upgrade" connection option
    //# in the Connection header field to inform intermediaries not to
    //# forward this field.
    let connection = if extra.iter().any(|(name, _)| name.eq_ignore_ascii_case("Upgrade")) {
        "close, Upgrade"
    } else {
        "close"
    };
    let mut response = ResponseHead::new(status, now_unix_s)
        .field("Connection", connection)
        .field("Content-Type", "text/html;charset=utf-8")
        .field("Content-Length", page.len().to_string())
        .field("X-Content-Type-Options", "nosniff")
        .fields(extra)
        .finish();
    if !head_only {
        response.extend_from_slice(page.as_bytes());
    }
    response
}

/// The body of [`document`].
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// It follows the head
    Sent(&'a [u8]),
    /// Only its length is told, as for HEAD
    Told(&'a [u8]),
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) | Self::Told(bytes) => bytes,
        }
    }
}

/// A complete response with a body of ours, which ends the connection.
#[must_use]
pub fn document(
    status: Status,
    media_type: &str,
    extra: ExtraHeaders<'_>,
    body: Body<'_>,
    now_unix_s: u64,
) -> Vec<u8> {
    let mut response = ResponseHead::new(status, now_unix_s)
        .field("Connection", "close")
        .field("Content-Type", media_type)
        .field("Content-Length", body.bytes().len().to_string())
        .field("Cache-Control", "no-store")
        .fields(extra)
        .finish();
    if let Body::Sent(bytes) = body {
        response.extend_from_slice(bytes);
    }
    response
}

/// A complete response without a body, which ends the connection (RFC 9110 section 15.3.5).
#[must_use]
pub fn no_content(now_unix_s: u64) -> Vec<u8> {
    ResponseHead::new(Status::NO_CONTENT, now_unix_s).field("Connection", "close").finish()
}

/// The head of the answer to a request for a web file: 200, or 304 when `evaluation` says that the
/// tenant has the file already. The head for HEAD is the same.
///
/// `Cache-Control: no-cache` makes the browser ask each time, which costs one 304 per file; without it
/// browsers mix old and new modules after noVNC was upgraded.
#[must_use]
pub fn file_head(
    meta: &FileMeta,
    evaluation: Evaluation,
    keep_alive: bool,
    extra: ExtraHeaders<'_>,
    now_unix_s: u64,
) -> Vec<u8> {
    let status = match evaluation {
        Evaluation::Full => Status::OK,
        Evaluation::NotModified => Status::NOT_MODIFIED,
    };
    let mut head = ResponseHead::new(status, now_unix_s).connection(keep_alive);
    if evaluation == Evaluation::Full {
        head = head.field("Content-Type", meta.media_type).field("Content-Length", meta.len.to_string());
        if meta.gzip {
            head = head.field("Content-Encoding", "gzip");
        }
    }
    head.field("Last-Modified", http_date(meta.modified_unix_s().min(now_unix_s)))
        .field("ETag", meta.etag())
        .field("Cache-Control", "no-cache")
        .field("Vary", "Accept-Encoding")
        .field("X-Content-Type-Options", "nosniff")
        // The page's address holds the token, and the browser would repeat it in every Referer.
        .field("Referrer-Policy", "no-referrer")
        .fields(extra)
        .finish()
}

/// Writes one response head, line by line.
pub(super) struct ResponseHead {
    bytes: Vec<u8>,
}

impl ResponseHead {
    /// Status line, `Server` and `Date`: what each response of Nova's proxies begins with.
    pub(super) fn new(status: Status, now_unix_s: u64) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
        Self { bytes }.field("Server", SERVER).field("Date", http_date(now_unix_s))
    }

    /// Adds one field. Control bytes of `value` are dropped, so that a value cannot end its line.
    pub(super) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        debug_assert!(super::headers::is_token(name.as_bytes()), "field names are ours");
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend(value.as_ref().iter().filter(|byte| !byte.is_ascii_control()));
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Adds several fields.
    pub(super) fn fields(self, fields: ExtraHeaders<'_>) -> Self {
        fields.iter().fold(self, |head, (name, value)| head.field(name, value))
    }

    /// Adds `Connection`.
    pub(super) fn connection(self, keep_alive: bool) -> Self {
        self.field("Connection", if keep_alive { "keep-alive" } else { "close" })
    }

    /// Adds the blank line.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

/// The date format of RFC 9110 section 5.6.7, for seconds since 1970.
fn http_date(unix_s: u64) -> String {
    /// 9999-12-31 23:59:59, the last second that the format can express.
    const LAST_UNIX_S: u64 = 253_402_300_799;
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s.min(LAST_UNIX_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_end_their_line() {
        let head = ResponseHead::new(Status::OK, 0).field("X-A", "a\r\nSet-Cookie: b\0\t").finish();
        assert!(head.ends_with(b"\r\nX-A: aSet-Cookie: b\r\n\r\n"));
    }

    #[test]
    fn dates_outside_of_the_format_are_clamped() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_795_305_600), "Sun, 22 Nov 2026 00:00:00 GMT");
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn error_page_states_the_length_of_the_page_and_head_leaves_it_out() {
        let allow = [("Allow", "GET, HEAD")];
        let page = String::from_utf8(error_page(Status::METHOD_NOT_ALLOWED, &allow, false, 0)).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 405 Method Not Allowed\r\nServer: WebSockify consolegate\r\nDate: ")
        );
        assert!(head.contains("\r\nConnection: close\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.ends_with("\r\nAllow: GET, HEAD"));
        let without_body = error_page(Status::METHOD_NOT_ALLOWED, &allow, true, 0);
        assert_eq!(without_body, format!("{head}\r\n\r\n").as_bytes());
    }

    #[test]
    fn file_head_for_a_file_and_for_an_unmodified_one() {
        let meta = FileMeta { len: 7, modified_unix_ns: 1_500_000_000, gzip: true, media_type: "text/css" };
        let extra = [("Content-Security-Policy", "frame-ancestors 'self'")];
        let full = String::from_utf8(file_head(&meta, Evaluation::Full, true, &extra, 60)).unwrap();
        assert_eq!(
            full,
            "HTTP/1.1 200 OK\r\nServer: WebSockify consolegate\r\nDate: Thu, 01 Jan 1970 00:01:00 GMT\r\n\
             Connection: keep-alive\r\nContent-Type: text/css\r\nContent-Length: 7\r\nContent-Encoding: gzip\r\n\
             Last-Modified: Thu, 01 Jan 1970 00:00:01 GMT\r\nETag: \"7-59682f00-gz\"\r\nCache-Control: no-cache\r\n\
             Vary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: frame-ancestors 'self'\r\n\r\n"
        );
        let not_modified =
            String::from_utf8(file_head(&meta, Evaluation::NotModified, false, &[], 60)).unwrap();
        assert!(not_modified.starts_with("HTTP/1.1 304 Not Modified\r\n"));
        assert!(not_modified.contains("\r\nConnection: close\r\n") && not_modified.contains("\r\nETag: "));
        assert!(!not_modified.contains("Content-Length") && !not_modified.contains("Content-Encoding"));
    }

    #[test]
    fn a_file_from_the_future_is_dated_now() {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-8.8.2.1
        //# An origin server with a clock (as defined in Section 5.6.7) MUST NOT
        //# generate a Last-Modified date that is later than the server's time of
        //# message origination (Date, Section 6.6.1).
        let meta = FileMeta { len: 0, modified_unix_ns: i128::MAX, gzip: false, media_type: "text/css" };
        let head = String::from_utf8(file_head(&meta, Evaluation::Full, true, &[], 60)).unwrap();
        assert!(head.contains("Last-Modified: Thu, 01 Jan 1970 00:01:00 GMT"));
    }
}
