//! What must hold for the RFB handshake, whatever the two sides send and however it arrives.
//!
//! Shared by the fuzz target `negotiation` and by the property tests in `tests/rfb/properties.rs`.

use std::sync::Arc;

use consolegate::proto::Side;
use consolegate::proto::rfb::{
    AuthScheme, COMPUTE_HELD_BYTES_MAX, Extras, Negotiation, Progress, ProtocolVersion, Residue, RfbError,
    Step, TENANT_HELD_BYTES_MAX, Transmit, VncPassword,
};

#[path = "rfb_model.rs"]
mod model;

/// What an operator may have listed, by the remainder of the first byte of an input.
pub(crate) const SCHEMES: [&[AuthScheme]; 5] = [
    &[AuthScheme::None],
    &[AuthScheme::VeNCrypt, AuthScheme::None],
    &[AuthScheme::None, AuthScheme::VeNCrypt, AuthScheme::None],
    &[AuthScheme::VeNCrypt],
    &[],
];

/// What an operator may have decided, by the first byte of an input.
#[derive(Clone)]
pub(crate) struct Spoken {
    pub(crate) schemes: &'static [AuthScheme],
    pub(crate) extras: Extras,
}

impl Spoken {
    /// How many there are: the first few go no further than Nova.
    pub(crate) const COUNT: u8 = 20;

    fn read(byte: u8) -> Self {
        let which = usize::from(byte % Self::COUNT);
        let (listed, extras) = (which % SCHEMES.len(), which / SCHEMES.len());
        let password = VncPassword::new(b"secretpw").filter(|_| extras > 0).map(Arc::new);
        let extras = Extras { password, password_in_clear: extras > 1, rfb_33: extras > 2 };
        Self { schemes: SCHEMES[listed], extras }
    }
}

/// One byte of an input that starts a chunk: this bit for the compute node, the others for the length.
pub(crate) const FROM_COMPUTE: u8 = 0x80;

/// A handshake's input: who sent what, in order.
pub(crate) struct Schedule {
    pub(crate) spoken: Spoken,
    pub(crate) chunks: Vec<(Side, Vec<u8>)>,
}

/// Everything seen of one handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The messages to the tenant, one by one
    pub(crate) to_tenant: Vec<Vec<u8>>,
    /// The messages to the compute node, one by one
    pub(crate) to_compute: Vec<Vec<u8>>,
    pub(crate) end: End,
}

/// How a handshake stands when the input is used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Waiting(Step),
    /// The bytes that the relay gets: the residue, then the rest of the input
    Established {
        to_tenant: Vec<u8>,
        to_compute: Vec<u8>,
    },
    Failed(&'static str),
}

/// Checks every invariant on one input: a byte for the schemes, then chunks behind their length.
pub(crate) fn check(data: &[u8]) {
    let schedule = Schedule::read(data);
    let seen = converse(&schedule.spoken, &schedule.chunks);
    check_grammar(&seen);
    check_splits(&schedule, &seen);
    check_interleavings(&schedule, &seen);
    check_ends(&schedule);
}

/// Checks the version parser against the letter of the form.
pub(crate) fn check_version(bytes: &[u8; ProtocolVersion::LEN]) {
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    let well_formed =
        bytes.starts_with(b"RFB ") && digits(4..7) && bytes[7] == b'.' && digits(8..11) && bytes[11] == b'\n';
    let parsed = ProtocolVersion::parse(bytes);
    assert_eq!(parsed.is_some(), well_formed, "{}", bytes.escape_ascii());
    if let Some(version) = parsed {
        assert_eq!(format!("{version}\n").as_bytes(), bytes);
    }
}

/// The same bytes in other pieces: one by one, and with neighbours of one side joined.
fn check_splits(schedule: &Schedule, seen: &Conversation) {
    let bytes: Vec<_> = schedule
        .chunks
        .iter()
        .flat_map(|(side, chunk)| chunk.iter().map(|byte| (*side, vec![*byte])))
        .collect();
    assert_eq!(converse(&schedule.spoken, &bytes), *seen, "byte by byte");

    let mut joined: Vec<(Side, Vec<u8>)> = Vec::new();
    for (side, chunk) in &schedule.chunks {
        match joined.last_mut() {
            Some((last, bytes)) if last == side => bytes.extend(chunk),
            _ => joined.push((*side, chunk.clone())),
        }
    }
    assert_eq!(converse(&schedule.spoken, &joined), *seen, "joined");
}

/// The same two streams in another order, and as the model reads them. Only streams that fit the
/// buffers: of longer ones it depends on the time how much is early.
fn check_interleavings(schedule: &Schedule, seen: &Conversation) {
    let compute = schedule.stream(Side::Compute);
    let tenant = schedule.stream(Side::Tenant);
    if compute.len() > COMPUTE_HELD_BYTES_MAX || tenant.len() > TENANT_HELD_BYTES_MAX {
        return;
    }
    assert_eq!(model::converse(&schedule.spoken, &compute, &tenant), *seen, "the model");
    let (compute, tenant) = ((Side::Compute, compute), (Side::Tenant, tenant));
    assert_eq!(converse(&schedule.spoken, &[compute.clone(), tenant.clone()]), *seen, "compute first");
    assert_eq!(converse(&schedule.spoken, &[tenant, compute]), *seen, "tenant first");
}

