//! [`Negotiation`]: the handshake with both sides, one step at a time.
//!
//! ```text
//!  step            reads                      sends
//!  ComputeVersion  compute: RFB 003.008\n     compute: RFB 003.008\n   tenant: RFB 003.008\n
//!  SecurityTypes   compute: count, types
//!  RefusalReason   compute: length, text      (only when the count was 0)
//!  TenantVersion   tenant:  RFB 003.008\n     tenant:  01 01           or 00, length, text: refused
//!  TenantChoice    tenant:  01                compute: the type        or 00, and a refusal to the tenant
//!  VeNCryptVersion compute: 00 02             compute: 00 02           (this and the next four: type 19 only)
//!  VersionAnswer   compute: 00
//!  Subtypes        compute: count, sub-types  compute: the sub-type
//!  SubtypeAnswer   compute: 01
//!  Tls             the session's business, which says when it is done
//!  VncChallenge    compute: 16 bytes          compute: 16 bytes        (VNC authentication, X509Vnc)
//!  SecurityResult  compute: 00000000          tenant:  00000000
//!  FailureReason   compute: length, text      tenant:  result, length, text: failed
//! ```
//!
//! Compute nodes older than 3.8 are asked for 3.7 or 3.3 where that is allowed ([`Extras`]). Until 3.7 there is no
//! reason behind a bad result, and with type None no result at all; in 3.3 the compute node sends one type, as four
//! bytes, and is not answered. The tenant sees 3.8 in any case.
//!
//! Each step waits for one side, and what the other side sends meanwhile waits in its inbox. So the
//! outcome depends on what each side sent and not on how the two streams were interleaved, and three
//! rules hold by construction: the tenant hears nothing before the compute node's version was found
//! good; nothing of the tenant's reaches the compute node before the result was 0; the result reaches
//! the tenant only after it chose None.
//!
//! The order is Nova's, but for one step: Nova reads the tenant's version before the compute node's
//! security types. Either side sees the same bytes; reading the types first keeps a long refusal, which
//! a compute node sends without waiting for anybody, out of the inbox.

use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::proto::Side;

use super::error::RfbError;
use super::inbox::Inbox;
use super::message::Transmit;
use super::note::Note;
use super::progress::{Progress, Residue};
use super::security::{AuthScheme, AuthSchemes};
use super::step::Step;
use super::tenant;
use super::vencrypt::Subtype;
use super::version::ProtocolVersion;
use super::vncauth::VncPassword;

mod turns;

use turns::{State, Turn};

/// How many unread bytes of the compute node are kept. The longest message of a handshake is
/// `VeNCrypt`'s list of sub-types, 1 + 255 × 4 bytes; those of security type None end at 260.
pub const COMPUTE_HELD_BYTES_MAX: usize = 1024;

/// How many bytes a tenant may send ahead of its turn. Only `ClientInit` and the first few messages
/// behind it can be early for a good reason.
pub const TENANT_EARLY_BYTES_MAX: usize = 64;

/// How many unread bytes of the tenant are kept: its version, its choice and what came early.
pub const TENANT_HELD_BYTES_MAX: usize = ProtocolVersion::LEN + 1 + TENANT_EARLY_BYTES_MAX;

/// What is spoken with compute nodes beyond what Nova speaks: nothing, by default.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// The password of compute nodes that want one, inside TLS
    pub password: Option<Arc<VncPassword>>,
    /// It may be used in the clear too, where nothing of `auth_schemes` is offered
    pub password_in_clear: bool,
    /// Whether compute nodes may speak RFB 3.3 or 3.7
    pub rfb_33: bool,
}

/// The RFB handshake of one session: client towards the compute node, server towards the tenant.
///
/// When it answers [`Progress::StartTls`], the compute node's connection goes under TLS. From then on the
/// machine takes what comes out of TLS, and says what goes into it, behind a call of
/// [`secured`](Self::secured); a failure is told with [`tls_failed`](Self::tls_failed).
///
/// Feed it with [`receive`](Self::receive) as bytes come, and tell it of an end of stream or a deadline
/// with [`ended`](Self::ended) and [`timed_out`](Self::timed_out). After each call send what was
/// appended to `out`, in order, **also when the call failed**: the refusal that each side is still
/// owed is among it. After a failure or [`Progress::Established`] the handshake is over, and every call
/// returns [`RfbError::Over`].
pub struct Negotiation {
    schemes: AuthSchemes,
    extras: Extras,
    /// What the compute node was asked for
    version: ProtocolVersion,
    compute: Inbox<COMPUTE_HELD_BYTES_MAX>,
    tenant: Inbox<TENANT_HELD_BYTES_MAX>,
    state: State,
    /// The compute node's bytes come out of TLS
    secured: bool,
    notes: Vec<Note>,
}

/// Where reading messages until one is missing has led.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    Wait,
    StartTls,
    Established,
}

impl Negotiation {
    /// Starts with nothing read or sent. `schemes` is `[vnc] auth_schemes` in the operator's order,
    /// which decides when the compute node offers several; a scheme that is not spoken here counts as
    /// not listed.
    #[must_use]
    pub fn new(schemes: &[AuthScheme]) -> Self {
        Self::with_extras(schemes, Extras::default())
    }

