//! When a certificate expires: the one thing of X.509 that is needed here, for a metric.

/// `notAfter` of a certificate (RFC 5280 section 4.1), in seconds since 1970. `None` for what is no
/// certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut certificate = Der(Der(certificate).content(0x30)?);
    let mut signed = Der(certificate.content(0x30)?);
    if signed.0.first() == Some(&0xa0) {
        signed.skip()?; // version
    }
    signed.skip()?; // serialNumber
    signed.skip()?; // signature
    signed.skip()?; // issuer
    let mut validity = Der(signed.content(0x30)?);
    validity.skip()?; // notBefore
    let (tag, time) = validity.next()?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// A cursor over DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let len = if first < 0x80 {
            usize::from(first)
        } else {
            let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = behind;
            if bytes.len() > 4 {
                return None;
            }
            bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn content(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }

    fn skip(&mut self) -> Option<()> {
        self.next().map(|_| ())
    }
}

/// `UTCTime` (`YYMMDDHHMMSSZ`, until 2049) or `GeneralizedTime` (`YYYYMMDDHHMMSSZ`).
fn seconds(tag: u8, time: &str) -> Option<i64> {
    let digits = time.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let digits = match (tag, digits.len()) {
        (0x17, 12) => format!("{}{digits}", if &digits[..2] < "50" { "20" } else { "19" }),
        (0x18, 14) => digits.to_owned(),
        _ => return None,
    };
    let field = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let date_time = jiff::civil::DateTime::new(
        digits[..4].parse().ok()?,
        field(4, 6)?,
        field(6, 8)?,
        field(8, 10)?,
        field(10, 12)?,
        field(12, 14)?,
        0,
    );
    Some(date_time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, len[0], len[1]], content].concat()
    }

    fn certificate(with_version: bool, not_after: &[u8]) -> Vec<u8> {
        let version = if with_version { element(0xa0, &[2, 1, 2]) } else { Vec::new() };
        let validity = element(0x30, &[element(0x17, b"260101000000Z"), not_after.to_vec()].concat());
        let parts = [version, element(2, &[1]), element(0x30, &[]), element(0x30, &[]), validity];
        element(0x30, &element(0x30, &parts.concat()))
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        for with_version in [false, true] {
            let utc = certificate(with_version, &element(0x17, b"261124170811Z"));
            assert_eq!(not_after(&utc), Some(1_795_540_091));
            let generalized = certificate(with_version, &element(0x18, b"20500101000000Z"));
            assert_eq!(not_after(&generalized), Some(2_524_608_000));
        }
    }

    #[test]
    fn whatever_is_no_certificate_has_no_end() {
        let whole = certificate(true, &element(0x17, b"261124170811Z"));
        for len in 0..whole.len() {
            assert_eq!(not_after(&whole[..len]), None);
        }
        for time in [b"261324170811Z".as_slice(), b"26112417081Z", b"261124170811+", b"2611241708110"] {
            assert_eq!(not_after(&certificate(true, &element(0x17, time))), None, "{time:?}");
        }
    }
}
