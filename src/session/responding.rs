//! Sending a file of the web root.

use std::time::Instant;

use super::closing;
use super::control::{FileEvent, FileHandle, Question};
use super::error::{Failure, HttpEnd};
use super::limits::duration;
use super::line;
use super::link::Link;
use super::phase::Phase;
use super::request::{self, Request};
use super::{Context, Input, Outbox, Output, Side};
use crate::proto::bytes::Chunk;
use crate::proto::http::conditional::{self, Evaluation};
use crate::proto::http::{self, FileMeta, Method, Status, WebPath, response};

/// A request for a web file that is being answered.
#[derive(Debug)]
pub(super) struct Responding {
    tenant: Link,
    request: http::Request,
    /// What arrived behind the request
    residue: Chunk,
    sending: Option<Sending>,
    deadline: Instant,
}

/// A file of which some bytes are still to be sent.
#[derive(Debug)]
struct Sending {
    file: FileHandle,
    offset: u64,
    len: u64,
}

impl Responding {
    pub(super) fn start(
        cx: &Context,
        tenant: Link,
        request: http::Request,
        residue: Chunk,
        out: &mut Outbox,
    ) -> Phase {
        match WebPath::parse(request.path()) {
            Ok(path) => {
                out.push(Output::Ask(Question::OpenFile {
                    path,
                    accepts_gzip: http::accepts_gzip(&request),
                    wants_bytes: request.method() == Method::Get,
                }));
                let deadline = cx.now + duration(cx.settings.limits.response_timeout_ms);
                Phase::Responding(Box::new(Self { tenant, request, residue, sending: None, deadline }))
            }
            Err(error) => {
                let head_only = request.method() == Method::Head;
                line::answered(cx, Some(&request), error.status());
                let page = response::error_page(error.status(), &[], head_only, cx.unix_s);
                request::refuse(cx, tenant, &page, out)
            }
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::File(FileEvent::Opened { file, meta, first }) => self.opened(cx, file, &meta, first, out),
            Input::File(FileEvent::Piece(chunk)) => self.piece(cx, chunk, out),
            Input::File(FileEvent::Directory) => {
                line::answered(cx, Some(&self.request), Status::MOVED_PERMANENTLY);
                let head = http::redirect_to_directory(&self.request, cx.unix_s);
                self.tenant.write(Chunk::copied_from(&head), out);
                Phase::Responding(Box::new(self))
            }
            Input::File(FileEvent::Missing) if self.sending.is_none() => {
                self.refuse(cx, Status::NOT_FOUND, out)
            }
            Input::File(FileEvent::Failed) if self.sending.is_none() => {
                self.refuse(cx, Status::INTERNAL_SERVER_ERROR, out)
            }
            Input::Written { to: Side::Tenant } => {
                self.tenant.written(out);
                if self.tenant.is_flushed() {
                    self.proceed(cx, out)
                } else {
                    Phase::Responding(Box::new(self))
                }
            }
            Input::Failed(Failure::Overloaded(_)) if self.sending.is_none() => {
                self.refuse(cx, Status::SERVICE_UNAVAILABLE, out)
            }
            Input::Failed(Failure::Read { .. } | Failure::Write { .. }) => {
                self.tenant.set_broken();
                closing::close_http(cx, self.tenant, HttpEnd::Broken, out)
            }
            // A half-sent file cannot be mended: the connection's end tells the browser.
            Input::Failed(_)
            | Input::Ended { .. }
            | Input::Deadline
            | Input::Kill(_)
            | Input::File(FileEvent::Failed | FileEvent::Missing) => {
                closing::close_http(cx, self.tenant, HttpEnd::Broken, out)
            }
            _ => Phase::Responding(Box::new(self)),
        }
    }

    fn opened(
        mut self,
        cx: &Context,
        file: FileHandle,
        meta: &FileMeta,
        first: Chunk,
        out: &mut Outbox,
    ) -> Phase {
        let evaluation = conditional::evaluate(&self.request, meta);
        let status = match evaluation {
            Evaluation::Full => Status::OK,
            Evaluation::NotModified => Status::NOT_MODIFIED,
        };
        line::answered(cx, Some(&self.request), status);
        let head = response::file_head(meta, evaluation, self.request.keep_alive(), &[], cx.unix_s);
        self.tenant.write(Chunk::copied_from(&head), out);
        if evaluation == Evaluation::Full && self.request.method() == Method::Get {
            let offset = first.len() as u64;
            if offset > meta.len {
                return closing::close_http(cx, self.tenant, HttpEnd::Broken, out);
            }
            self.tenant.write(first, out);
            self.sending = (offset < meta.len).then_some(Sending { file, offset, len: meta.len });
        }
        Phase::Responding(Box::new(self))
    }

    fn piece(mut self, cx: &Context, chunk: Chunk, out: &mut Outbox) -> Phase {
        let Some(sending) = &mut self.sending else { return Phase::Responding(Box::new(self)) };
        let offset = sending.offset + chunk.len() as u64;
        // The file changed under us: what was promised by Content-Length cannot be kept.
        if chunk.is_empty() || offset > sending.len {
            return closing::close_http(cx, self.tenant, HttpEnd::Broken, out);
        }
        sending.offset = offset;
        if offset == sending.len {
            self.sending = None;
        }
        self.tenant.write(chunk, out);
        Phase::Responding(Box::new(self))
    }

    /// All that was written has gone: the next piece, or the next request.
    fn proceed(mut self, cx: &Context, out: &mut Outbox) -> Phase {
        self.deadline = cx.now + duration(cx.settings.limits.response_timeout_ms);
        if let Some(Sending { file, offset, .. }) = &self.sending {
            out.push(Output::Ask(Question::ReadFile { file: file.clone(), offset: *offset }));
            return Phase::Responding(Box::new(self));
        }
        if self.request.keep_alive() {
            Request::next(cx, self.tenant, self.residue, out)
        } else {
            closing::close_http(cx, self.tenant, HttpEnd::Answered, out)
        }
    }

    fn refuse(self, cx: &Context, status: Status, out: &mut Outbox) -> Phase {
        let head_only = self.request.method() == Method::Head;
        line::answered(cx, Some(&self.request), status);
        let page = response::error_page(status, &[], head_only, cx.unix_s);
        request::refuse(cx, self.tenant, &page, out)
    }
}