    /// The same, with what goes beyond Nova.
    #[must_use]
    pub fn with_extras(schemes: &[AuthScheme], extras: Extras) -> Self {
        let in_clear = extras.password_in_clear && extras.password.is_some();
        Self {
            schemes: AuthSchemes::new(schemes, in_clear),
            extras,
            version: ProtocolVersion::V3_8,
            compute: Inbox::new(),
            tenant: Inbox::new(),
            state: State::ComputeVersion,
            secured: false,
            notes: Vec::new(),
        }
    }

    /// What has happened since the last call, for the log: a handful in all.
    pub fn take_notes(&mut self) -> Vec<Note> {
        mem::take(&mut self.notes)
    }

    /// Takes bytes of one side, in any pieces, and appends what is to be sent to `out`.
    ///
    /// # Errors
    /// The handshake failed. Nothing of it is retried: both sides are to be closed once `out` is sent.
    pub fn receive(
        &mut self,
        from: Side,
        bytes: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Result<Progress, RfbError> {
        if matches!(self.state, State::Over) {
            return Err(RfbError::Over);
        }
        let mut rest = bytes;
        loop {
            let limit = self.held_bytes_max(from);
            let kept = match from {
                Side::Compute => self.compute.push(rest, limit),
                Side::Tenant => self.tenant.push(rest, limit),
            };
            rest = &rest[kept..];
            match self.run(out)? {
                Pause::Wait => {}
                Pause::StartTls if from == Side::Compute => {
                    return Ok(Progress::StartTls(self.start_of_tls(rest)));
                }
                Pause::StartTls => {
                    let kept = self.tenant.push(rest, self.held_bytes_max(from));
                    if kept < rest.len() {
                        return Err(self.too_early(from, out));
                    }
                    return Ok(Progress::StartTls(self.start_of_tls(&[])));
                }
                Pause::Established => return Ok(Progress::Established(self.residue(from, rest))),
            }
            if rest.is_empty() {
                return Ok(Progress::Continue);
            }
            // Full, and still nothing to be read: the bytes are not this step's.
            if self.held_bytes_max(from) <= self.held(from) {
                return Err(self.too_early(from, out));
            }
        }
    }

    /// The TLS handshake with the compute node has succeeded: what comes next was inside TLS.
    pub fn secured(&mut self) {
        if let State::Tls(chosen) = self.state {
            self.notes.push(Note::Secured);
            self.secured = true;
            self.state = match chosen {
                Subtype::X509_VNC => State::VncChallenge,
                _ => State::SecurityResult,
            };
        }
    }

    /// The TLS handshake with the compute node could not begin, or has failed, for this `reason`.
    pub fn tls_failed(&mut self, reason: String, out: &mut Vec<Transmit>) -> RfbError {
        let state = self.take_state();
        self.interrupted(state, |_| RfbError::Tls { reason }, Some(out))
    }

    /// Takes the end of one side's stream: no more bytes will come from it.
    ///
    /// `Ok` means that the handshake goes on without that side: a compute node that has refused may
    /// leave while the tenant is still to be told.
    ///
    /// # Errors
    /// The failure that this end amounts to here.
    pub fn ended(&mut self, side: Side, out: &mut Vec<Transmit>) -> Result<(), RfbError> {
        let secured = self.secured;
        match (self.take_state(), side) {
            (State::RefusalReason(reader), Side::Compute) => {
                self.state = State::Refused(reader.broken_off(self.compute.held()));
                self.run(out).map(|_| ())
            }
            (State::Refused(reason), Side::Compute) => {
                self.state = State::Refused(reason);
                Ok(())
            }
            (state, Side::Compute) => {
                let closed = |step| match step {
                    Step::SecurityResult | Step::VncChallenge if secured => RfbError::ClosedAfterTls,
                    step => RfbError::Closed { side, step },
                };
                Err(self.interrupted(state, closed, Some(out)))
            }
            // The tenant is gone: there is nobody to tell.
            (state, Side::Tenant) => {
                Err(self.interrupted(state, |step| RfbError::Closed { side, step }, None))
            }
        }
    }

    /// Takes the end of the time for the current step.
    pub fn timed_out(&mut self, out: &mut Vec<Transmit>) -> RfbError {
        let mut state = self.take_state();
        if let State::RefusalReason(reader) = state {
            self.state = State::Refused(reader.broken_off(self.compute.held()));
            // The tenant can be told at once if its version is here, and will not be waited for.
            if let Err(refused) = self.run(out) {
                return refused;
            }
            state = self.take_state();
        }
        self.interrupted(state, |step| RfbError::TimedOut { step }, Some(out))
    }

    /// The step that is due, and through [`Step::side`] whose it is. `None` when the handshake is over.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Step> {
        self.state.step()
    }

    /// How many unread bytes are kept, of both sides together: at most [`COMPUTE_HELD_BYTES_MAX`] and
    /// [`TENANT_HELD_BYTES_MAX`].
    #[must_use]
    pub fn retained_len(&self) -> usize {
        self.held(Side::Compute) + self.held(Side::Tenant)
    }

