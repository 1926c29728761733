//! One side of the RFB handshake gone wild while the other behaves: what `rfb.rs` asserts of any schedule, with all of
//! the fuzzer's bytes spent on one side. Shared by the fuzz targets `rfb_tenant` and `rfb_compute` and by `tests/fuzzed.rs`.

use consolegate::proto::rfb::AuthScheme;

use crate::rfb::{self, FROM_COMPUTE, SCHEMES, Spoken};

/// Longest chunk of a schedule.
const CHUNK_BYTES_MAX: usize = 0x7f;

/// Both types are offered, and whoever is asked for lets everybody in.
const LETS_IN_BY_NONE: &[u8] = b"RFB 003.008\n\x02\x01\x13\0\0\0\0";
const LETS_IN_BY_VENCRYPT: &[u8] = b"RFB 003.008\n\x02\x01\x13\0\x02\0\x01\0\0\x01\x04\x01\0\0\0\0";

/// Those that want a password, or speak an older RFB: what an operator has to have allowed.
const WANT_MORE: [&[u8]; 6] = [
    b"RFB 003.008\n\x01\x02sixteen bytes---\0\0\0\0",
    b"RFB 003.008\n\x01\x13\0\x02\0\x01\0\0\x01\x05\x01sixteen bytes---\0\0\0\0",
    b"RFB 003.003\n\0\0\0\x01",
    b"RFB 003.003\n\0\0\0\x02sixteen bytes---\0\0\0\0",
    b"RFB 003.007\n\x01\x01",
    b"RFB 003.007\n\x01\x02sixteen bytes---\0\0\0\0",
];

/// The tenant sends `data` (behind a byte that says what the operator decided and, by how often [`Spoken::COUNT`] is in
/// it, what the compute node is; and one that says how it is cut), the compute node lets it in.
pub(crate) fn tenant(data: &[u8]) {
    let Some(([first, cut], stream)) = data.split_first_chunk::<2>() else { return };
    let wants_more = usize::from(first / Spoken::COUNT).checked_sub(1).and_then(|which| WANT_MORE.get(which));
    let compute = match SCHEMES[usize::from(first % Spoken::COUNT) % SCHEMES.len()].first() {
        _ if wants_more.is_some() => wants_more.copied().unwrap_or_default(),
        Some(AuthScheme::VeNCrypt) => LETS_IN_BY_VENCRYPT,
        Some(AuthScheme::None) | None => LETS_IN_BY_NONE,
    };
    let mut schedule = vec![*first];
    chunks(&mut schedule, FROM_COMPUTE, compute, CHUNK_BYTES_MAX);
    chunks(&mut schedule, 0, stream, cut_len(*cut));
    rfb::check(&schedule);
}

/// What is said to the compute node in a schedule, message by message, and whether a relay begins.
#[allow(dead_code, reason = "for tests/fuzzed.rs")]
pub(crate) fn said_to_compute(data: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let schedule = rfb::Schedule::read(data);
    let seen = rfb::converse(&schedule.spoken, &schedule.chunks);
    (seen.to_compute, matches!(seen.end, rfb::End::Established { .. }))
}

/// The compute node sends `data`, the tenant is a usual one.
pub(crate) fn compute(data: &[u8]) {
    let Some(([schemes, cut], stream)) = data.split_first_chunk::<2>() else { return };
    let mut schedule = vec![*schemes];
    chunks(&mut schedule, 0, b"RFB 003.008\n\x01\x01", CHUNK_BYTES_MAX);
    chunks(&mut schedule, FROM_COMPUTE, stream, cut_len(*cut));
    rfb::check(&schedule);
}

fn cut_len(cut: u8) -> usize {
    usize::from(cut).clamp(1, CHUNK_BYTES_MAX)
}

fn chunks(schedule: &mut Vec<u8>, side: u8, stream: &[u8], len: usize) {
    for piece in stream.chunks(len) {
        schedule.push(side | u8::try_from(piece.len()).unwrap_or(0));
        schedule.extend_from_slice(piece);
    }
}
