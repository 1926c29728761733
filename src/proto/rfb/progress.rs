//! [`Progress`] and [`Residue`]: what the machine answers.

use std::fmt;

/// Where a handshake stands after some input.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// More input is needed: [`Negotiation::waiting_for`](super::Negotiation::waiting_for) tells whose.
    Continue,
    /// The compute node's connection goes under TLS, of which these bytes have come already; usually none.
    StartTls(Vec<u8>),
    /// Both sides agreed. The relay starts, with these bytes first.
    Established(Residue),
}

/// What was read past the end of the handshake. The relay sends it on before anything else.
#[must_use]
pub struct Residue {
    /// The compute node's bytes behind `SecurityResult`: a message of their own, not part of the result's
    pub to_tenant: Vec<u8>,
    /// The tenant's bytes behind its choice, `ClientInit` first
    pub to_compute: Vec<u8>,
}

impl fmt::Debug for Residue {
    /// Lengths only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Residue({} to tenant, {} to compute)", self.to_tenant.len(), self.to_compute.len())
    }
}
