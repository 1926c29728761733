//! Reading a request head, and what it leads to: a web file, an upgrade, or a refusal.

use std::time::Instant;

use super::admission::Authorizing;
use super::closing;
use super::error::HttpEnd;
use super::limits::{duration, size};
use super::line;
use super::link::Link;
use super::phase::Phase;
use super::responding::Responding;
use super::tenant::Tenant;
use super::{Context, Failure, Input, Outbox, Side};
use crate::proto::bytes::Chunk;
use crate::proto::http::{self, HeadParser, Method, Upgrade, response, upgrade};

/// A connection that waits for a request head, its first or a further one.
#[derive(Debug)]
pub(super) struct Request {
    tenant: Link,
    parser: HeadParser,
    head: Head,
    deadline: Instant,
}

/// The bytes of a head, which hold its token and cookies. Memory that they were in is wiped before it serves others.
#[derive(Debug, Default)]
struct Head(Chunk);

impl Head {
    /// What follows a head of `len` bytes.
    fn rest(mut self, len: usize) -> Chunk {
        self.0.advance(len);
        self.0.wipe_front();
        std::mem::take(&mut self.0)
    }

    /// Gives the buffer back.
    fn recycle(mut self, out: &mut Outbox) {
        self.0.wipe();
        out.recycle(std::mem::take(&mut self.0));
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl Request {
    /// A connection that was just accepted.
    pub(super) fn start(cx: &Context, out: &mut Outbox) -> Phase {
        let mut tenant = Link::new(Side::Tenant);
        tenant.read(out);
        let deadline = cx.now + duration(cx.settings.limits.first_byte_timeout_ms);
        Phase::Request(Box::new(Self { tenant, parser: HeadParser::new(), head: Head::default(), deadline }))
    }

    /// A kept-alive connection: its next head may have arrived with the last one.
    pub(super) fn next(cx: &Context, tenant: Link, residue: Chunk, out: &mut Outbox) -> Phase {
        let limits = &cx.settings.limits;
        let timeout_ms =
            if residue.is_empty() { limits.keep_alive_timeout_ms } else { limits.head_timeout_ms };
        let deadline = cx.now + duration(timeout_ms);
        let request = Self { tenant, parser: HeadParser::new(), head: Head(residue), deadline };
        request.parse(cx, out)
    }

    /// Gives the first byte its whole time from now on.
    pub(super) fn await_first_byte(&mut self, cx: &Context) {
        self.deadline = cx.now + duration(cx.settings.limits.first_byte_timeout_ms);
    }

    /// Gives the head its whole time from now on.
    pub(super) fn await_head(&mut self, cx: &Context) {
        self.deadline = cx.now + duration(cx.settings.limits.head_timeout_ms);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Received { from: Side::Tenant, chunk } => {
                self.tenant.read_done();
                let chunk = Head(chunk);
                if self.head.0.is_empty() {
                    self.deadline = cx.now + duration(cx.settings.limits.head_timeout_ms);
                    self.head = chunk;
                } else {
                    self.append(&chunk.0, size(cx.settings.limits.head_bytes));
                    chunk.recycle(out);
                }
                self.parse(cx, out)
            }
            Input::Ended { .. } => {
                self.tenant.set_ended();
                self.give_up(cx, out)
            }
            Input::Failed(Failure::Read { .. } | Failure::Write { .. }) => {
                self.tenant.set_broken();
                self.give_up(cx, out)
            }
            Input::Deadline | Input::Kill(_) => self.give_up(cx, out),
            _ => Phase::Request(Box::new(self)),
        }
    }

    /// Grows the head. What is beyond the limit and one read fails to parse, so it need not be kept whole.
    fn append(&mut self, chunk: &Chunk, head_bytes_max: usize) {
        if self.head.0.spare_mut().len() < chunk.len() {
            let len = self.head.0.len() + chunk.len();
            let mut larger = Chunk::with_capacity(len.saturating_mul(2).min(head_bytes_max).max(len));
            larger.append(self.head.0.bytes());
            self.head = Head(larger);
        }
        self.head.0.append(chunk.bytes());
    }

    fn parse(mut self, cx: &Context, out: &mut Outbox) -> Phase {
        match self.parser.parse(self.head.0.bytes(), &cx.settings.limits.head()) {
            Ok(None) => {
                // A slow sender must not hold a whole read buffer for its few bytes. A head that grows has
                // at most twice its length, so this copies once.
                if self.head.0.capacity() > self.head.0.len().saturating_mul(2) {
                    let head = Head(Chunk::copied_from(self.head.0.bytes()));
                    std::mem::replace(&mut self.head, head).recycle(out);
                }
                self.tenant.read(out);
                Phase::Request(Box::new(self))
            }
            Ok(Some((request, head_len))) => self.answer(cx, request, head_len, out),
            Err(error) => {
                tracing::debug!(target: super::LOG_TARGET, " {:2}: request refused: {error}", cx.number);
                line::answered(cx, None, error.status());
                let page = response::error_page(error.status(), &[], false, cx.unix_s);
                refuse(cx, self.tenant, &page, out)
            }
        }
    }

    fn answer(self, cx: &Context, request: http::Request, head_len: usize, out: &mut Outbox) -> Phase {
        let Self { mut tenant, head, .. } = self;
        let residue = head.rest(head_len);
        // An empty buffer would be held for as long as the answer and the pause behind it take.
        let residue = if residue.is_empty() {
            out.recycle(residue);
            Chunk::default()
        } else {
            residue
        };
        match upgrade::decide(&request, &cx.settings.upgrade) {
            Upgrade::Accept(accept) => {
                if accept.connection_missing {
                    tracing::info!(
                        target: super::LOG_TARGET,
                        " {:2}: upgrade without Connection: Upgrade; a proxy in front drops that header",
                        cx.number
                    );
                }
                tenant.write(Chunk::copied_from(&accept.response(cx.unix_s)), out);
                let tenant = Tenant::new(tenant, cx.settings.text).recorded(cx);
                Authorizing::start(cx, tenant, request, residue, out)
            }
            Upgrade::Reject(reject) => {
                line::answered(cx, Some(&request), reject.status());
                refuse(cx, tenant, &reject.response(cx.unix_s), out)
            }
            Upgrade::Static if !cx.settings.web => {
                let head_only = request.method() == Method::Head;
                //= https://www.rfc-editor.org/rfc/rfc9110#section-10.2.1
                //# An empty Allow field value indicates that the resource allows no
                //# methods, which might occur in a 405 response if the resource has been
                //# temporarily disabled by configuration.
                let allow = [("Allow", "")];
                let status = http::Status::METHOD_NOT_ALLOWED;
                line::answered(cx, Some(&request), status);
                let page = response::error_page(status, &allow, head_only, cx.unix_s);
                refuse(cx, tenant, &page, out)
            }
            Upgrade::Static => Responding::start(cx, tenant, request, residue, out),
        }
    }

    fn give_up(self, cx: &Context, out: &mut Outbox) -> Phase {
        let end = if self.head.0.is_empty() { HttpEnd::Idle } else { HttpEnd::Broken };
        closing::close_http(cx, self.tenant, end, out)
    }
}

/// Sends a last answer and closes. Input behind a refused request is never taken for another one: a frame
/// can be made to look like a request (RFC 6455 section 10.3).
pub(super) fn refuse(cx: &Context, mut tenant: Link, page: &[u8], out: &mut Outbox) -> Phase {
    tenant.write(Chunk::copied_from(page), out);
    closing::close_http(cx, tenant, HttpEnd::Answered, out)
}
