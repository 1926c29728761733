//! The forms of Nova's log lines.

use super::{Context, LOG_TARGET};
use crate::proto::http;

/// A line with the connection's number in front, as websockify's `msg` and `vmsg` write it (`% 3d: `), under the
/// session's request id: for what comes after the token's look-up.
macro_rules! numbered {
    ($level:ident, $cx:expr, $($text:tt)+) => {
        tracing::$level!(
            target: $crate::session::LOG_TARGET,
            request = $cx.number,
            " {:2}: {}",
            $cx.number,
            format_args!($($text)+)
        )
    };
}
pub(super) use numbered;

/// The two lines of an upgrade, in the form of Python's HTTP server: before the token's look-up there is no request id
/// (`websockify/websockifyserver.py`, `handle_websocket`).
pub(super) fn upgraded(cx: &Context, request: &http::Request) {
    let ip = cx.peer.ip();
    let scheme = if cx.tls { "SSL/TLS (wss://)" } else { "Plain non-SSL (ws://)" };
    tracing::info!(target: LOG_TARGET, client = %ip, "{ip}: {scheme} WebSocket connection");
    let target = masked_target(request);
    if target != "/" {
        tracing::info!(target: LOG_TARGET, client = %ip, "{ip}: Path: '{target}'");
    }
}

/// One line per web request, as Python's HTTP server has it, but at DEBUG: load balancers ask every few seconds, and
/// their probes must not fill the log.
pub(super) fn answered(cx: &Context, request: Option<&http::Request>, status: http::Status) {
    let code = status.code();
    match request {
        Some(request) => {
            let method = match request.method() {
                http::Method::Get => "GET",
                http::Method::Head => "HEAD",
                // Its name is the tenant's choice, and not kept.
                http::Method::Other => "OTHER",
            };
            let target = masked_target(request);
            let minor = request.minor_version();
            tracing::debug!(target: LOG_TARGET, client = %cx.peer.ip(), "\"{method} {target} HTTP/1.{minor}\" {code} -");
        }
        None => {
            tracing::debug!(target: LOG_TARGET, client = %cx.peer.ip(), "code {code}, message {}", status.phrase())
        }
    }
}

/// The request's target without what may be secret: Nova's line shows the live token to this day.
fn masked_target(request: &http::Request) -> String {
    let path = String::from_utf8_lossy(request.path());
    let mut masked: String = path.escape_debug().to_string();
    // A client may have escaped the question mark, too.
    let lower = masked.to_ascii_lowercase();
    if let Some(at) = ["%3f", "token"].iter().filter_map(|mark| lower.find(mark)).min() {
        masked.truncate(at);
        masked.push_str("***");
    }
    if let Some(query) = request.query() {
        let has_token = query.expose().split(|byte| *byte == b'&').any(|pair| pair.starts_with(b"token="));
        masked.push_str(if has_token { "?token=***" } else { "?***" });
    }
    masked
}
