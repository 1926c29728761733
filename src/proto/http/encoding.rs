//! Content negotiation, as far as it goes here: gzip or not.

use super::headers::trim;
use super::request::Request;

/// Whether the tenant takes gzip (RFC 9110 section 12.5.3). Without `Accept-Encoding` the plain file is
/// sent, though the RFC would allow either.
#[must_use]
pub fn accepts_gzip(request: &Request) -> bool {
    let mut any_other = false;
    for member in request.header_list("Accept-Encoding") {
        let mut parts = member.split(|&byte| byte == b';').map(trim);
        let coding = parts.next().unwrap_or_default();
        let wanted = parts.all(is_nonzero_quality);
        // "x-gzip" is the same coding (RFC 9110 section 8.4.1.3).
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            return wanted;
        }
        if coding == b"*" {
            any_other = wanted;
        }
    }
    any_other
}

/// Whether `parameter` is a `q` above zero. What cannot be read counts as zero: the plain file is
/// always right.
fn is_nonzero_quality(parameter: &[u8]) -> bool {
    let [b'q' | b'Q', b'=', quality @ ..] = parameter else { return false };
    match quality {
        [b'1'] => true,
        [b'1', b'.', decimals @ ..] => decimals.len() <= 3 && decimals.iter().all(|&digit| digit == b'0'),
        [b'0', b'.', decimals @ ..] => {
            decimals.len() <= 3
                && decimals.iter().all(u8::is_ascii_digit)
                && decimals.iter().any(|&digit| digit != b'0')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HeadLimits, HeadParser};

    #[test]
    fn gzip_is_sent_only_where_it_is_wanted() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("GZIP", true),
            ("x-gzip;q=0.5", true),
            ("br, gzip ; q=0.001", true),
            ("*", true),
            ("*;q=0, gzip;q=1.000", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("gzip;q=high", false),
            ("gzip;level=9", false),
            ("*;q=0", false),
            ("identity", false),
            ("gzipped", false),
            ("", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {value}\r\n\r\n");
            let (request, _) =
                HeadParser::new().parse(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            assert_eq!(accepts_gzip(&request), expected, "{value}");
        }
    }
}
