//! Who may see a console: the token, what it is for, and the page that presents it.
//!
//! The 101 is on its way already, as Nova does it: a refusal is a Close frame, never an HTTP status.

use std::time::Instant;

use super::closing;
use super::connecting::Connecting;
use super::control::{AuthorizeError, Question};
use super::error::{CloseReason, Failure, Refusal};
use super::limits::duration;
use super::line::{self, numbered};
use super::link::Link;
use super::phase::Phase;
use super::tenant::{Tenant, Upgraded};
use super::{Context, Input, LOG_TARGET, Outbox, Output, Side};
use crate::console::{ConnectInfo, ConsoleToken};
use crate::proto::bytes::Chunk;
use crate::proto::http::{self, origin};

/// An upgraded connection whose token is being looked up.
#[derive(Debug)]
pub(super) struct Authorizing {
    upgraded: Upgraded,
    request: http::Request,
    since: Instant,
    deadline: Instant,
}

impl Authorizing {
    pub(super) fn start(
        cx: &Context,
        tenant: Tenant,
        request: http::Request,
        residue: Chunk,
        out: &mut Outbox,
    ) -> Phase {
        line::upgraded(cx, &request);
        out.counters().sessions_opened.add_alone(1);
        // A request without a token is looked up all the same, as Nova does: it must not look different.
        let found = http::token::find(&request);
        if found.malformed_cookie {
            // Nova's line; what the cookie holds is nobody's business.
            tracing::warn!(target: LOG_TARGET, "Found malformed cookie");
        }
        let token = found.token.unwrap_or_else(|| ConsoleToken::new(""));
        let question = Question::Authorize { hash: token.hash(), session: cx.number, tenant: cx.peer.ip() };
        out.push(Output::Ask(question));
        let mut upgraded = Upgraded::new(tenant);
        let deadline = cx.now + duration(cx.settings.limits.authorize_timeout_ms);
        // A frame that came with the request: clients do not wait for the 101 when a proxy merges segments.
        let stream_end = if residue.is_empty() { None } else { upgraded.received(residue, out) };
        if let Some(stream_end) = stream_end {
            return closing::close_stream(cx, upgraded.tenant, None, stream_end, out);
        }
        upgraded.read(out);
        Phase::Authorizing(Box::new(Self { upgraded, request, since: cx.now, deadline }))
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn step(mut self, cx: &Context, input: Input, out: &mut Outbox) -> Phase {
        match input {
            Input::Authorized(info) => match self.admit(cx, &info) {
                Ok(()) => {
                    self.upgraded.tenant.admitted(cx, out);
                    numbered!(info, cx, "connect info: {}", described(&info));
                    Connecting::start(cx, self.upgraded, info, out)
                }
                Err(refusal) => self.refuse(cx, refusal, out),
            },
            Input::Failed(Failure::Authorize(error)) => self.refuse(cx, Refusal::Authorize(error), out),
            Input::Failed(Failure::Overloaded(error)) => self.refuse(cx, Refusal::Overloaded(error), out),
            Input::Deadline => {
                let error = AuthorizeError::PortCheck("timed out waiting for the control thread".to_owned());
                self.refuse(cx, Refusal::Authorize(error), out)
            }
            input => match waiting(&mut self.upgraded, input, out) {
                None => Phase::Authorizing(Box::new(self)),
                Some(end) => end.close(cx, self.upgraded, None, out),
            },
        }
    }

    /// The checks of Nova's `_get_connect_info` that need nothing but the row and the request.
    fn admit(&self, cx: &Context, info: &ConnectInfo) -> Result<(), Refusal> {
        let settings = cx.settings;
        let policy = settings.origin_policy(cx.peer.ip());
        origin::check(&self.request, info.access_url_base.as_deref(), &policy).map_err(Refusal::Origin)?;
        if info.console_type != settings.console_type && !settings.any_console_type {
            return Err(Refusal::ConsoleType { got: info.console_type, expected: settings.console_type });
        }
        Ok(())
    }

    fn refuse(self, cx: &Context, refusal: Refusal, out: &mut Outbox) -> Phase {
        closing::close(cx, self.upgraded.tenant, None, CloseReason::Refused(refusal), out)
    }
}

/// How a tenant ended while its console was not there yet.
pub(super) enum EarlyEnd {
    Stream(super::tenant::StreamEnd),
    Reason(CloseReason),
}

impl EarlyEnd {
    /// Ends the session; `compute` is the compute node's link if it is connected already.
    pub(super) fn close(
        self,
        cx: &Context,
        upgraded: Upgraded,
        compute: Option<Link>,
        out: &mut Outbox,
    ) -> Phase {
        match self {
            Self::Stream(stream_end) => closing::close_stream(cx, upgraded.tenant, compute, stream_end, out),
            Self::Reason(reason) => closing::close(cx, upgraded.tenant, compute, reason, out),
        }
    }
}

/// What the tenant may do in every phase before its console is there: send early bytes, pings, or leave.
pub(super) fn waiting(upgraded: &mut Upgraded, input: Input, out: &mut Outbox) -> Option<EarlyEnd> {
    match input {
        Input::Received { from: Side::Tenant, chunk } => {
            upgraded.tenant.link.read_done();
            upgraded.received(chunk, out).map(EarlyEnd::Stream)
        }
        Input::Written { to: Side::Tenant } => {
            upgraded.tenant.written(out);
            None
        }
        Input::Ended { from: Side::Tenant } => {
            upgraded.tenant.link.set_ended();
            Some(EarlyEnd::Reason(CloseReason::TenantEnded))
        }
        Input::Failed(
            Failure::Read { from: Side::Tenant, source } | Failure::Write { to: Side::Tenant, source },
        ) => Some(EarlyEnd::Reason(CloseReason::TenantFailed(source))),
        Input::Kill(reason) => Some(EarlyEnd::Reason(reason)),
        _ => None,
    }
}

/// The row as Nova logs it (`oslo_versionedobjects`, `obj_to_primitive` by `repr`), less what is secret: the access path
/// can hold a XenServer session id.
fn described(info: &ConnectInfo) -> String {
    let quoted = |text: Option<&str>| match text {
        Some(text) => format!("'{}'", text.escape_debug()),
        None => "None".to_owned(),
    };
    format!(
        "ConsoleAuthToken(access_url_base={},console_type='{}',host={},instance_uuid={},internal_access_path={},port={},token='***')",
        quoted(info.access_url_base.as_deref()),
        info.console_type,
        quoted(Some(&info.host)),
        info.instance_uuid.escape_debug(),
        quoted(info.internal_access_path.as_ref().map(|_| "***")),
        info.port.map_or(-1, i32::from),
    )
}
