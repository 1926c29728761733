//! The turns of the machine: one message read, what follows from it sent.

use super::{Negotiation, Note, ProtocolVersion, RfbError, Side, Step, Subtype, Transmit, tenant};
use crate::proto::rfb::compute::{self, Answer};
use crate::proto::rfb::reason::{Reason, ReasonReader};
use crate::proto::rfb::security::{SecurityType, SecurityTypes};
use crate::proto::rfb::vencrypt;

/// What the next message is expected to be, with what must be remembered until it comes.
pub(super) enum State {
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
    Tls(Subtype),
    VncChallenge,
    SecurityResult,
    FailureReason(u32, ReasonReader),
    Over,
}

/// What can be done with the compute node's security types.
pub(super) enum Offer {
    /// This one is to be chosen.
    Usable(SecurityType),
    /// None of them. The tenant is told in place of a result, as Nova does.
    Unusable(SecurityTypes),
}

/// Where one turn of the machine leads.
pub(super) enum Turn {
    /// A message was read, and this is next.
    Next(State),
    /// The message is not all there yet.
    Wait(State),
    /// TLS begins, with whatever of the compute node's is unread, and inside it this sub-type.
    StartTls(Subtype),
    Established,
}

impl Negotiation {
    pub(super) fn turn(&mut self, state: State, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
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
            State::Tls(chosen) => Ok(Turn::Wait(State::Tls(chosen))),
            State::VncChallenge => Ok(self.vnc_challenge(out)),
            State::SecurityResult => self.security_result(out),
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
        self.version = compute::accept_version(&bytes, self.extras.rfb_33)?;
        self.notes.push(Note::Version(Side::Compute, bytes));
        out.push(compute::version(self.version));
        out.push(tenant::version());
        Ok(Turn::Next(State::SecurityTypes))
    }

    fn security_types(&mut self) -> Turn {
        Turn::Next(match compute::read_answer(&mut self.compute, self.version) {
            None => return Turn::Wait(State::SecurityTypes),
            Some(Answer::Refusal) => State::RefusalReason(ReasonReader::default()),
            Some(Answer::Types(offered)) => {
                self.notes.push(Note::Offered(offered.clone()));
                State::TenantVersion(match self.schemes.choose(&offered, self.version) {
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
            self.abort(out);
            out.push(tenant::only_none());
            return Err(RfbError::TypeNotOffered { got });
        }
        match offer {
            Offer::Usable(chosen) => {
                self.notes.push(Note::Chosen(chosen));
                if self.version != ProtocolVersion::V3_3 {
                    out.push(compute::choice(chosen));
                }
                Ok(Turn::Next(match chosen {
                    SecurityType::VENCRYPT => State::VeNCryptVersion,
                    SecurityType::VNC => State::VncChallenge,
                    _ if self.version < ProtocolVersion::V3_8 => {
                        // No result comes: our tenant, who waits for one, is told that all is well.
                        out.push(tenant::security_ok());
                        return Ok(Turn::Established);
                    }
                    _ => State::SecurityResult,
                }))
            }
            Offer::Unusable(offered) => {
                self.abort(out);
                out.push(tenant::security_failed());
                Err(RfbError::NoCommonType { offered, usable: self.schemes.to_string() })
            }
        }
    }

    /// Gives up in place of a choice. In 3.3 there is none.
    fn abort(&self, out: &mut Vec<Transmit>) {
        if self.version != ProtocolVersion::V3_3 {
            out.push(compute::abort());
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
                    // Without a password, as Nova, wherever that is enough.
                    let password = self.extras.password.as_ref().map(|_| Subtype::X509_VNC);
                    let usable = [Some(Subtype::X509_NONE), password];
                    let chosen = usable.into_iter().flatten().find(|subtype| offered.contains(*subtype));
                    let Some(chosen) = chosen else {
                        return Err(RfbError::NoCommonSubtype { offered, with_password: password.is_some() });
                    };
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
                    Turn::StartTls(chosen)
                }
                None => Turn::Wait(state),
            },
            state => Turn::Wait(state),
        })
    }

    fn vnc_challenge(&mut self, out: &mut Vec<Transmit>) -> Turn {
        // The type is chosen only when there is a password.
        match (self.compute.take(), &self.extras.password) {
            (Some(challenge), Some(password)) => {
                self.notes.push(Note::Challenged);
                out.push(compute::vnc_answer(&password.answer(challenge)));
                Turn::Next(State::SecurityResult)
            }
            _ => Turn::Wait(State::VncChallenge),
        }
    }

    fn security_result(&mut self, out: &mut Vec<Transmit>) -> Result<Turn, RfbError> {
        Ok(match self.compute.take().map(u32::from_be_bytes) {
            None => Turn::Wait(State::SecurityResult),
            Some(0) => {
                out.push(tenant::security_ok());
                Turn::Established
            }
            // Until 3.7 the compute node closes without a reason; our tenant is owed one.
            Some(result) if self.version < ProtocolVersion::V3_8 => {
                out.push(tenant::security_failed());
                return Err(RfbError::AuthFailed { result, reason: Reason::none() });
            }
            Some(result) => Turn::Next(State::FailureReason(result, ReasonReader::default())),
        })
    }
}

impl State {
    pub(super) fn step(&self) -> Option<Step> {
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
            Self::Tls(_) => Step::Tls,
            Self::VncChallenge => Step::VncChallenge,
            Self::SecurityResult => Step::SecurityResult,
            Self::FailureReason(..) => Step::FailureReason,
            Self::Over => return None,
        })
    }
}