/// An end of stream or a deadline behind every chunk: always a failure, and the last word.
fn check_ends(schedule: &Schedule) {
    for len in 0..=schedule.chunks.len() {
        for interruption in
            [Interruption::Ended(Side::Compute), Interruption::Ended(Side::Tenant), Interruption::TimedOut]
        {
            let mut driven = Driven::new(&schedule.spoken);
            // What an input leads to once the handshake is over does not matter here.
            let mut end = Ok(Progress::Continue);
            for (side, chunk) in &schedule.chunks[..len] {
                if matches!(end, Ok(Progress::Continue)) {
                    end = driven.receive(*side, chunk);
                }
            }
            let Driven { mut handshake, mut out, .. } = driven;
            let error = match interruption {
                Interruption::Ended(side) => match handshake.ended(side, &mut out) {
                    Ok(()) => {
                        assert_eq!(side, Side::Compute);
                        assert_eq!(
                            handshake.waiting_for(),
                            Some(Step::TenantVersion),
                            "only a refusal outlives its sender"
                        );
                        handshake.timed_out(&mut out)
                    }
                    Err(error) => error,
                },
                Interruption::TimedOut => handshake.timed_out(&mut out),
            };
            assert_eq!(matches!(error, RfbError::Over), !matches!(end, Ok(Progress::Continue)));
            check_error(&error);
            check_absorbed(&mut handshake);
            check_tenant_grammar(&sent(&out, Side::Tenant), matches!(end, Ok(Progress::Established(_))));
            check_compute_grammar(&sent(&out, Side::Compute));
        }
    }
}

enum Interruption {
    Ended(Side),
    TimedOut,
}

/// Runs the machine over `chunks`, checking what must hold after each of them.
pub(crate) fn converse(spoken: &Spoken, chunks: &[(Side, Vec<u8>)]) -> Conversation {
    let mut driven = Driven::new(spoken);
    let mut end = None;
    for (side, chunk) in chunks {
        if let Some(End::Established { to_tenant, to_compute }) = &mut end {
            if *side == Side::Compute { to_tenant.extend(chunk) } else { to_compute.extend(chunk) }
        }
        if end.is_some() {
            check_absorbed(&mut driven.handshake);
            continue;
        }
        end = end_of(driven.receive(*side, chunk));
        let handshake = &driven.handshake;
        assert!(handshake.retained_len() <= COMPUTE_HELD_BYTES_MAX + TENANT_HELD_BYTES_MAX);
        assert_eq!(handshake.waiting_for().is_none(), end.is_some());
    }
    if end.is_none() {
        end = end_of(driven.secured());
    }
    let Driven { handshake, out, .. } = driven;
    let end = match (end, handshake.waiting_for()) {
        (Some(end), _) => end,
        (None, Some(step)) => End::Waiting(step),
        (None, None) => unreachable!("checked after every chunk"),
    };
    Conversation { to_tenant: sent(&out, Side::Tenant), to_compute: sent(&out, Side::Compute), end }
}

fn end_of(progress: Result<Progress, RfbError>) -> Option<End> {
    match progress {
        Ok(Progress::Established(Residue { to_tenant, to_compute })) => {
            Some(End::Established { to_tenant, to_compute })
        }
        Ok(_) => None,
        Err(error) => {
            check_error(&error);
            Some(End::Failed(error.kind()))
        }
    }
}

/// A handshake whose TLS takes until both sides have said all they say, and changes nothing of it.
struct Driven {
    handshake: Negotiation,
    out: Vec<Transmit>,
    /// What the compute node has said since TLS began
    inside: Option<Vec<u8>>,
}

impl Driven {
    fn new(spoken: &Spoken) -> Self {
        let handshake = Negotiation::with_extras(spoken.schemes, spoken.extras.clone());
        Self { handshake, out: Vec::new(), inside: None }
    }

    fn receive(&mut self, side: Side, chunk: &[u8]) -> Result<Progress, RfbError> {
        if let (Some(inside), Side::Compute) = (&mut self.inside, side) {
            inside.extend(chunk);
            return Ok(Progress::Continue);
        }
        match self.handshake.receive(side, chunk, &mut self.out)? {
            Progress::StartTls(wire) => {
                assert_eq!(self.handshake.waiting_for(), Some(Step::Tls));
                let last = self.out.last().map(|sent| sent.message.as_bytes());
                assert!(matches!(last, Some([0, 0, 1, 4 | 5])), "{last:?}");
                self.inside = Some(wire);
                Ok(Progress::Continue)
            }
            progress => Ok(progress),
        }
    }

