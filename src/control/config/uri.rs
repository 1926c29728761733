//! The check of URIs that oslo.config has the Python library rfc3986 make.

use std::net::Ipv6Addr;

use super::values::{python_repr, quoted};

/// Whether `text` has a scheme, one of `schemes` unless there are none, a host, and a path that may stand in
/// a URI. An error is the reason, in that library's words.
pub(super) fn check(text: &str, schemes: &[&str]) -> Result<(), String> {
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, text),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['\\', '/', '?', '#']).unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        }
        None => ("", rest),
    };
    let missing = match (scheme.is_some(), has_host(authority)) {
        (true, true) => {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            // All else that may not stand in a path is percent-encoded first.
            if path.contains(['[', ']']) {
                return Err("path was found to be invalid".into());
            }
            return match scheme {
                Some(scheme) if !schemes.is_empty() && !schemes.contains(&scheme) => Err(format!(
                    "scheme was required to be one of [{}] but was {}",
                    quoted(schemes),
                    python_repr(scheme)
                )),
                _ => Ok(()),
            };
        }
        (true, false) => "host was",
        (false, true) => "scheme was",
        (false, false) => "host, scheme were",
    };
    Err(format!("{missing} required but missing"))
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'))
}

/// RFC 3986 section 3.2: user information, host and port. The host may be empty if a colon follows.
fn has_host(authority: &str) -> bool {
    if authority.is_empty() {
        return false;
    }
    let after_user = match authority.split_once('@') {
        Some((user, rest)) if !user.is_empty() && is_name(user, true) => rest,
        Some(_) => return false,
        None => authority,
    };
    let (host, port) = match after_user.find(']') {
        Some(end) if after_user.starts_with('[') => after_user.split_at(end + 1),
        _ => after_user.split_at(after_user.find(':').unwrap_or(after_user.len())),
    };
    // The colon before a port may be left out behind brackets.
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => is_literal(inner),
        None => is_name(host, false) && !is_mistyped_address(host),
    };
    is_host && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 3986 section 3.2.2, with or without the `:` of user information.
fn is_name(text: &str, colon: bool) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            b':' => colon,
            _ => byte.is_ascii_alphanumeric() || b"._~-!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Four numbers of which one is above 255.
fn is_mistyped_address(text: &str) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|part| number(part))
        && parts.iter().any(|part| part.parse::<u8>().is_err())
}

/// What stands in brackets: an IPv6 address, with a zone (RFC 6874) or not, or one of the future.
fn is_literal(text: &str) -> bool {
    if let Some(future) = text.strip_prefix('v') {
        return future.split_once('.').is_some_and(|(version, rest)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !rest.is_empty()
                && !rest.contains('%')
                && is_name(rest, true)
        });
    }
    match text.split_once("%25") {
        Some((address, zone)) => {
            address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && is_name(zone, false)
        }
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_host_are_needed() {
        for text in [
            "http://127.0.0.1:6080/vnc_auto.html",
            "wss://[2001:db8::1]:6083/?token=1#x",
            "http://u:p@h",
            "http://:80/",
            "a+b-c.d://h%20h",
            "http://h:",
        ] {
            assert_eq!(check(text, &[]), Ok(()), "{text}");
        }
        for (text, missing) in [
            ("", "host, scheme were"),
            ("h:6080/x", "host was"),
            ("/x", "host, scheme were"),
            ("//h/x", "scheme was"),
            ("1http://h", "host, scheme were"),
            ("http://", "host was"),
            ("http:///x", "host was"),
            ("http://[::1", "host was"),
            ("http://h:port/", "host was"),
            ("http://300.1.1.1/", "host was"),
            ("http://a b/", "host was"),
        ] {
            assert_eq!(check(text, &[]), Err(format!("{missing} required but missing")), "{text}");
        }
        assert_eq!(check("http://h/[x]", &[]), Err("path was found to be invalid".into()));
        assert_eq!(check("https://h/", &["http", "https"]), Ok(()));
        assert_eq!(
            check("HTTP://h/", &["http", "https"]),
            Err("scheme was required to be one of ['http', 'https'] but was 'HTTP'".into())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_uri_or_not(text in "[a-z:/@%\\[\\].0-9]{0,20}") {
            let _ = check(&text, &["http"]);
        }
    }
}
