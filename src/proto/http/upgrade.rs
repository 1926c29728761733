//! Is it a WebSocket opening handshake, and do we take it? (RFC 6455 section 4.2)
//!
//! The order of the checks decides which fault a tenant is told about. Nova's proxies
//! (`websockify/websocketserver.py`, `handle_upgrade`) check less; what they accept and the RFC does not
//! is accepted here too, unless [`UpgradePolicy::strict`] is set, because clients and reverse proxies
//! that forget `Connection: Upgrade` or speak HTTP/1.0 work with Nova today.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

use super::request::{Method, Request};
use super::response::{self, ExtraHeaders, ResponseHead};
use super::status::Status;

/// The subprotocol that we speak. `base64`, which noVNC 0.4 alone needed, is not offered any more.
const SUBPROTOCOL: &str = "binary";

/// How exact the tenant has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpgradePolicy {
    /// Ask for HTTP/1.1 and for `Connection: Upgrade`, as RFC 6455 section 4.2.1 does and Nova does not.
    pub strict: bool,
}

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// An ordinary GET or HEAD without a body: a web file. The only case in which the bytes behind the
    /// head may be read as another request.
    Static,
    /// A good opening handshake. Every byte behind the head belongs to a frame.
    Accept(Accept),
    /// Refused. The connection ends, and what follows the head is never read: the tenant may have sent
    /// frames already, and a masked frame can be made to look like a request (RFC 6455 section 10.3).
    Reject(Reject),
}

/// A good opening handshake, to be answered with 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    accept: String,
    subprotocol: Option<&'static str>,
    /// `Connection` did not say `Upgrade`: most likely a reverse proxy that drops it. Worth one log line.
    pub connection_missing: bool,
}

impl Accept {
    /// The subprotocol that the answer names.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.subprotocol
    }

    /// The 101 (RFC 6455 section 4.2.2). `now_unix_s` is the time in seconds since 1970.
    ///
    /// No extension is ever accepted: screen updates do not compress again, and each one would cost
    /// memory per session.
    #[must_use]
    pub fn response(&self, now_unix_s: u64) -> Vec<u8> {
        // Tempest reads the raw text: the status line and "upgrade: websocket" must be exactly so.
        let head = ResponseHead::new(Status::SWITCHING_PROTOCOLS, now_unix_s)
            .field("Upgrade", "websocket")
            .field("Connection", "Upgrade")
            .field("Sec-WebSocket-Accept", &self.accept);
        match self.subprotocol {
            Some(subprotocol) => head.field("Sec-WebSocket-Protocol", subprotocol),
            None => head,
        }
        .finish()
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RejectReason {
    /// 405
    #[error("tenant used a method other than GET and HEAD")]
    Method,
    /// 405
    #[error("tenant asked for an upgrade with HEAD")]
    UpgradeByHead,
    /// 400
    #[error("tenant announced a request body")]
    Body,
    /// 400, when strict
    #[error("tenant asked for an upgrade with HTTP/1.0")]
    HttpVersion,
    /// 400, when strict
    #[error("tenant asked for an upgrade without Connection: Upgrade")]
    Connection,
    /// 400
    #[error("tenant sent no Sec-WebSocket-Version")]
    VersionMissing,
    /// 400
    #[error("tenant sent a malformed Sec-WebSocket-Version")]
    VersionMalformed,
    /// 426
    #[error("tenant asked for a WebSocket version other than 7, 8 and 13")]
    VersionUnsupported,
    /// 400
    #[error("tenant sent no Sec-WebSocket-Key")]
    KeyMissing,
    /// 400
    #[error("tenant sent a malformed or repeated Sec-WebSocket-Key")]
    KeyMalformed,
    /// 400
    #[error("tenant offered subprotocols, but not binary")]
    Subprotocol,
}

/// A refused request, to be answered and then closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    reason: RejectReason,
    head_only: bool,
}

impl Reject {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> RejectReason {
        self.reason
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.reason {
            RejectReason::Method | RejectReason::UpgradeByHead => Status::METHOD_NOT_ALLOWED,
            RejectReason::VersionUnsupported => Status::UPGRADE_REQUIRED,
            _ => Status::BAD_REQUEST,
        }
    }