    /// TLS is there, if it was agreed on.
    fn secured(&mut self) -> Result<Progress, RfbError> {
        let Some(inside) = self.inside.take() else { return Ok(Progress::Continue) };
        self.handshake.secured();
        self.handshake.receive(Side::Compute, &inside, &mut self.out)
    }
}

/// Once over, a handshake takes nothing, keeps nothing more and says nothing.
fn check_absorbed(handshake: &mut Negotiation) {
    let mut out = Vec::new();
    let retained = handshake.retained_len();
    for side in [Side::Compute, Side::Tenant] {
        assert!(matches!(handshake.receive(side, b"RFB 003.008\n\x01\x01", &mut out), Err(RfbError::Over)));
        assert!(matches!(handshake.ended(side, &mut out), Err(RfbError::Over)));
    }
    assert!(matches!(handshake.timed_out(&mut out), RfbError::Over));
    assert!(out.is_empty());
    assert_eq!(handshake.retained_len(), retained);
    assert_eq!(handshake.waiting_for(), None);
}

fn check_error(error: &RfbError) {
    let text = error.to_string();
    assert!(text.len() <= 400, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

fn check_grammar(seen: &Conversation) {
    let established = matches!(seen.end, End::Established { .. });
    check_compute_grammar(&seen.to_compute);
    check_tenant_grammar(&seen.to_tenant, established);
    if established {
        let messages: Vec<&[u8]> = seen.to_compute.iter().map(Vec::as_slice).collect();
        let complete = match messages[..] {
            [b"RFB 003.003\n", ref behind @ ..] => matches!(behind, [] | [[_, ..]]),
            [_, [1]] | [_, [2], [_, ..]] | [_, [19], _, [0, 0, 1, 4]] | [_, [19], _, [0, 0, 1, 5], _] => true,
            _ => false,
        };
        assert!(complete, "{messages:?}");
        assert_eq!(seen.to_tenant.last(), Some(&vec![0; 4]));
    }
}

/// Our version, then one type that is spoken here, or 0 to give up; behind `VeNCrypt` its version and a sub-type; the
/// answer to a challenge. Never a byte of the tenant's.
fn check_compute_grammar(messages: &[Vec<u8>]) {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let legal = match messages[..] {
        [] => true,
        [b"RFB 003.003\n", ref behind @ ..] => behind.is_empty() || is_answer(behind),
        [b"RFB 003.007\n" | b"RFB 003.008\n", ref behind @ ..] => match behind {
            [] | [[0..=2]] => true,
            [[2], behind @ ..] => is_answer(behind),
            [[19], behind @ ..] => match behind {
                [] | [[0, 2]] | [[0, 2], [0, 0, 1, 4 | 5]] => true,
                [[0, 2], [0, 0, 1, 5], behind @ ..] => is_answer(behind),
                _ => false,
            },
            _ => false,
        },
        _ => false,
    };
    assert!(legal, "{messages:?}");
}

fn is_answer(messages: &[&[u8]]) -> bool {
    matches!(messages, [answer] if answer.len() == 16)
}

/// Our version, then None alone or a refusal, then a result: 0 if and only if both sides agreed.
fn check_tenant_grammar(messages: &[Vec<u8>], established: bool) {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    match messages[..] {
        [] | [b"RFB 003.008\n"] | [b"RFB 003.008\n", [1, 1]] => assert!(!established),
        [b"RFB 003.008\n", [0, reason @ ..]] => check_reason(reason),
        [b"RFB 003.008\n", [1, 1], [0, 0, 0, 0]] => assert!(established, "a result that nobody gave"),
        [b"RFB 003.008\n", [1, 1], [_, _, _, _, reason @ ..]] => {
            assert!(!established);
            check_reason(reason);
        }
        _ => panic!("{messages:?}"),
    }
}

/// A length and exactly so many bytes: no NUL, and no more than is kept.
fn check_reason(reason: &[u8]) {
    let (length, text) = reason.split_first_chunk().expect("a length");
    assert_eq!(u32::from_be_bytes(*length) as usize, text.len());
    assert!(text.len() <= 256);
    assert!(!text.contains(&0));
}

fn sent(out: &[Transmit], to: Side) -> Vec<Vec<u8>> {
    out.iter().filter(|sent| sent.to == to).map(|sent| sent.message.as_bytes().to_vec()).collect()
}

impl Schedule {
    /// Reads any bytes as a schedule.
    pub(crate) fn read(data: &[u8]) -> Self {
        let (first, mut rest) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
        let mut chunks = Vec::new();
        while let Some((tag, behind)) = rest.split_first() {
            let side = if tag & FROM_COMPUTE == 0 { Side::Tenant } else { Side::Compute };
            let (chunk, behind) = behind.split_at(behind.len().min((tag & !FROM_COMPUTE).into()));
            chunks.push((side, chunk.to_vec()));
            rest = behind;
        }
        Self { spoken: Spoken::read(first), chunks }
    }

    fn stream(&self, side: Side) -> Vec<u8> {
        self.chunks.iter().filter(|(from, _)| *from == side).flat_map(|(_, chunk)| chunk.clone()).collect()
    }
}
