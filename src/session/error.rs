//! Why sessions end.

use std::fmt;
use std::io;

use thiserror::Error;

use super::control::{AuthorizeError, Crowd, Overloaded};
use crate::console::ConsoleType;
use crate::proto::Side;
use crate::proto::http::connect::ConnectError;
use crate::proto::http::origin::OriginError;
use crate::proto::rfb::RfbError;
use crate::proto::tls::CLOSED_AFTER_TLS;
use crate::proto::ws::{FrameError, StatusCode};
use crate::telemetry::labels::{ComputeTlsFailure, End, Label, Rejection, RfbFailure};

/// Something the engine or the control thread could not do.
#[derive(Debug, Error)]
pub enum Failure {
    /// The token was not accepted.
    #[error(transparent)]
    Authorize(AuthorizeError),
    /// The compute node's name could not be resolved.
    #[error("the compute node's name could not be resolved: {0}")]
    Resolve(String),
    /// The control thread has too much to do.
    #[error(transparent)]
    Overloaded(Overloaded),
    /// A TCP connection was not made.
    #[error("{0}")]
    Connect(io::Error),
    /// Reading failed: a reset, usually.
    #[error("reading from the {from} failed: {source}")]
    Read {
        /// Whose socket
        from: Side,
        /// What the kernel said
        source: io::Error,
    },
    /// Writing failed: a reset, usually.
    #[error("writing to the {to} failed: {source}")]
    Write {
        /// Whose socket
        to: Side,
        /// What the kernel said
        source: io::Error,
    },
}

/// Why a session was refused before anything of the console was shown. The tenant learns nothing of it
/// unless `explain_refusals` is set, and then only [`Refusal::status_code`].
#[derive(Debug, Error)]
pub enum Refusal {
    /// The token was not accepted.
    #[error(transparent)]
    Authorize(AuthorizeError),
    /// The token is for a console that another program serves.
    #[error("the token is for a {got} console, this program serves {expected}")]
    ConsoleType {
        /// The token's type
        got: ConsoleType,
        /// The program's type
        expected: ConsoleType,
    },
    /// The page that opened the connection may not.
    #[error(transparent)]
    Origin(OriginError),
    /// The token has no port that this program may speak to.
    #[error("{}", no_port(*under_tls))]
    NoPort {
        /// Whether it speaks TLS to compute nodes
        under_tls: bool,
    },
    /// The compute node's name could not be resolved.
    #[error("the compute node's name could not be resolved: {0}")]
    Resolve(String),
    /// No address of the compute node took the connection.
    #[error("{}", errno(.0))]
    Unreachable(io::Error),
    /// The compute node's connection did not come under TLS (`serial_tls`, `spice_tls`).
    #[error(transparent)]
    ComputeTls(ComputeTlsError),
    /// The CONNECT preamble of `internal_access_path` failed.
    /// Begins with Nova's text (`nova/exception.py`, `InvalidConnectionInfo`).
    #[error("Invalid Connection Info: {0}")]
    Tunnel(ConnectError),
    /// The control thread has too much to do.
    #[error(transparent)]
    Overloaded(Overloaded),
}

/// Why a compute node's connection did not come under TLS, or ended there at once. The names are those that
/// `VeNCrypt`'s failures have.
#[derive(Debug, Error)]
pub enum ComputeTlsError {
    /// The handshake failed, or could not begin.
    #[error("TLS with compute failed: {0}")]
    Failed(String),
    /// The compute node closed in the middle of the handshake.
    #[error("compute closed the connection in the TLS handshake")]
    Closed,
    /// The handshake took too long.
    #[error("compute let the time run out with the TLS handshake still due")]
    TimedOut,
    /// The compute node closed behind the handshake, before it said anything.
    #[error("{CLOSED_AFTER_TLS}")]
    ClosedAfterTls,
}

