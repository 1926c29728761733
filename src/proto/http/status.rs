//! [`Status`]: the status codes we send.

use std::fmt;

/// A status code that we send (RFC 9110 section 15, RFC 6585).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// 101
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    /// 200
    pub const OK: Self = Self(200);
    /// 204
    pub const NO_CONTENT: Self = Self(204);
    /// 301
    pub const MOVED_PERMANENTLY: Self = Self(301);
    /// 304
    pub const NOT_MODIFIED: Self = Self(304);
    /// 400
    pub const BAD_REQUEST: Self = Self(400);
    /// 403
    pub const FORBIDDEN: Self = Self(403);
    /// 404
    pub const NOT_FOUND: Self = Self(404);
    /// 405
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 408
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 414
    pub const URI_TOO_LONG: Self = Self(414);
    /// 426
    pub const UPGRADE_REQUIRED: Self = Self(426);
    /// 431
    pub const HEADER_FIELDS_TOO_LARGE: Self = Self(431);
    /// 500
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 503
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 505
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);

    /// The number.
    #[must_use]
    pub fn code(self) -> u16 {
        self.0
    }

    /// The reason phrase of the status line.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self.0 {
            101 => "Switching Protocols",
            200 => "OK",
            204 => "No Content",
            301 => "Moved Permanently",
            304 => "Not Modified",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            414 => "URI Too Long",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "Internal Server Error",
        }
    }

    /// One sentence for the person who sees the error page.
    pub(super) fn explanation(self) -> &'static str {
        match self.0 {
            400 => "The request was malformed.",
            403 => "The request was refused.",
            404 => "There is nothing at this address.",
            405 => "This method is not served at this address.",
            408 => "The request took too long to arrive.",
            414 => "The address is too long.",
            426 => "Another WebSocket version is needed.",
            431 => "The request has too many or too long header fields.",
            503 => "The console proxy is busy. Try again later.",
            505 => "Only HTTP/1.1 is spoken here.",
            _ => "The console proxy failed to answer.",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.phrase())
    }
}
