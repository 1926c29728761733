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
//!  SecurityResult  compute: 00000000          tenant:  00000000
//!  FailureReason   compute: length, text      tenant:  result, length, text: failed
//! ```
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

use crate::proto::Side;

use super::compute::{self, Answer};
use super::error::RfbError;
use super::inbox::Inbox;
use super::message::Transmit;
use super::note::Note;
use super::progress::{Progress, Residue};
use super::reason::{Reason, ReasonReader};
use super::security::{AuthScheme, AuthSchemes, SecurityType, SecurityTypes};
use super::step::Step;
use super::tenant;
use super::vencrypt::{self, Subtype};
use super::version::ProtocolVersion;

/// How many unread bytes of the compute node are kept. The longest message of a handshake is
/// `VeNCrypt`'s list of sub-types, 1 + 255 × 4 bytes; those of security type None end at 260.
pub const COMPUTE_HELD_BYTES_MAX: usize = 1024;

/// How many bytes a tenant may send ahead of its turn. Only `ClientInit` and the first few messages
/// behind it can be early for a good reason.
pub const TENANT_EARLY_BYTES_MAX: usize = 64;

/// How many unread bytes of the tenant are kept: its version, its choice and what came early.
pub const TENANT_HELD_BYTES_MAX: usize = ProtocolVersion::LEN + 1 + TENANT_EARLY_BYTES_MAX;

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
    compute: Inbox<COMPUTE_HELD_BYTES_MAX>,
    tenant: Inbox<TENANT_HELD_BYTES_MAX>,
    state: State,
    /// The compute node's bytes come out of TLS
    secured: bool,
    notes: Vec<Note>,
}

/// What the next message is expected to be, with what must be remembered until it comes.
enum State {
    ComputeVersion,
    SecurityTypes,
    RefusalReason(ReasonReader),
    /// The tenant's version is awaited.
    TenantVersion(Offer),
    /// The compute node has refused. The tenant can be told why when its version has come.
    Refused(Reason),
    TenantChoice(Offer),
    VeNCryptVersion,
    VersionAnswer,
    Subtypes,
    SubtypeAnswer(Subtype),
    Tls,
    SecurityResult,
    FailureReason(u32, ReasonReader),
    Over,
}

/// What can be done with the compute node's security types.
enum Offer {
    /// This one is to be chosen.
    Usable(SecurityType),
    /// None of them. The tenant is told in place of a result, as Nova does.
    Unusable(SecurityTypes),
}

