//! The Origin check: may a page of that origin use this console? (CVE-2015-0259)
//!
//! Cookies go along with a WebSocket from any page, so this check alone keeps another site from using a
//! tenant's token. It follows `nova/console/websocketproxy.py`, `new_websocket_client` and
//! `verify_origin_proto`, with two changes: host names compare without regard to case, and the list of
//! allowed hosts is the same for every request (Nova once added each request's `Host` to it).

use thiserror::Error;

use super::authority::{Authority, same_host};
use super::request::Request;

/// What the operator allows beside the proxy's own host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    /// Host names without scheme and port: `[console]allowed_origins`. `null` allows opaque origins, such
    /// as sandboxed frames of any site; nobody should want that.
    pub allowed: Vec<String>,
    /// Whether this peer's `X-Forwarded-Proto` replaces the scheme of the Origin, as it does in Nova.
    pub honour_forwarded_proto: bool,
}

/// Why the Origin was refused. The texts are Nova's, which operators know from its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// Not `scheme://host[:port]`
    #[error("Origin header not valid.")]
    Malformed,
    /// Neither the request's own host nor an allowed one
    #[error("Origin header does not match this host.")]
    Host,
    /// Another scheme than that of the URL which Nova handed out
    #[error("Origin header protocol does not match this host.")]
    Protocol,
}

/// Checks the Origin of `request` against its own host, `policy`, and `access_url_base`: the URL that
/// Nova handed out, which decides the scheme. A request without Origin passes: it is not from a browser.
///
/// # Errors
/// See [`OriginError`].
pub fn check(
    request: &Request,
    access_url_base: Option<&str>,
    policy: &OriginPolicy,
) -> Result<(), OriginError> {
    let mut origins = request.header_values("Origin");
    let Some(origin) = origins.next() else { return Ok(()) };
    if origins.next().is_some() {
        return Err(OriginError::Malformed);
    }
    let is_allowed = |host: &str| policy.allowed.iter().any(|allowed| same_host(allowed, host));
    if origin == b"null" && is_allowed("null") {
        // An opaque origin has no scheme to compare.
        return Ok(());
    }
    let (scheme, host) = split_origin(origin).ok_or(OriginError::Malformed)?;
    let forwarded = request.header("X-Forwarded-Proto").filter(|_| policy.honour_forwarded_proto);
    let scheme = forwarded.unwrap_or(scheme);
    if scheme.is_empty() {
        return Err(OriginError::Malformed);
    }
    let own_host = request.host().and_then(Authority::parse).map(|authority| authority.host);
    if !is_allowed(host) && own_host.is_none_or(|own_host| own_host.is_empty() || !same_host(own_host, host))
    {
        return Err(OriginError::Host);
    }
    let expected = access_url_base.and_then(scheme_of).ok_or(OriginError::Protocol)?;
    // The serial console's URL is ws: or wss:, while the page around it is http: or https:.
    let matches = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    let alternative = match expected.to_ascii_lowercase().as_str() {
        "ws" => "http",
        "wss" => "https",
        _ => expected,
    };
    if matches(expected) || matches(alternative) { Ok(()) } else { Err(OriginError::Protocol) }
}

/// Scheme and host of `scheme://host[:port]`. A path behind it is tolerated, as in Nova; user
/// information and all that has two readings is not.
fn split_origin(origin: &[u8]) -> Option<(&[u8], &str)> {
    let colon = origin.iter().position(|&byte| byte == b':')?;
    let scheme = &origin[..colon];
    let rest = origin[colon..].strip_prefix(b"://")?;
    let authority = &rest[..rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())];
    let host = Authority::parse(authority)?.host;
    (is_scheme(scheme) && !host.is_empty()).then_some((scheme, host))
}

/// The scheme of a URL.
fn scheme_of(url: &str) -> Option<&str> {
    url.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_scheme(scheme.as_bytes()))
}

/// RFC 3986 section 3.1
fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}
