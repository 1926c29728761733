//! [`HeadParser`]: from the bytes of a request head to a [`Request`] (RFC 9112 sections 2 to 5).
//!
//! Stricter than websockify, which takes bare LF, folded lines and two `Host`s: whatever a server in
//! front of us could read in another way is refused.

use std::mem;
use std::ops::Range;

use thiserror::Error;

use super::authority::Authority;
use super::headers::{self, Field};
use super::request::{Method, Request};
use super::status::Status;
use crate::secret::Secret;

/// How large a request head may be. A line's bytes count without its CR LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest request line in bytes; beyond it 414.
    pub request_line_bytes_max: usize,
    /// Longest header line in bytes; beyond it 431.
    pub header_line_bytes_max: usize,
    /// Most header lines; beyond it 431.
    pub headers_max: usize,
    /// Longest head in bytes, line ends included; beyond it 431.
    pub head_bytes_max: usize,
}

impl Default for HeadLimits {
    /// Tokens are about fifty bytes, but cookies that share our domain run to kilobytes.
    fn default() -> Self {
        Self {
            request_line_bytes_max: 16 * 1024,
            header_line_bytes_max: 16 * 1024,
            headers_max: 100,
            head_bytes_max: 64 * 1024,
        }
    }
}

/// Why a request head was refused. No text of the request is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// 414
    #[error("tenant sent a request line over the limit")]
    RequestLineTooLong,
    /// 431
    #[error("tenant sent a header line over the limit")]
    HeaderLineTooLong,
    /// 431
    #[error("tenant sent too many header lines")]
    TooManyHeaders,
    /// 431
    #[error("tenant sent a request head over the limit")]
    HeadTooLong,
    /// 400; RFC 9112 section 2.2 leaves it to the recipient
    #[error("tenant ended a line with a bare LF")]
    BareLf,
    /// 400; RFC 9112 section 2.2
    #[error("tenant sent a CR without LF")]
    BareCr,
    /// 400; RFC 9110 section 5.5
    #[error("tenant sent a control byte in the request head")]
    ControlByte,
    /// 400; not `method SP target SP version`, which includes the HTTP/0.9 form
    #[error("tenant sent a malformed request line")]
    RequestLine,
    /// 400; neither origin-form nor absolute-form
    #[error("tenant sent a malformed request target")]
    Target,
    /// 505
    #[error("tenant spoke another major version of HTTP")]
    Version,
    /// 400; no colon, no name, or something other than a token before the colon
    #[error("tenant sent a malformed header line")]
    HeaderLine,
    /// 400; RFC 9112 section 5.2
    #[error("tenant folded a header line")]
    Folded,
    /// 400; RFC 9112 section 3.2
    #[error("tenant sent an HTTP/1.1 request without Host")]
    HostMissing,
    /// 400; RFC 9112 section 3.2
    #[error("tenant sent more than one Host")]
    HostRepeated,
    /// 400; RFC 9112 section 3.2
    #[error("tenant sent a malformed Host")]
    HostMalformed,
}

impl RequestError {
    /// The status to answer with. The connection ends after it.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::RequestLineTooLong => Status::URI_TOO_LONG,
            Self::HeaderLineTooLong | Self::TooManyHeaders | Self::HeadTooLong => {
                Status::HEADER_FIELDS_TOO_LARGE
            }
            Self::Version => Status::VERSION_NOT_SUPPORTED,
            _ => Status::BAD_REQUEST,
        }
    }
}

/// Reads one request head, however it arrives. Make a new one for each request of a connection.
///
/// It remembers how far it has looked, so feeding a head byte by byte costs no more than feeding it at
/// once. It keeps no bytes, only places in them.
#[derive(Debug, Default)]
pub struct HeadParser {
    // INVARIANT: line_start <= scanned, and every byte before `scanned` has passed `find_line_end`.
    line_start: usize,
    scanned: usize,
    empty_line_skipped: bool,
    request_line: Option<RequestLine>,
    fields: Vec<Field>,
    failure: Option<RequestError>,
}