    /// The fields that the answer has beside the usual ones.
    #[must_use]
    pub fn extra_headers(&self) -> ExtraHeaders<'static> {
        match self.reason {
            RejectReason::Method => &[("Allow", "GET, HEAD")],
            RejectReason::UpgradeByHead => &[("Allow", "GET")],
            RejectReason::VersionMissing | RejectReason::VersionMalformed => {
                &[("Sec-WebSocket-Version", "13")]
            }
            //= https://www.rfc-editor.org/rfc/rfc6455#section-4.4
            //# If the server doesn't support the requested version, it MUST respond with
            //# a |Sec-WebSocket-Version| header field (or multiple
            //# |Sec-WebSocket-Version| header fields) containing all versions it is
            //# willing to use.
            RejectReason::VersionUnsupported => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            _ => &[],
        }
    }

    /// The whole answer. `now_unix_s` is the time in seconds since 1970.
    #[must_use]
    pub fn response(&self, now_unix_s: u64) -> Vec<u8> {
        let explanation = match self.reason {
            RejectReason::Method => "Only GET and HEAD are served here.",
            RejectReason::UpgradeByHead => "A WebSocket is opened with GET.",
            RejectReason::Body => "Requests with a body are not served here.",
            RejectReason::HttpVersion => "A WebSocket needs HTTP/1.1.",
            RejectReason::Connection => "The header Connection: Upgrade is missing.",
            RejectReason::VersionMissing => "The header Sec-WebSocket-Version is missing.",
            RejectReason::VersionMalformed => "The header Sec-WebSocket-Version is not one number.",
            RejectReason::VersionUnsupported => "Only WebSocket version 13 is spoken here.",
            RejectReason::KeyMissing => "The header Sec-WebSocket-Key is missing.",
            RejectReason::KeyMalformed => "The header Sec-WebSocket-Key is not one key of 16 bytes.",
            RejectReason::Subprotocol => "Only the WebSocket subprotocol binary is spoken here.",
        };
        response::error_page_saying(
            explanation,
            self.status(),
            self.extra_headers(),
            self.head_only,
            now_unix_s,
        )
    }
}

/// Decides what `request` is. The path plays no part: noVNC opens its WebSocket at the path of the page
/// it was loaded from.
#[must_use]
pub fn decide(request: &Request, policy: &UpgradePolicy) -> Upgrade {
    classify(request, policy).unwrap_or_else(|reason| {
        Upgrade::Reject(Reject { reason, head_only: request.method() == Method::Head })
    })
}

fn classify(request: &Request, policy: &UpgradePolicy) -> Result<Upgrade, RejectReason> {
    if request.method() == Method::Other {
        return Err(RejectReason::Method);
    }
    if request.has_body() {
        return Err(RejectReason::Body);
    }
    if !request.header_lists("Upgrade", "websocket") {
        return Ok(Upgrade::Static);
    }
    if request.method() != Method::Get {
        return Err(RejectReason::UpgradeByHead);
    }
    if policy.strict && request.minor_version() == 0 {
        return Err(RejectReason::HttpVersion);
    }
    let connection_missing = !request.header_lists("Connection", "upgrade");
    if policy.strict && connection_missing {
        return Err(RejectReason::Connection);
    }
    check_version(request)?;
    let accept = accept_value(key(request)?);
    let subprotocol = choose_subprotocol(request)?;
    Ok(Upgrade::Accept(Accept { accept, subprotocol, connection_missing }))
}

/// Versions 7 and 8 are drafts of 13 with the same frames, and Nova takes them.
fn check_version(request: &Request) -> Result<(), RejectReason> {
    let mut values = request.header_values("Sec-WebSocket-Version");
    let version = values.next().ok_or(RejectReason::VersionMissing)?;
    if values.next().is_some() {
        return Err(RejectReason::VersionMalformed);
    }
    match version {
        b"7" | b"8" | b"13" => Ok(()),
        [b'0'] => Err(RejectReason::VersionUnsupported),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            Err(RejectReason::VersionUnsupported)
        }
        _ => Err(RejectReason::VersionMalformed),
    }
}

/// The one `Sec-WebSocket-Key`: sixteen bytes in base64. Unused bits of the last digit may be set, since
/// Tempest's fixed key need not be canonical.
fn key(request: &Request) -> Result<&[u8], RejectReason> {
    let mut values = request.header_values("Sec-WebSocket-Key");
    let key = values.next().ok_or(RejectReason::KeyMissing)?;
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
    //# The |Sec-WebSocket-Key| header field MUST NOT appear more than once in
    //# an HTTP request.
    let digits =
        key.strip_suffix(b"==").filter(|digits| digits.len() == 22).ok_or(RejectReason::KeyMalformed)?;
    let all_base64 = digits.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    if all_base64 && values.next().is_none() { Ok(key) } else { Err(RejectReason::KeyMalformed) }
}

/// The value of `Sec-WebSocket-Accept` for `key` (RFC 6455 section 4.2.2, item 5.4).
fn accept_value(key: &[u8]) -> String {
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    STANDARD.encode(digest)
}

/// Names compare case-sensitively. websockify splits without trimming and so refuses `base64, binary`,
/// the way every browser writes it.
fn choose_subprotocol(request: &Request) -> Result<Option<&'static str>, RejectReason> {
    let mut offered = request.header_list("Sec-WebSocket-Protocol").peekable();
    if offered.peek().is_none() {
        // Chromium fails the connection when the answer names a subprotocol that it did not offer.
        return Ok(None);
    }
    if offered.any(|name| name == SUBPROTOCOL.as_bytes()) {
        Ok(Some(SUBPROTOCOL))
    } else {
        Err(RejectReason::Subprotocol)
    }
}