impl ComputeTlsError {
    /// What metrics count it as.
    pub(super) fn failure(&self) -> ComputeTlsFailure {
        match self {
            Self::Failed(_) => ComputeTlsFailure::Tls,
            Self::Closed => ComputeTlsFailure::ClosedEarly,
            Self::TimedOut => ComputeTlsFailure::TimeOut,
            Self::ClosedAfterTls => ComputeTlsFailure::ClosedAfterTls,
        }
    }
}

fn no_port(under_tls: bool) -> &'static str {
    if under_tls {
        "the console has no port: its token has port -1 and no tls_port"
    } else {
        "the console listens for TLS alone: its token has port -1, and [consolegate] spice_tls is off"
    }
}

/// As `str` of Python's OSError, which Nova logs: `[Errno 111] Connection refused`.
fn errno(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => format!("[Errno {number}] {}", text.split(" (os error").next().unwrap_or_default()),
        None => text,
    }
}

impl Refusal {
    /// The Close code that `explain_refusals` shows.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        match self {
            Self::Overloaded(_) | Self::Authorize(AuthorizeError::TooMany(_)) => StatusCode::TRY_AGAIN_LATER,
            _ => StatusCode::POLICY_VIOLATION,
        }
    }

    /// What metrics count it as.
    pub(super) fn rejection(&self) -> Rejection {
        match self {
            Self::Authorize(AuthorizeError::TokenInvalid) => Rejection::Token,
            Self::Authorize(AuthorizeError::InstanceWithoutHost { .. }) => Rejection::InstanceWithoutHost,
            Self::Authorize(AuthorizeError::PortCheck(_)) => Rejection::PortCheck,
            Self::Authorize(AuthorizeError::Database(_)) => Rejection::Database,
            Self::Authorize(AuthorizeError::TooMany(crowd)) => match crowd {
                Crowd::Process => Rejection::Consoles,
                Crowd::Source => Rejection::ConsolesOfSource,
                Crowd::Instance => Rejection::ConsolesOfInstance,
            },
            Self::ConsoleType { .. } => Rejection::ConsoleType,
            Self::Origin(_) => Rejection::Origin,
            Self::NoPort { .. } => Rejection::NoPort,
            Self::Resolve(_) => Rejection::Resolve,
            Self::Unreachable(_) => Rejection::Unreachable,
            Self::ComputeTls(_) => Rejection::ComputeTls,
            Self::Tunnel(_) => Rejection::Tunnel,
            Self::Overloaded(_) => Rejection::Overloaded,
        }
    }
}

/// What metrics count a failed negotiation as.
pub(super) fn rfb_failure(error: &RfbError) -> Option<RfbFailure> {
    Some(match error {
        RfbError::NotRfb { .. } => RfbFailure::NotRfb,
        RfbError::UnsupportedVersion { .. } => RfbFailure::Version,
        RfbError::Refused { .. } => RfbFailure::Refused,
        RfbError::NoCommonType { .. } => RfbFailure::NoCommonType,
        RfbError::TypeNotOffered { .. } => RfbFailure::TypeNotOffered,
        RfbError::VeNCryptVersion { .. } | RfbError::VeNCryptVersionRefused { .. } => RfbFailure::VenVersion,
        RfbError::NoCommonSubtype { .. } | RfbError::SubtypeRefused { .. } => RfbFailure::VenSubtype,
        RfbError::Tls { .. } => RfbFailure::Tls,
        RfbError::ClosedAfterTls => RfbFailure::ClosedAfterTls,
        RfbError::AuthFailed { .. } => RfbFailure::AuthFailed,
        RfbError::Closed { .. } => RfbFailure::ClosedEarly,
        RfbError::TimedOut { .. } => RfbFailure::TimeOut,
        RfbError::TooEarly { .. } => RfbFailure::TooEarly,
        // The failure was counted when it was one.
        RfbError::Over => return None,
    })
}

