//! Where a request carries its console token.
//!
//! The order is Nova's (`nova/console/websocketproxy.py`, `new_websocket_client`): the query, then the
//! cookie. One place lies between them which Nova lacks: see [`find`].

use super::cookie;
use super::query;
use super::request::Request;
use crate::console::ConsoleToken;

/// What [`find`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The token, unless there is none or an empty one.
    pub token: Option<ConsoleToken>,
    /// A part of the cookie could not be read. Nova logs a warning, without the cookie.
    pub malformed_cookie: bool,
}

/// The console token of `request`, the first of:
///
/// 1. the query parameter `token`, the last one when there are several;
/// 2. the parameter `token` in the query inside the query parameter `path`: the access URL that Nova
///    hands out for noVNC, `?path=%3Ftoken%3D…`, used as it is by a client that is not noVNC;
/// 3. the cookie `token`, the last one when there are several. noVNC before 1.1 and every SPICE page
///    send nothing else.
#[must_use]
pub fn find(request: &Request) -> Found {
    if let Some(token) = request.raw_query().and_then(from_query) {
        return Found { token: Some(token), malformed_cookie: false };
    }
    let mut jar = cookie::Jar::default();
    for header in request.header_values("Cookie") {
        jar.load_header(header);
    }
    Found { token: jar.token.map(|value| ConsoleToken::new(value.expose())), malformed_cookie: jar.malformed }
}

fn from_query(query: &[u8]) -> Option<ConsoleToken> {
    let token = query::last_value(query, "token").or_else(|| {
        let path = query::last_value(query, "path")?;
        let mark = path.expose().iter().position(|&byte| byte == b'?')?;
        query::last_value(&path.expose()[mark + 1..], "token")
    })?;
    Some(ConsoleToken::new(token.expose()))
}
