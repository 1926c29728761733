//! The values that metrics' labels take: closed sets, so that no peer can add a series.

use crate::console::ConsoleType;

/// A label whose values are known at compile time.
pub trait Label: Copy + 'static {
    /// The label's name
    const NAME: &'static str;
    /// Every value
    const ALL: &'static [Self];

    /// The value as it stands in the exposition.
    fn as_str(self) -> &'static str;

    /// The value's place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $type:ident = $name:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)+
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

impl Label for ConsoleType {
    const NAME: &'static str = "console_type";
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

label! {
    /// How a connection ended: the names of `session::CloseReason`.
    End = "reason" {
        /// It carried web requests only, or nothing
        Http = "http",
        /// Refused before the console was shown
        Refused = "refused",
        /// The RFB negotiation failed
        Rfb = "rfb",
        /// The compute node ended the console
        ComputeEnded = "compute_ended",
        /// The connection to the compute node broke
        ComputeFailed = "compute_failed",
        /// The tenant sent a Close frame
        TenantClosed = "tenant_closed",
        /// The tenant's connection ended without a Close frame
        TenantEnded = "tenant_ended",
        /// The tenant's connection broke
        TenantFailed = "tenant_failed",
        /// The tenant broke the WebSocket protocol
        Violation = "violation",
        /// A step took too long
        TimedOut = "timed_out",
        /// The token expired and `enforce_session_timeout` is set
        TokenExpired = "token_expired",
        /// Nothing was sent for `idle_timeout_ms`
        Idle = "idle",
        /// It lasted for `session_timeout_ms`
        TooLong = "too_long",
        /// Pings stayed unanswered and `ping_strict` is set
        Unanswered = "unanswered",
        /// A side took nothing for `stall_timeout_ms`
        Stalled = "stalled",
        /// An operator ended it
        Killed = "killed",
        /// The process ended
        ShuttingDown = "shutting_down",
    }
}

label! {
    /// Why a session was refused.
    Rejection = "reason" {
        /// Unknown, expired, or its instance is gone, or its port another's by now
        Token = "token",
        /// The instance is on no host
        InstanceWithoutHost = "instance_without_host",
        /// The port check could not be made
        PortCheck = "port_check",
        /// The database could not answer
        Database = "database",
        /// The token is for another program's console
        ConsoleType = "console_type",
        /// The page may not open consoles
        Origin = "origin",
        /// The token has no port that this program may speak to
        NoPort = "no_port",
        /// The compute node's name has no address
        Resolve = "resolve",
        /// The compute node took no connection
        Unreachable = "unreachable",
        /// The compute node's connection did not come under TLS
        ComputeTls = "compute_tls",
        /// The CONNECT preamble failed
        Tunnel = "tunnel",
        /// Too many questions wait for the control thread
        Overloaded = "overloaded",
        /// `consoles_max` are open
        Consoles = "consoles",
        /// `consoles_per_source_max` are open
        ConsolesOfSource = "consoles_of_source",
        /// `consoles_per_instance_max` are open
        ConsolesOfInstance = "consoles_of_instance",
    }
}

label! {
    /// Why the RFB negotiation failed: the names of `proto::rfb::RfbError::kind`.
    RfbFailure = "kind" {
        /// A side does not speak RFB
        NotRfb = "not-rfb",
        /// A version that is not spoken
        Version = "version",
        /// The compute node refused
        Refused = "refused",
        /// No security type that both speak
        NoCommonType = "no-common-type",
        /// The tenant chose what it was not offered
        TypeNotOffered = "type-not-offered",
        /// No version of `VeNCrypt` that both speak
        VenVersion = "ven-version",
        /// No sub-type of `VeNCrypt` that both speak
        VenSubtype = "ven-subtype",
        /// TLS with the compute node failed, or its certificate is not to be trusted
        Tls = "tls",
        /// The compute node closed right behind the TLS handshake: our certificate will not do
        ClosedAfterTls = "closed-after-tls",
        /// The compute node's result was not 0
        AuthFailed = "auth-failed",
        /// A side closed in the middle
        ClosedEarly = "closed-early",
        /// A step took too long
        TimeOut = "time-out",
        /// A side sent too much ahead of its turn
        TooEarly = "too-early",
    }
}

label! {
    /// Why TLS from the first byte on failed: the names that `RfbFailure` has for the same.
    ComputeTlsFailure = "kind" {
        /// It failed, or the compute node's certificate is not to be trusted
        Tls = "tls",
        /// The compute node closed in the handshake
        ClosedEarly = "closed-early",
        /// The handshake took too long
        TimeOut = "time-out",
        /// The compute node closed right behind the handshake: our certificate will not do
        ClosedAfterTls = "closed-after-tls",
    }
}

label! {
    /// A phase between the upgrade and the relay.
    HandshakePhase = "phase" {
        /// Token lookup and port check
        Authorizing = "authorizing",
        /// Name resolution and TCP connect
        Connecting = "connecting",
        /// TLS from the first byte on
        Encrypting = "encrypting",
        /// CONNECT to `internal_access_path`
        Tunnelling = "tunnelling",
        /// RFB security negotiation
        Securing = "securing",
    }
}

label! {
    /// What came of something that either works or does not.
    Outcome = "result" {
        /// It worked
        Ok = "ok",
        /// It did not
        Failed = "failed",
    }
}

label! {
    /// What came of a question about a token or a port.
    Verdict = "result" {
        /// Yes
        Accepted = "accepted",
        /// No
        Refused = "refused",
        /// Nobody could tell
        Failed = "failed",
    }
}

label! {
    /// Why a worker left connections waiting in the listen queue for a while.
    AcceptPause = "reason" {
        /// accept(2) failed, for want of descriptors or memory
        Failed = "failed",
        /// They came faster than `accepts_per_second_max`
        Pace = "pace",
    }
}

label! {
    /// What went wrong with a recording.
    RecorderError = "reason" {
        /// The file could not be made
        Open = "open",
        /// A write failed
        Write = "write",
        /// The recorder was too slow, and a frame was left out
        Overrun = "overrun",
    }
}