/// Why a session ended: the only union of the layers' errors. Says which side it was.
#[derive(Debug)]
pub enum CloseReason {
    /// The connection carried web requests only, or nothing at all.
    Http(HttpEnd),
    /// Refused before the console was shown.
    Refused(Refusal),
    /// The RFB negotiation failed.
    Rfb(RfbError),
    /// The compute node ended the console.
    ComputeEnded,
    /// The connection to the compute node broke.
    ComputeFailed(io::Error),
    /// The tenant sent a Close frame.
    TenantClosed(Option<StatusCode>),
    /// The tenant ended the connection without a Close frame.
    TenantEnded,
    /// The connection to the tenant broke.
    TenantFailed(io::Error),
    /// The tenant broke the WebSocket protocol.
    Violation(FrameError),
    /// A step took too long.
    TimedOut(&'static str),
    /// The token expired, and `enforce_session_timeout` is set.
    TokenExpired,
    /// Neither side sent anything for `idle_timeout_ms`.
    Idle,
    /// The session lasted for `session_timeout_ms`.
    TooLong,
    /// Pings stayed unanswered, and `ping_strict` is set.
    Unanswered,
    /// A side took nothing for `stall_timeout_ms`.
    Stalled(Side),
    /// An operator ended the session.
    Killed,
    /// This process ends.
    ShuttingDown,
}

/// How a connection without an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpEnd {
    /// Nothing was asked: a probe, or an idle connection that was kept alive long enough.
    Idle,
    /// The last answer said that the connection closes.
    Answered,
    /// A request was broken off, or its answer was.
    Broken,
}

impl CloseReason {
    /// A short name from a closed set, for metrics and tests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.end().as_str()
    }

    /// What metrics count it as.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Http(_) => End::Http,
            Self::Refused(_) => End::Refused,
            Self::Rfb(_) => End::Rfb,
            Self::ComputeEnded => End::ComputeEnded,
            Self::ComputeFailed(_) => End::ComputeFailed,
            Self::TenantClosed(_) => End::TenantClosed,
            Self::TenantEnded => End::TenantEnded,
            Self::TenantFailed(_) => End::TenantFailed,
            Self::Violation(_) => End::Violation,
            Self::TimedOut(_) => End::TimedOut,
            Self::TokenExpired => End::TokenExpired,
            Self::Idle => End::Idle,
            Self::TooLong => End::TooLong,
            Self::Unanswered => End::Unanswered,
            Self::Stalled(_) => End::Stalled,
            Self::Killed => End::Killed,
            Self::ShuttingDown => End::ShuttingDown,
        }
    }

    /// The reason for a failure on an established connection, from whichever side it came.
    pub(super) fn of_side(side: Side, source: io::Error) -> Self {
        match side {
            Side::Tenant => Self::TenantFailed(source),
            Side::Compute => Self::ComputeFailed(source),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(HttpEnd::Idle) => f.write_str("nothing was asked"),
            Self::Http(HttpEnd::Answered) => f.write_str("answered"),
            Self::Http(HttpEnd::Broken) => f.write_str("a request was broken off"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Rfb(error) => write!(f, "Failed to negotiate security type with server: {error}"),
            Self::ComputeEnded => f.write_str("Target closed"),
            Self::ComputeFailed(error) => write!(f, "the connection to the compute node broke: {error}"),
            Self::TenantClosed(Some(code)) => write!(f, "the tenant closed with {}", code.as_u16()),
            Self::TenantClosed(None) => f.write_str("the tenant closed"),
            Self::TenantEnded => f.write_str("the tenant ended the connection without a Close frame"),
            Self::TenantFailed(error) => write!(f, "the connection to the tenant broke: {error}"),
            Self::Violation(error) => error.fmt(f),
            Self::TimedOut(phase) => write!(f, "timed out while {phase}"),
            Self::TokenExpired => f.write_str("the token expired"),
            Self::Idle => f.write_str("nothing was sent for too long"),
            Self::TooLong => f.write_str("the session lasted too long"),
            Self::Unanswered => f.write_str("the tenant did not answer our pings"),
            Self::Stalled(Side::Tenant) => f.write_str("the tenant took nothing for too long"),
            Self::Stalled(Side::Compute) => f.write_str("the compute node took nothing for too long"),
            Self::Killed => f.write_str("an operator ended the session"),
            Self::ShuttingDown => f.write_str("shutting down"),
        }
    }
}