impl HeadParser {
    /// A parser that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at `bytes`: all bytes since the head began, those of earlier calls again in front.
    ///
    /// `Ok(None)` means that the head goes on. `Ok(Some((request, len)))` means that the head ended
    /// within its first `len` bytes; those behind are untouched and belong to whatever comes next.
    ///
    /// # Errors
    /// The first fault in the order of the bytes, however they are split into calls; at the byte that
    /// makes it certain, not at the end of the line or head. A later call repeats the error.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Request, usize)>, RequestError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        self.advance(bytes, limits).inspect_err(|&error| self.failure = Some(error))
    }

    fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Request, usize)>, RequestError> {
        let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
        while let Some(line_end) = self.find_line_end(window, limits)? {
            let line = self.line_start..line_end;
            self.line_start = line_end + 2;
            self.scanned = self.line_start;
            if !line.is_empty() {
                self.take_line(window, line)?;
            } else if let Some(request_line) = self.request_line.take() {
                let head = &window[..self.line_start];
                let request = finish(head, request_line, mem::take(&mut self.fields))?;
                return Ok(Some((request, head.len())));
            } else if mem::replace(&mut self.empty_line_skipped, true) {
                //= https://www.rfc-editor.org/rfc/rfc9112#section-2.2
                //# In the interest of robustness, a server that is expecting to receive
                //# and parse a request-line SHOULD ignore at least one empty line (CRLF)
                //# received prior to the request-line.
                return Err(RequestError::RequestLine);
            }
        }
        if bytes.len() >= limits.head_bytes_max { Err(RequestError::HeadTooLong) } else { Ok(None) }
    }

    /// Where the CR LF of the current line is, once it is there. Judges every byte on the way.
    fn find_line_end(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Option<usize>, RequestError> {
        let in_fields = self.request_line.is_some();
        while let Some(&byte) = window.get(self.scanned) {
            let line_len = self.scanned - self.line_start;
            match byte {
                b'\r' => {
                    return match window.get(self.scanned + 1) {
                        None => Ok(None),
                        Some(b'\n') => Ok(Some(self.scanned)),
                        Some(_) => Err(RequestError::BareCr),
                    };
                }
                b'\n' => return Err(RequestError::BareLf),
                _ if !in_fields && line_len >= limits.request_line_bytes_max => {
                    return Err(RequestError::RequestLineTooLong);
                }
                _ if in_fields && line_len >= limits.header_line_bytes_max => {
                    return Err(RequestError::HeaderLineTooLong);
                }
                b' ' | b'\t' if in_fields && line_len == 0 => return Err(RequestError::Folded),
                _ if in_fields && line_len == 0 && self.fields.len() >= limits.headers_max => {
                    return Err(RequestError::TooManyHeaders);
                }
                b'\t' if in_fields => {}
                0x00..=0x1f | 0x7f => return Err(RequestError::ControlByte),
                _ => {}
            }
            self.scanned += 1;
        }
        Ok(None)
    }

    fn take_line(&mut self, window: &[u8], line: Range<usize>) -> Result<(), RequestError> {
        if self.request_line.is_none() {
            self.request_line = Some(RequestLine::parse(window, line)?);
            return Ok(());
        }
        let bytes = &window[line.clone()];
        let colon = bytes.iter().position(|&byte| byte == b':').ok_or(RequestError::HeaderLine)?;
        let (name, value) = (&bytes[..colon], &bytes[colon + 1..]);
        //= https://www.rfc-editor.org/rfc/rfc9112#section-5.1
        //# A server MUST reject, with a response status code of 400 (Bad Request), any
        //# received request message that contains whitespace between a header
        //# field name and colon.
        if !headers::is_token(name) {
            return Err(RequestError::HeaderLine);
        }
        let leading = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let value_start = line.start + colon + 1 + leading;
        let value_len = headers::trim(value).len();
        self.fields.push(Field {
            name: line.start..line.start + colon,
            value: value_start..value_start + value_len,
        });
        Ok(())
    }
}

/// The request line, as places in the head.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) minor_version: u8,
    /// Of an absolute-form target.
    pub(super) authority: Option<Range<usize>>,
    /// Empty when the target holds none: `http://host`.
    pub(super) path: Range<usize>,
    pub(super) query: Option<Range<usize>>,
}

impl RequestLine {
    fn parse(window: &[u8], line: Range<usize>) -> Result<Self, RequestError> {
        let bytes = &window[line.clone()];
        let mut words = bytes.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RequestError::RequestLine);
        };
        if !headers::is_token(method) || target.is_empty() {
            return Err(RequestError::RequestLine);
        }
        let &[b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version else {
            return Err(RequestError::RequestLine);
        };
        if major != b'1' {
            return Err(RequestError::Version);
        }
        let method = match method {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            _ => Method::Other,
        };
        let target_start = line.start + bytes.len() - version.len() - 1 - target.len();
        let (authority, path, query) = match method {
            // Refused whatever the target is, and `*` or `host:port` are legal with some of them.
            Method::Other => (None, target_start..target_start, None),
            _ => split_target(target, target_start)?,
        };
        Ok(Self { method, minor_version: minor - b'0', authority, path, query })
    }
}

type TargetParts = (Option<Range<usize>>, Range<usize>, Option<Range<usize>>);

/// Authority, path and query of a target that starts at `start` (RFC 9112 section 3.2).
fn split_target(target: &[u8], start: usize) -> Result<TargetParts, RequestError> {
    // Clients keep fragments to themselves. One that comes all the same is no part of the path or the query for Nova.
    let target = target.split(|&byte| byte == b'#').next().unwrap_or_default();
    let end = start + target.len();
    let query_mark = target.iter().position(|&byte| byte == b'?');
    let path_end = query_mark.map_or(end, |mark| start + mark);
    let query = query_mark.map(|mark| start + mark + 1..end);
    if target.starts_with(b"/") {
        return Ok((None, start..path_end, query));
    }
    let scheme_len = [b"http://".as_slice(), b"https://", b"ws://", b"wss://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|got| got.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
        .ok_or(RequestError::Target)?;
    let rest = &target[scheme_len..path_end - start];
    let authority = &rest[..rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())];
    if Authority::parse(authority).is_none_or(|authority| authority.host.is_empty()) {
        return Err(RequestError::Target);
    }
    let authority_start = start + scheme_len;
    let path_start = authority_start + authority.len();
    Ok((Some(authority_start..path_start), path_start..path_end, query))
}

/// Checks what only the whole head can tell, and copies it out of the caller's buffer.
fn finish(head: &[u8], request_line: RequestLine, fields: Vec<Field>) -> Result<Request, RequestError> {
    let request = Request::new(Secret::new(head), request_line, fields);
    //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    //# A server MUST respond with a 400 (Bad Request) status code to any
    //# HTTP/1.1 request message that lacks a Host header field and to any
    //# request message that contains more than one Host header field line or
    //# a Host header field with an invalid field value.
    let mut hosts = request.header_values("Host");
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(RequestError::HostRepeated),
        (None, None) if request.minor_version() > 0 => return Err(RequestError::HostMissing),
        (Some(host), None) if Authority::parse(host).is_none() => return Err(RequestError::HostMalformed),
        _ => drop(hosts),
    }
    Ok(request)
}
