//! One side of the RFB handshake gone wild while the other behaves: what `rfb.rs` asserts of any schedule, with all of
//! the fuzzer's bytes spent on one side. Shared by the fuzz targets `rfb_tenant` and `rfb_compute` and by `tests/fuzzed.rs`.

use consolegate::proto::rfb::AuthScheme;

use crate::rfb::{self, FROM_COMPUTE, SCHEMES};

/// Longest chunk of a schedule.
const CHUNK_BYTES_MAX: usize = 0x7f;

/// Both types are offered, and whoever is asked for lets everybody in.
const LETS_IN_BY_NONE: &[u8] = b"RFB 003.008\n\x02\x01\x13\0\0\0\0";
const LETS_IN_BY_VENCRYPT: &[u8] = b"RFB 003.008\n\x02\x01\x13\0\x02\0\x01\0\0\x01\x04\x01\0\0\0\0";

/// The tenant sends `data` (behind a byte that says which schemes are listed, and one that says how it is cut), the
/// compute node is one that takes what our side prefers.
pub(crate) fn tenant(data: &[u8]) {
    let Some(([schemes, cut], stream)) = data.split_first_chunk::<2>() else { return };
    let compute = match SCHEMES[usize::from(*schemes) % SCHEMES.len()].first() {
        Some(AuthScheme::VeNCrypt) => LETS_IN_BY_VENCRYPT,
        Some(AuthScheme::None) | None => LETS_IN_BY_NONE,
    };
    let mut schedule = vec![*schemes];
    chunks(&mut schedule, FROM_COMPUTE, compute, CHUNK_BYTES_MAX);
    chunks(&mut schedule, 0, stream, cut_len(*cut));
    rfb::check(&schedule);
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
