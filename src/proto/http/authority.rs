//! [`Authority`]: `host[:port]` as `Host`, `Origin` and absolute-form targets write it.

/// A parsed authority without user information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// The host as written, less the brackets of an IPv6 address. May be empty.
    pub(super) host: &'a str,
    /// The port, when one is written.
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses all of `bytes` (RFC 3986 section 3.2.2 and 3.2.3); `None` when it is something else.
    ///
    /// Stricter than browsers on purpose: whatever two readers could see two hosts in (`@`, `\`,
    /// controls, non-ASCII) is refused.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (host, after) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (address, after)
            }
            None => {
                let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
                if !host.bytes().all(is_reg_name_byte) {
                    return None;
                }
                (host, after)
            }
        };
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }
}

/// Whether two host names mean the same host: without regard to case, to brackets, or to one dot at
/// the end. Ports are left out by the callers.
pub(super) fn same_host(a: &str, b: &str) -> bool {
    fn bare(host: &str) -> &str {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        host.strip_suffix('.').unwrap_or(host)
    }
    bare(a).eq_ignore_ascii_case(bare(b))
}

/// `unreserved`, `sub-delims` and the `%` of an escape.
fn is_reg_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).map(|a| (a.host, a.port));
        assert_eq!(parse("h:6080"), Some(("h", Some(6080))));
        assert_eq!(parse("console.example.org"), Some(("console.example.org", None)));
        assert_eq!(parse("[::1]:6080"), Some(("::1", Some(6080))));
        assert_eq!(parse("[2001:db8::1]"), Some(("2001:db8::1", None)));
        assert_eq!(parse("under_score:"), Some(("under_score", None)));
        assert_eq!(parse(""), Some(("", None)));
    }

    #[test]
    fn anything_with_two_readings_is_refused() {
        for text in [
            "user@host",
            "a:b@c",
            "h:99999",
            "h:+1",
            "h:80x",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[h]",
            "a b",
            "a/b",
            "a\\b",
            "a#b",
            "a?b",
            "h:80:80",
            "\u{e9}.example",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Authority::parse(b"\xff"), None);
    }

    #[test]
    fn case_brackets_and_one_final_dot_do_not_make_another_host() {
        assert!(same_host("Console.Example.org.", "console.example.ORG"));
        assert!(same_host("[::1]", "::1"));
        assert!(!same_host("example.org..", "example.org"));
        assert!(!same_host("evil-example.org", "example.org"));
    }
}
