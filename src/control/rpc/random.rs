//! Names nobody else chooses, and chance. From the TLS library's generator, which never blocks.

use std::fmt::Write as _;

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Fails only where the kernel has no getrandom(2); ids of zeroes then, which a broker still tells apart
    // by our process's queue.
    let _ = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
    bytes
}

/// 32 hexadecimal digits, as `uuid.uuid4().hex` gives them.
pub(super) fn hex32() -> String {
    bytes::<16>().iter().fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A version 4 UUID (RFC 9562 section 5.4).
pub(super) fn uuid4() -> String {
    let mut id = u128::from_be_bytes(bytes());
    id = id & !(0xf << 76) | 4 << 76;
    id = id & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A number below `end`, for choices where a slight preference for small ones is of no matter.
pub(super) fn below(end: usize) -> usize {
    usize::from_be_bytes(bytes()) % end.max(1)
}

/// A fraction from 0 up to 1.
pub(super) fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_differ() {
        let (first, second) = (uuid4(), uuid4());
        assert_ne!(first, second);
        let parts: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&first[14..15], "4");
        assert!("89ab".contains(&first[19..20]));
        let (first, second) = (hex32(), hex32());
        assert_ne!(first, second);
        assert!(first.len() == 32 && first.chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn chance_stays_in_its_range() {
        assert!((0..1_000).map(|_| below(3)).all(|number| number < 3));
        assert_eq!(below(0), 0);
        assert!((0..1_000).map(|_| fraction()).all(|number| (0.0..1.0).contains(&number)));
    }
}
