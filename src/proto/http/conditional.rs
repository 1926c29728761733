//! Conditional requests for web files (RFC 9110 section 13), by entity tag or by date.
//!
//! `Range` and `If-Range` are ignored, which RFC 9110 section 14.2 allows: the answer is the whole file.

use std::time::SystemTime;

use super::headers::trim;
use super::request::Request;

/// What the head of a file's response needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Length in bytes of what is sent: of the compressed file when `gzip` is set.
    pub len: u64,
    /// Time of the last change in nanoseconds since 1970.
    pub modified_unix_ns: i128,
    /// A precompressed neighbour (`rfb.js.gz`) is sent in place of the file.
    pub gzip: bool,
    /// Content type of the file itself; see [`media_type`](super::media_type()).
    pub media_type: &'static str,
}

impl FileMeta {
    /// The entity tag, quotes included. It changes with length, time and compression.
    #[must_use]
    pub fn etag(&self) -> String {
        let variant = if self.gzip { "-gz" } else { "" };
        format!("\"{:x}-{:x}{variant}\"", self.len, self.modified_unix_ns)
    }

    /// Time of the last change in whole seconds since 1970; zero for files that are older.
    pub(super) fn modified_unix_s(&self) -> u64 {
        let seconds = self.modified_unix_ns.max(0) / 1_000_000_000;
        u64::try_from(seconds).unwrap_or(u64::MAX)
    }
}

/// What to answer to a request for a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// 200 and the file
    Full,
    /// 304
    NotModified,
}

/// Decides between the file and 304.
#[must_use]
pub fn evaluate(request: &Request, meta: &FileMeta) -> Evaluation {
    let mut tag_lists = request.header_values("If-None-Match").peekable();
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.3
    //# A recipient MUST ignore If-Modified-Since if the request contains an
    //# If-None-Match header field
    let not_modified = if tag_lists.peek().is_some() {
        let etag = meta.etag();
        tag_lists.any(|list| matches_any(list, etag.as_bytes()))
    } else {
        request
            .header("If-Modified-Since")
            .and_then(http_date_unix_s)
            .is_some_and(|since_unix_s| meta.modified_unix_s() <= since_unix_s)
    };
    if not_modified { Evaluation::NotModified } else { Evaluation::Full }
}

/// Whether the value of `If-None-Match` is `*` or lists `etag`, by the weak comparison of RFC 9110
/// section 8.8.3.2. A list that goes wrong counts up to there.
fn matches_any(list: &[u8], etag: &[u8]) -> bool {
    let mut rest = trim(list);
    if rest == b"*" {
        return true;
    }
    loop {
        let separators = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
        rest = &rest[separators..];
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        // A tag may hold commas, so the list cannot be split at them.
        let Some(opaque_len) =
            rest.strip_prefix(b"\"").and_then(|opaque| opaque.iter().position(|&b| b == b'"'))
        else {
            return false;
        };
        let (tag, behind) = rest.split_at(opaque_len + 2);
        if tag == etag {
            return true;
        }
        rest = behind;
    }
}

/// One of the three date formats of RFC 9110 section 5.6.7, in seconds since 1970.
fn http_date_unix_s(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HeadLimits, HeadParser};

    const META: FileMeta =
        FileMeta { len: 0x10, modified_unix_ns: 1_500_000_000, gzip: false, media_type: "text/css" };

    fn evaluate_with(headers: &str) -> Evaluation {
        let head = format!("GET /a HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (request, _) = HeadParser::new().parse(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        evaluate(&request, &META)
    }

    #[test]
    fn entity_tag_differs_by_length_time_and_compression() {
        let tags = [
            META.etag(),
            FileMeta { len: 0x11, ..META }.etag(),
            FileMeta { modified_unix_ns: 1_500_000_001, ..META }.etag(),
            FileMeta { gzip: true, ..META }.etag(),
        ];
        assert_eq!(tags[0], "\"10-59682f00\"");
        assert!((1..tags.len()).all(|index| !tags[..index].contains(&tags[index])));
    }

    #[test]
    fn if_none_match_compares_weakly_within_a_list() {
        for value in [
            "*",
            "\"10-59682f00\"",
            "W/\"10-59682f00\"",
            "\"x\", \"10-59682f00\"",
            "\"a, \\\",W/\"10-59682f00\" ,",
            "\"x\"\r\nIf-None-Match: \"10-59682f00\"",
        ] {
            let headers = format!("If-None-Match: {value}\r\n");
            assert_eq!(evaluate_with(&headers), Evaluation::NotModified, "{value}");
        }
        for value in [
            "",
            "10-59682f00",
            "\"10-59682f00",
            "\"10-59682f00-gz\"",
            "w/\"10-59682f00\"",
            "\"*\"",
            "\"x\" *",
        ] {
            let headers = format!("If-None-Match: {value}\r\n");
            assert_eq!(evaluate_with(&headers), Evaluation::Full, "{value}");
        }
    }

    #[test]
    fn if_modified_since_counts_whole_seconds_and_only_without_entity_tags() {
        let since = "If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT\r\n";
        assert_eq!(
            evaluate_with(since),
            Evaluation::NotModified,
            "1.5 s is not later than 1 s in this format"
        );
        assert_eq!(evaluate_with("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), Evaluation::Full);
        assert_eq!(evaluate_with("If-Modified-Since: yesterday\r\n"), Evaluation::Full);
        assert_eq!(evaluate_with(&format!("{since}If-None-Match: \"x\"\r\n")), Evaluation::Full);
        assert_eq!(evaluate_with("Range: bytes=0-1\r\n"), Evaluation::Full);
    }
}
