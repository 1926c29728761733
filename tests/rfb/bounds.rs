//! The bounds, each met exactly and passed by one.

use consolegate::proto::Side::{self, Compute, Tenant};
use consolegate::proto::rfb::{
    AuthScheme, Negotiation, Progress, RfbError, Step, TENANT_EARLY_BYTES_MAX, Transmit,
};

const VERSION: &[u8] = b"RFB 003.008\n";

struct Handshake {
    negotiation: Negotiation,
    out: Vec<Transmit>,
}

impl Handshake {
    fn new() -> Self {
        Self { negotiation: Negotiation::new(&[AuthScheme::None]), out: Vec::new() }
    }

    fn receive(&mut self, side: Side, bytes: &[u8]) -> Result<Progress, RfbError> {
        self.negotiation.receive(side, bytes, &mut self.out)
    }

    /// Takes bytes that must not end the handshake.
    fn feed(&mut self, side: Side, bytes: &[u8]) {
        assert!(matches!(self.receive(side, bytes), Ok(Progress::Continue)));
    }

    /// A handshake with all done but the result.
    fn waiting_for_the_result() -> Self {
        let mut handshake = Self::new();
        handshake.feed(Compute, VERSION);
        handshake.feed(Tenant, VERSION);
        handshake.feed(Compute, &[1, 1]);
        handshake.feed(Tenant, &[1]);
        assert_eq!(handshake.negotiation.waiting_for(), Some(Step::SecurityResult));
        handshake
    }

    fn last_to_tenant(&self) -> &[u8] {
        self.out.iter().rfind(|sent| sent.to == Tenant).unwrap().message.as_bytes()
    }
}

#[test]
fn sixty_four_early_bytes_reach_the_compute_node_once() {
    let mut handshake = Handshake::waiting_for_the_result();
    let early: Vec<u8> = (0..64).collect();
    handshake.feed(Tenant, &early);
    let Ok(Progress::Established(residue)) = handshake.receive(Compute, &[0, 0, 0, 0, 7, 8]) else {
        panic!()
    };
    assert_eq!(residue.to_compute, early);
    assert_eq!(residue.to_tenant, [7, 8]);
    assert_eq!(handshake.last_to_tenant(), [0; 4], "the result travels alone");
    assert_eq!(handshake.negotiation.retained_len(), 0);
}

#[test]
fn one_early_byte_more_fails_the_handshake() {
    for before_the_choice in [true, false] {
        let mut handshake = Handshake::waiting_for_the_result();
        if before_the_choice {
            handshake = Handshake::new();
            handshake.feed(Tenant, &[VERSION, &[1]].concat());
        }
        handshake.feed(Tenant, &[1; TENANT_EARLY_BYTES_MAX]);
        let error = handshake.receive(Tenant, &[1]).unwrap_err();
        assert_eq!(error, RfbError::TooEarly { side: Tenant, bytes_max: 64 });
    }
}

#[test]
fn a_compute_node_that_talks_out_of_turn_is_cut_off() {
    let mut handshake = Handshake::new();
    handshake.feed(Compute, &[VERSION, &[1, 1]].concat());
    handshake.feed(Compute, &[0; 1024]);
    let error = handshake.receive(Compute, &[0]).unwrap_err();
    assert_eq!(error, RfbError::TooEarly { side: Compute, bytes_max: 1024 });
}

#[test]
fn the_longest_list_of_types_fits() {
    let mut handshake = Handshake::new();
    let types = [VERSION, &[255], &[13; 254], &[1]].concat();
    handshake.feed(Compute, &types);
    assert_eq!(handshake.negotiation.waiting_for(), Some(Step::TenantVersion));
}

/// A length of four gigabytes costs what is kept of it, and ends only with time or the stream.
#[test]
fn a_declared_length_reserves_nothing() {
    let mut handshake = Handshake::waiting_for_the_result();
    handshake.feed(Compute, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    for _ in 0..100 {
        handshake.feed(Compute, &[b'x'; 4096]);
        assert_eq!(handshake.negotiation.retained_len(), 0);
    }
    let error = handshake.negotiation.timed_out(&mut handshake.out);
    assert!(matches!(&error, RfbError::AuthFailed { result: 1, reason } if reason.bytes() == [b'x'; 256]));
    assert_eq!(handshake.last_to_tenant(), [&[0, 0, 0, 1, 0, 0, 1, 0][..], &[b'x'; 256]].concat());
}

/// The refusal is longer than the inbox and is there before the tenant has said a word.
#[test]
fn a_long_refusal_waits_for_the_tenant() {
    let mut handshake = Handshake::new();
    handshake.feed(Compute, &[VERSION, &[0, 0, 0, 16, 0], &[b'x'; 4096]].concat());
    assert_eq!(handshake.negotiation.waiting_for(), Some(Step::TenantVersion));
    assert_eq!(
        handshake.negotiation.ended(Compute, &mut handshake.out),
        Ok(()),
        "the tenant is still to be told"
    );
    let error = handshake.receive(Tenant, VERSION).unwrap_err();
    assert_eq!(error.kind(), "refused");
    assert_eq!(handshake.last_to_tenant(), b"\0\0\0\0\x28Unable to negotiate security with server");
}