    /// Reads messages until one is missing, or what comes next is not this machine's.
    fn run(&mut self, out: &mut Vec<Transmit>) -> Result<Pause, RfbError> {
        loop {
            let state = self.take_state();
            match self.turn(state, out)? {
                Turn::Next(state) => self.state = state,
                Turn::Wait(state) => {
                    self.state = state;
                    return Ok(Pause::Wait);
                }
                Turn::StartTls(chosen) => {
                    self.state = State::Tls(chosen);
                    return Ok(Pause::StartTls);
                }
                Turn::Established => return Ok(Pause::Established),
            }
        }
    }

    /// Ends the handshake in the middle of `state`. `out` is `None` when the tenant cannot be told.
    ///
    /// What the compute node has already decided is the cause, whatever came between; otherwise it is
    /// `error`. The tenant can be told only while it waits for its security types or a result:
    /// elsewhere it would take a refusal for the message that it does expect.
    fn interrupted(
        &mut self,
        state: State,
        error: impl FnOnce(Step) -> RfbError,
        out: Option<&mut Vec<Transmit>>,
    ) -> RfbError {
        let Some(step) = state.step() else { return RfbError::Over };
        let (error, refusal) = match state {
            State::RefusalReason(reader) => {
                (RfbError::Refused { reason: reader.broken_off(self.compute.held()) }, None)
            }
            State::Refused(reason) => (RfbError::Refused { reason }, None),
            State::FailureReason(result, reader) => {
                let reason = reader.broken_off(self.compute.held());
                let refusal = tenant::auth_failed(result, &reason);
                (RfbError::AuthFailed { result, reason }, Some(refusal))
            }
            State::SecurityTypes => {
                let version = self.tenant.take().filter(|bytes| tenant::accept_version(bytes).is_ok());
                (error(step), version.map(|_| tenant::types_failed()))
            }
            State::VeNCryptVersion
            | State::VersionAnswer
            | State::Subtypes
            | State::SubtypeAnswer(_)
            | State::Tls(_)
            | State::VncChallenge
            | State::SecurityResult => (error(step), Some(tenant::security_failed())),
            _ => (error(step), None),
        };
        if let Some(out) = out {
            out.extend(refusal);
        }
        error
    }

    fn too_early(&mut self, side: Side, out: &mut Vec<Transmit>) -> RfbError {
        let bytes_max = match side {
            Side::Compute => self.held_bytes_max(side),
            Side::Tenant => TENANT_EARLY_BYTES_MAX,
        };
        let state = self.take_state();
        self.interrupted(state, |_| RfbError::TooEarly { side, bytes_max }, Some(out))
    }

    fn take_state(&mut self) -> State {
        mem::replace(&mut self.state, State::Over)
    }

    fn held(&self, side: Side) -> usize {
        match side {
            Side::Compute => self.compute.held().len(),
            Side::Tenant => self.tenant.held().len(),
        }
    }

    /// How many unread bytes of `side` may be held now.
    fn held_bytes_max(&self, side: Side) -> usize {
        match (side, &self.state) {
            // What was not inside TLS must never pass for what was.
            (Side::Compute, State::Tls(_)) => 0,
            (Side::Compute, _) => COMPUTE_HELD_BYTES_MAX,
            // The choice is still to come, then neither.
            (Side::Tenant, State::TenantChoice(_)) => 1 + TENANT_EARLY_BYTES_MAX,
            (
                Side::Tenant,
                State::VeNCryptVersion
                | State::VersionAnswer
                | State::Subtypes
                | State::SubtypeAnswer(_)
                | State::Tls(_)
                | State::VncChallenge
                | State::SecurityResult
                | State::FailureReason(..),
            ) => TENANT_EARLY_BYTES_MAX,
            (Side::Tenant, _) => TENANT_HELD_BYTES_MAX,
        }
    }

    /// The compute node's bytes behind its last answer, and the `rest` of what it sent: TLS, all of it.
    fn start_of_tls(&mut self, rest: &[u8]) -> Vec<u8> {
        let wire = [self.compute.held(), rest].concat();
        self.compute.discard(COMPUTE_HELD_BYTES_MAX);
        wire
    }

    /// Collects what is unread: the inboxes, then the `rest` of what `from` sent last.
    fn residue(&mut self, from: Side, rest: &[u8]) -> Residue {
        let mut residue =
            Residue { to_tenant: self.compute.held().to_vec(), to_compute: self.tenant.held().to_vec() };
        self.compute.discard(COMPUTE_HELD_BYTES_MAX);
        self.tenant.discard(TENANT_HELD_BYTES_MAX);
        match from {
            Side::Compute => residue.to_tenant.extend_from_slice(rest),
            Side::Tenant => residue.to_compute.extend_from_slice(rest),
        }
        residue
    }
}

impl fmt::Debug for Negotiation {
    /// The step and lengths only: what the sides send never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Negotiation")
            .field("waiting_for", &self.waiting_for())
            .field("retained_len", &self.retained_len())
            .finish_non_exhaustive()
    }
}
