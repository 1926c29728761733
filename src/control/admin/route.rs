//! What is served where.
//!
//! | Request | Answer |
//! | --- | --- |
//! | GET, HEAD `/healthcheck` | as oslo.middleware's: `OK` (HEAD 204), JSON if asked for, 503 `DISABLED BY FILE` |
//! | GET, HEAD `/livez`, `/readyz` | 200 or 503, and why as JSON |
//! | GET, HEAD `/metrics` | OpenMetrics |
//! | GET `/sessions[?instance=UUID][&after=ID]` | open consoles, a page at a time |
//! | DELETE `/sessions/ID`, `/sessions?instance=UUID` | ends them |
//! | POST `/drain`, `/undrain` | `/readyz` says no from now on, or yes again |

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::info;

use super::health::{self, Report, ask_workers};
use super::{Office, Way};
use crate::control::unix_now;
use crate::proto::http::response::{self, Body, ExtraHeaders};
use crate::proto::http::{Request, Status};
use crate::session::LOG_TARGET;
use crate::session::limits::size;
use crate::telemetry::metrics::{MEDIA_TYPE, metrics};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The target of a request, taken apart.
struct Target<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    /// Reads the request line of a head that the parser has accepted. The parser itself does not look at the
    /// targets of methods that the console port has no use for.
    fn of(head: &'a [u8]) -> Self {
        // RFC 9112 section 2.2: an empty line in front is ignored.
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { method, path, query }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v)
    }
}

pub(super) fn now() -> u64 {
    u64::try_from(unix_now()).unwrap_or(0)
}

/// The whole answer to one request.
pub(super) async fn answer(office: &Office, way: Way, request: &Request, head: &[u8]) -> Vec<u8> {
    let target = Target::of(head);
    let (is_get, is_head) = (target.method == "GET", target.method == "HEAD");
    let page = target.path.strip_prefix("/sessions");
    let is_for_all = matches!(target.path, "/healthcheck" | "/livez" | "/readyz" | "/metrics");
    if way == Way::Address && !is_for_all {
        return problem(Status::FORBIDDEN, &[], "by the socket only", is_head);
    }
    match (target.path, target.method) {
        ("/healthcheck", _) if is_get || is_head => healthcheck(office, request, is_head).await,
        ("/livez", _) if is_get || is_head => told(&health::live(office).await, is_head),
        ("/readyz", _) if is_get || is_head => told(&health::ready(office).await, is_head),
        ("/metrics", _) if is_get || is_head => {
            document(Status::OK, MEDIA_TYPE, &[], metrics().exposition().as_bytes(), is_head)
        }
        ("/sessions", "GET") => sessions(office, &target).await,
        (_, "DELETE") if page.is_some() => end(office, &target, page.unwrap_or_default()),
        ("/drain", "POST") => drain(true),
        ("/undrain", "POST") => drain(false),
        (path, _) => match allowed(path) {
            Some(methods) => {
                let allow = [("Allow", methods)];
                problem(Status::METHOD_NOT_ALLOWED, &allow, "not with this method", is_head)
            }
            None => problem(Status::NOT_FOUND, &[], "nothing is served here", is_head),
        },
    }
}

/// The methods of a path.
fn allowed(path: &str) -> Option<&'static str> {
    match path {
        "/healthcheck" | "/livez" | "/readyz" | "/metrics" => Some("GET, HEAD"),
        "/sessions" => Some("GET, DELETE"),
        "/drain" | "/undrain" => Some("POST"),
        _ => None,
    }
}