/// Where one turn of the machine leads.
enum Turn {
    /// A message was read, and this is next.
    Next(State),
    /// The message is not all there yet.
    Wait(State),
    /// TLS begins, with whatever of the compute node's is unread.
    StartTls,
    Established,
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
        Self {
            schemes: AuthSchemes::new(schemes),
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
        if matches!(self.state, State::Tls) {
            self.notes.push(Note::Secured);
            self.secured = true;
            self.state = State::SecurityResult;
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
                    Step::SecurityResult if secured => RfbError::ClosedAfterTls,
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
                Turn::StartTls => {
                    self.state = State::Tls;
                    return Ok(Pause::StartTls);
                }
                Turn::Established => return Ok(Pause::Established),
            }
        }
    }

    fn turn(&mut self, state: State, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
        match state {
            State::ComputeVersion => self.compute_version(out),
            State::SecurityTypes => Ok(self.security_types()),
            State::RefusalReason(reader) => Ok(match reader.read(&mut self.compute) {
                Ok(reason) => Turn::Next(State::Refused(reason)),
                Err(reader) => Turn::Wait(State::RefusalReason(reader)),
            }),
            State::TenantVersion(offer) => {
                let Some(bytes) = self.tenant.take() else {
                    return Ok(Turn::Wait(State::TenantVersion(offer)));
                };
                tenant::accept_version(&bytes)?;
                self.notes.push(Note::Version(Side::Tenant, bytes));
                out.push(tenant::security_types());
                Ok(Turn::Next(State::TenantChoice(offer)))
            }
            State::Refused(reason) => {
                let Some(bytes) = self.tenant.take() else { return Ok(Turn::Wait(State::Refused(reason))) };
                tenant::accept_version(&bytes)?;
                self.notes.push(Note::Version(Side::Tenant, bytes));
                out.push(tenant::refused(&reason));
                Err(RfbError::Refused { reason })
            }
            State::TenantChoice(offer) => self.tenant_choice(offer, out),
            State::VeNCryptVersion | State::VersionAnswer | State::Subtypes | State::SubtypeAnswer(_) => {
                // Everything that fails here fails before a result, which the tenant waits for.
                self.vencrypt(state, out).inspect_err(|_| out.push(tenant::security_failed()))
            }
            State::Tls => Ok(Turn::Wait(State::Tls)),
            State::SecurityResult => Ok(self.security_result(out)),
            State::FailureReason(result, reader) => match reader.read(&mut self.compute) {
                Ok(reason) => {
                    out.push(tenant::auth_failed(result, &reason));
                    Err(RfbError::AuthFailed { result, reason })
                }
                Err(reader) => Ok(Turn::Wait(State::FailureReason(result, reader))),
            },
            State::Over => Err(RfbError::Over),
        }
    }

    fn compute_version(&mut self, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
        let Some(bytes) = self.compute.take() else { return Ok(Turn::Wait(State::ComputeVersion)) };
        compute::accept_version(&bytes)?;
        self.notes.push(Note::Version(Side::Compute, bytes));
        out.push(compute::version());
        out.push(tenant::version());
        Ok(Turn::Next(State::SecurityTypes))
    }

    fn security_types(&mut self) -> Turn {
        Turn::Next(match compute::read_answer(&mut self.compute) {
            None => return Turn::Wait(State::SecurityTypes),
            Some(Answer::Refusal) => State::RefusalReason(ReasonReader::default()),
            Some(Answer::Types(offered)) => {
                self.notes.push(Note::Offered(offered.clone()));
                State::TenantVersion(match self.schemes.choose(&offered) {
                    Some(chosen) => Offer::Usable(chosen),
                    None => Offer::Unusable(offered),
                })
            }
        })
    }

    fn tenant_choice(&mut self, offer: Offer, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
        let Some([number]) = self.tenant.take() else { return Ok(Turn::Wait(State::TenantChoice(offer))) };
        let got = SecurityType(number);
        if got != SecurityType::NONE {
            out.push(compute::abort());
            out.push(tenant::only_none());
            return Err(RfbError::TypeNotOffered { got });
        }
        match offer {
            Offer::Usable(chosen) => {
                self.notes.push(Note::Chosen(chosen));
                out.push(compute::choice(chosen));
                Ok(Turn::Next(match chosen {
                    SecurityType::VENCRYPT => State::VeNCryptVersion,
                    _ => State::SecurityResult,
                }))
            }
            Offer::Unusable(offered) => {
                out.push(compute::abort());
                out.push(tenant::security_failed());
                Err(RfbError::NoCommonType { offered, usable: self.schemes.to_string() })
            }
        }
    }

    /// One step of `VeNCrypt` before TLS. Nova, too, hangs up without a word to the compute node.
    fn vencrypt(&mut self, state: State, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
        Ok(match state {
            State::VeNCryptVersion => match self.compute.take() {
                Some(offered) => {
                    self.notes.push(Note::VeNCryptVersion(offered));
                    out.push(vencrypt::version(offered)?);
                    Turn::Next(State::VersionAnswer)
                }
                None => Turn::Wait(state),
            },
            State::VersionAnswer => match self.compute.take() {
                Some(answer) => {
                    vencrypt::accept_version_answer(answer)?;
                    Turn::Next(State::Subtypes)
                }
                None => Turn::Wait(state),
            },
            State::Subtypes => match vencrypt::read_subtypes(&mut self.compute) {
                Some(offered) => {
                    self.notes.push(Note::Subtypes(offered.clone()));
                    let chosen = Subtype::X509_NONE;
                    if !offered.contains(chosen) {
                        return Err(RfbError::NoCommonSubtype { offered });
                    }
                    self.notes.push(Note::SubtypeChosen(chosen));
                    out.push(vencrypt::choice(chosen));
                    Turn::Next(State::SubtypeAnswer(chosen))
                }
                None => Turn::Wait(state),
            },
            State::SubtypeAnswer(chosen) => match self.compute.take() {
                Some(answer) => {
                    vencrypt::accept_choice_answer(answer, chosen)?;
                    self.notes.push(Note::SubtypeAccepted);
                    Turn::StartTls
                }
                None => Turn::Wait(state),
            },
            state => Turn::Wait(state),
        })
    }

    fn security_result(&mut self, out: &mut Vec<Transmit>) -> Turn {
        match self.compute.take().map(u32::from_be_bytes) {
            None => Turn::Wait(State::SecurityResult),
            Some(0) => {
                out.push(tenant::security_ok());
                Turn::Established
            }
            Some(result) => Turn::Next(State::FailureReason(result, ReasonReader::default())),
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
            | State::Tls
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
            (Side::Compute, State::Tls) => 0,
            (Side::Compute, _) => COMPUTE_HELD_BYTES_MAX,
            // The choice is still to come, then neither.
            (Side::Tenant, State::TenantChoice(_)) => 1 + TENANT_EARLY_BYTES_MAX,
            (
                Side::Tenant,
                State::VeNCryptVersion
                | State::VersionAnswer
                | State::Subtypes
                | State::SubtypeAnswer(_)
                | State::Tls
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

impl State {
    fn step(&self) -> Option<Step> {
        Some(match self {
            Self::ComputeVersion => Step::ComputeVersion,
            Self::SecurityTypes => Step::SecurityTypes,
            Self::RefusalReason(_) => Step::RefusalReason,
            Self::TenantVersion(_) | Self::Refused(_) => Step::TenantVersion,
            Self::TenantChoice(_) => Step::TenantChoice,
            Self::VeNCryptVersion => Step::VeNCryptVersion,
            Self::VersionAnswer => Step::VersionAnswer,
            Self::Subtypes => Step::Subtypes,
            Self::SubtypeAnswer(_) => Step::SubtypeAnswer,
            Self::Tls => Step::Tls,
            Self::SecurityResult => Step::SecurityResult,
            Self::FailureReason(..) => Step::FailureReason,
            Self::Over => return None,
        })
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
