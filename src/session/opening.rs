//! The first bytes of a connection: whom a proxy in front speaks for, and whether they are TLS.
//!
//! Plain and TLS share the port, as they do in Nova: the first byte tells
//! (websockify `websockifyserver.py`, `do_handshake`). How long the first bytes may take is the request
//! phase's business.

use std::net::SocketAddr;

use super::{Context, LOG_TARGET};
use crate::proto::bytes::Chunk;
use crate::proto::proxy_header;
use crate::proto::tls::TlsLayer;

/// First byte of a TLS record that starts a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// First byte of the hello of SSL 2.0, which ancient clients sent to announce newer versions.
const SSL2_HELLO: u8 = 0x80;

/// A connection of which nothing is known yet.
#[derive(Debug)]
pub(super) struct Opening {
    /// A PROXY header that has not arrived whole
    held: Chunk,
    expects_header: bool,
    peer: SocketAddr,
}

/// What the first bytes came to.
#[derive(Debug)]
pub(super) enum Opened {
    /// More of them are needed
    NotYet,
    /// A proxy has said whom it speaks for, and nothing else yet
    Announced,
    /// A plain connection that starts with these bytes
    Plain(Chunk),
    /// A TLS connection that starts with these bytes
    Tls(Box<TlsLayer>, Chunk),
    /// Nobody to talk to; the log says why
    Refused,
}

impl Opening {
    /// A connection from `peer`. Only proxies that the operator trusts are expected to send a PROXY header,
    /// and they have to: a header that is optional can be forged.
    pub(super) fn new(cx: &Context) -> Self {
        let settings = cx.settings;
        let expects_header = settings.proxy_protocol && settings.trusts(cx.peer.ip());
        Self { held: Chunk::default(), expects_header, peer: cx.peer }
    }

    /// The tenant's address, as far as it is known.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether a handshake may begin with these bytes; what stands behind a proxy's header is not looked at.
    pub(super) fn may_be_tls(&self, bytes: &[u8]) -> bool {
        self.expects_header || matches!(bytes.first(), Some(&(TLS_HANDSHAKE | SSL2_HELLO)))
    }

    /// Takes bytes, at least one.
    pub(super) fn received(&mut self, cx: &Context, chunk: Chunk) -> Opened {
        let mut chunk = self.joined(chunk);
        if self.expects_header {
            match proxy_header::parse(chunk.bytes()) {
                Ok(None) => {
                    self.held = Chunk::copied_from(chunk.bytes());
                    return Opened::NotYet;
                }
                Ok(Some(header)) => {
                    chunk.advance(header.len);
                    self.expects_header = false;
                    self.peer = header.source.unwrap_or(self.peer);
                    if chunk.is_empty() {
                        return Opened::Announced;
                    }
                }
                Err(error) => {
                    let ip = cx.peer.ip();
                    tracing::warn!(target: LOG_TARGET, "{ip}: {error}; closed");
                    return Opened::Refused;
                }
            }
        }
        match chunk.bytes().first() {
            None => Opened::NotYet,
            Some(&(TLS_HANDSHAKE | SSL2_HELLO)) => self.tls(cx, chunk),
            Some(_) if cx.settings.tls.only => {
                let ip = self.peer.ip();
                tracing::info!(target: LOG_TARGET, "{ip}: non-SSL connection received but disallowed");
                Opened::Refused
            }
            Some(_) => Opened::Plain(chunk),
        }
    }

    fn joined(&mut self, mut chunk: Chunk) -> Chunk {
        if self.held.is_empty() {
            return chunk;
        }
        let mut joined = Chunk::with_capacity(self.held.len() + chunk.len());
        joined.append(self.held.bytes());
        joined.append(chunk.bytes());
        // A request's head may follow the header.
        chunk.wipe();
        self.held = Chunk::default();
        joined
    }

    fn tls(&self, cx: &Context, chunk: Chunk) -> Opened {
        if let Some(layer) = cx.settings.tls.acceptor.accept() {
            return Opened::Tls(Box::new(layer), chunk);
        }
        let (ip, cert) = (self.peer.ip(), cx.settings.tls.cert.display());
        let lacks = if cx.settings.tls.acceptor.is_unusable() { "cannot be used" } else { "not found" };
        tracing::info!(target: LOG_TARGET, "{ip}: SSL connection but '{cert}' {lacks}");
        Opened::Refused
    }
}