/// `oslo_middleware/healthcheck`, without its details: those are `/readyz`.
async fn healthcheck(office: &Office, request: &Request, is_head: bool) -> Vec<u8> {
    let disabled = health::is_disabled(office).await;
    let (status, reason) =
        if disabled { (Status::SERVICE_UNAVAILABLE, "DISABLED BY FILE") } else { (Status::OK, "OK") };
    if is_head && !disabled {
        return response::no_content(now());
    }
    let wants_json = request.header_list("Accept").any(|kind| kind.starts_with(JSON.as_bytes()));
    if wants_json {
        return json_document(status, &json!({ "detailed": false, "reasons": [reason] }), is_head);
    }
    document(status, TEXT, &[], reason.as_bytes(), is_head)
}

fn told(report: &Report, is_head: bool) -> Vec<u8> {
    let status = if report.ok { Status::OK } else { Status::SERVICE_UNAVAILABLE };
    json_document(status, &report.detail, is_head)
}

async fn sessions(office: &Office, target: &Target<'_>) -> Vec<u8> {
    let after = match target.parameter("after").map(str::parse) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => return problem(Status::BAD_REQUEST, &[], "after is not a number", false),
    };
    let page = office.directory.page(after, size(office.limits.admin_page_max), target.parameter("instance"));
    let (mut traffic, _, _) = ask_workers(office, Arc::from(page.numbers.as_slice())).await;
    traffic.sort_unstable_by_key(|one| one.number);
    let described = page.numbers.iter().filter_map(|number| {
        let carried = traffic.binary_search_by_key(number, |one| one.number).ok();
        office.directory.describe(*number, carried.and_then(|index| traffic.get(index)))
    });
    let body = json!({ "sessions": described.collect::<Vec<_>>(), "next": page.next });
    json_document(Status::OK, &body, false)
}

/// Ends the session of that number, or those of an instance.
fn end(office: &Office, target: &Target<'_>, rest: &str) -> Vec<u8> {
    let numbers = match (rest.strip_prefix('/').map(str::parse), target.parameter("instance")) {
        (Some(Ok(number)), _) if office.directory.has(number) => vec![number],
        (Some(_), _) => return problem(Status::NOT_FOUND, &[], "there is no such session", false),
        (None, Some(instance)) if rest.is_empty() && !instance.is_empty() => {
            office.directory.page(0, usize::MAX, Some(instance)).numbers
        }
        (None, _) => {
            let detail = "which session? /sessions/ID or /sessions?instance=UUID";
            return problem(Status::BAD_REQUEST, &[], detail, false);
        }
    };
    info!(target: LOG_TARGET, "an operator ends {} sessions: {numbers:?}", numbers.len());
    let ended = numbers.len();
    office.workers.kill(numbers.into());
    json_document(Status::OK, &json!({ "ended": ended }), false)
}

fn drain(on: bool) -> Vec<u8> {
    metrics().out_of_service.set(on.into());
    info!(target: LOG_TARGET, "{}", if on { "draining: not ready from now on" } else { "no longer draining" });
    json_document(Status::OK, &json!({ "draining": on }), false)
}

fn problem(status: Status, extra: ExtraHeaders<'_>, detail: &str, is_head: bool) -> Vec<u8> {
    document(status, JSON, extra, format!("{}\n", json!({ "error": detail })).as_bytes(), is_head)
}

fn json_document(status: Status, value: &Value, is_head: bool) -> Vec<u8> {
    document(status, JSON, &[], format!("{value}\n").as_bytes(), is_head)
}

fn document(
    status: Status,
    media_type: &str,
    extra: ExtraHeaders<'_>,
    body: &[u8],
    is_head: bool,
) -> Vec<u8> {
    let body = if is_head { Body::Told(body) } else { Body::Sent(body) };
    response::document(status, media_type, extra, body, now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_taken_apart() {
        let target = Target::of(b"\r\nDELETE /sessions?instance=a-b&x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((target.method, target.path), ("DELETE", "/sessions"));
        assert_eq!(target.parameter("instance"), Some("a-b"));
        assert_eq!(target.parameter("x"), Some("1"));
        assert_eq!(target.parameter("inst"), None);
        assert_eq!(Target::of(b"\xff\xfe").path, "");
    }
}
