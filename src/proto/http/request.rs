//! [`Request`]: one parsed request head.

use std::fmt;
use std::ops::Range;

use super::head::RequestLine;
use super::headers::{self, Field, Headers};
use super::token;
use crate::console::ConsoleToken;
use crate::secret::Secret;

/// The method of a request, as far as we tell methods apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// Any other method: answered with 405. Its target is not interpreted.
    Other,
}

/// One request head.
///
/// It owns a copy of the head, wiped on drop. `Debug` shows neither the query nor any header value.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    head: Secret,
    method: Method,
    minor_version: u8,
    authority: Option<Range<usize>>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    fields: Vec<Field>,
}

impl Request {
    pub(super) fn new(head: Secret, line: RequestLine, fields: Vec<Field>) -> Self {
        let RequestLine { method, minor_version, authority, path, query } = line;
        Self { head, method, minor_version, authority, path, query, fields }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The minor version of HTTP/1: the digit itself, so 2 and more are possible and count as 1.
    #[must_use]
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The path as sent, with its percent escapes. Starts with `/`, and may start with `//`: see
    /// [`WebPath`](super::WebPath) before using it for files.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self.slice(&self.path) {
            b"" => b"/",
            path => path,
        }
    }

    /// The query as sent, without its `?`. It usually holds the token.
    #[must_use]
    pub fn query(&self) -> Option<Secret> {
        self.raw_query().map(Secret::new)
    }

    pub(super) fn raw_query(&self) -> Option<&[u8]> {
        self.query.as_ref().map(|range| self.slice(range))
    }

    /// The host that the request is for, with its port when one was sent.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
        //# When an origin server receives a request with an absolute-form of
        //# request-target, the origin server MUST ignore the received Host header
        //# field (if any) and instead use the host information of the
        //# request-target.
        match &self.authority {
            Some(authority) => Some(self.slice(authority)),
            None => self.header("Host"),
        }
    }

    /// The value of the first header line called `name` (ASCII case-insensitive), trimmed.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// The values of all header lines called `name`, in order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers().values(name)
    }

    /// The members of the comma-separated list that all header lines called `name` make up. Members are
    /// trimmed and never empty.
    pub fn header_list(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.header_values(name).flat_map(headers::list_members)
    }

    /// Whether the list header `name` has the member `member`, both without regard to ASCII case.
    #[must_use]
    pub fn header_lists(&self, name: &str, member: &str) -> bool {
        self.header_list(name).any(|got| got.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// All header lines as `(name, value)` pairs, in order.
    pub fn header_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers().iter()
    }

    /// Whether the tenant may send another request on this connection (RFC 9112 section 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        let asked_for = self.minor_version > 0 || self.header_lists("Connection", "keep-alive");
        asked_for && !self.header_lists("Connection", "close")
    }

    /// Whether the head announces a body, or anything else than the absence of one. We read none, so
    /// the bytes behind such a head can be neither a request nor a frame.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.header("Transfer-Encoding").is_some()
            || self.header_values("Content-Length").any(|len| len != b"0")
    }

    /// The console token, from the query or from the cookie; see [`token::find`].
    #[must_use]
    pub fn token(&self) -> Option<ConsoleToken> {
        token::find(self).token
    }

    fn headers(&self) -> Headers<'_> {
        Headers { head: self.head.expose(), fields: &self.fields }
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        // The head does not change after parsing; an empty slice is only for the compiler.
        self.head.expose().get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to tell files apart, too little to flood a log.
        const PATH_BYTES_SHOWN: usize = 80;
        let path = self.path();
        let path = path[..path.len().min(PATH_BYTES_SHOWN)].escape_ascii().to_string();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("minor_version", &self.minor_version)
            .field("path", &path)
            .field("query", &self.query.is_some().then_some("***"))
            .field("headers", &self.fields.len())
            .finish_non_exhaustive()
    }
}
