//! What holds for the PROXY header whatever a load balancer sends: shared by the fuzz target `proxy_header` and
//! `tests/fuzzed.rs`.

use consolegate::proto::proxy_header::{ProxyHeaderError, parse};

/// The longest header of any kind, above which the parser has to have decided.
const HEADER_BYTES_MAX: usize = 4_096;

/// Every invariant, for any bytes.
pub(crate) fn proxy_header(bytes: &[u8]) {
    let whole = parse(bytes);
    assert_eq!(parse(bytes), whole, "same input, same result");
    // Byte by byte, up to the one that decides.
    let decided = (0..=bytes.len().min(HEADER_BYTES_MAX)).find_map(|end| match parse(&bytes[..end]) {
        Ok(None) => None,
        result => Some((end, result)),
    });
    match (whole, decided) {
        (Ok(None), decided) => {
            assert_eq!(decided, None, "a longer input is no less known");
            assert!(bytes.len() < HEADER_BYTES_MAX, "undecided after {} bytes", bytes.len());
        }
        (Ok(Some(header)), decided) => {
            assert_eq!(decided, Some((header.len, whole)), "found at its last byte");
            assert!(header.len <= bytes.len().min(HEADER_BYTES_MAX));
            // What stands behind it is the stream's.
            let mut other = bytes[..header.len].to_vec();
            other.extend_from_slice(b"\xff\x00\r\n");
            assert_eq!(parse(&other), whole);
        }
        (Err(error), decided) => {
            let Some((_, Err(first))) = decided else { unreachable!("an error that shorter input hides") };
            // A bad version may be followed by a bad length: the first error counts, but both refuse.
            assert!(first == error || matches!(first, ProxyHeaderError::Version(_)), "{first} then {error}");
            assert!(error.to_string().len() <= 100, "no room for the proxy's bytes");
        }
    }
}
