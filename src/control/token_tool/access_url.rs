//! The URL that a user is given, composed as Nova composes it
//! (`nova/objects/console_auth_token.py`, `ConsoleAuthToken.access_url`).

use crate::console::ConsoleType;
use crate::control::sql::decode;

/// The base URL of a console type when nothing is configured (`nova/conf/vnc.py`, `spice.py`,
/// `serial_console.py`, `mks.py`, and `rdp.py` until Nova 28).
pub(super) fn default_base(console_type: ConsoleType) -> &'static str {
    match console_type {
        ConsoleType::NoVnc => "http://127.0.0.1:6080/vnc_auto.html",
        ConsoleType::SpiceHtml5 => "http://127.0.0.1:6082/spice_auto.html",
        ConsoleType::Serial => "ws://127.0.0.1:6083/",
        ConsoleType::XvpVnc => "http://127.0.0.1:6081/console",
        ConsoleType::RdpHtml5 => "http://127.0.0.1:6083/",
        ConsoleType::WebMks => "http://127.0.0.1:6090/",
        ConsoleType::SpiceDirect => "http://127.0.0.1:13002/nova",
    }
}

/// `base` with the token in it.
///
/// noVNC 1.1 dropped its own `token` parameter, so for noVNC the token travels in `path`, behind the
/// path the base URL may hold already; every other page is given `token` itself.
pub(super) fn access_url(console_type: ConsoleType, base: &str, token: &str) -> String {
    if console_type != ConsoleType::NoVnc {
        return format!("{base}?token={token}");
    }
    let (base, fragment) =
        base.split_once('#').map_or((base, None), |(base, fragment)| (base, Some(fragment)));
    let (page, query) = base.split_once('?').unwrap_or((base, ""));
    let mut parameters = parse_query(query);
    match parameters.iter_mut().find(|(name, _)| name == "path") {
        Some((_, values)) => {
            // Only the first `path` survives, as with `qparams.get('path')[0]`.
            values.truncate(1);
            values.iter_mut().for_each(|path| *path = format!("{path}?token={token}"));
        }
        None => parameters.push(("path".to_owned(), vec![format!("?token={token}")])),
    }
    let mut url = lower_case_scheme(page);
    let mut separator = '?';
    for (name, values) in &parameters {
        for value in values {
            url.push(separator);
            separator = '&';
            quote_plus(name, &mut url);
            url.push('=');
            quote_plus(value, &mut url);
        }
    }
    match fragment {
        Some(fragment) if !fragment.is_empty() => url + "#" + fragment,
        _ => url,
    }
}

/// `urllib.parse.urlparse` lower-cases the scheme and nothing else.
fn lower_case_scheme(page: &str) -> String {
    match page.split_once(':') {
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
            scheme.to_ascii_lowercase() + ":" + rest
        }
        _ => page.to_owned(),
    }
}

/// `urllib.parse.parse_qs`: decoded names in the order of their first appearance, each with its decoded
/// values; parameters without a value are dropped.
fn parse_query(query: &str) -> Vec<(String, Vec<String>)> {
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if value.is_empty() {
            continue;
        }
        let (name, value) = (decode(name, true), decode(value, true));
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name, vec![value])),
        }
    }
    parameters
}

/// `urllib.parse.quote_plus`.
fn quote_plus(text: &str, url: &mut String) {
    use std::fmt::Write;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => url.push(char::from(byte)),
            b' ' => url.push('+'),
            // Writing to a String cannot fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "11111111-2222-4333-8444-555555555555";

    fn novnc(base: &str) -> String {
        access_url(ConsoleType::NoVnc, base, TOKEN)
    }

    #[test]
    fn novnc_token_travels_in_the_path_parameter() {
        assert_eq!(
            novnc(default_base(ConsoleType::NoVnc)),
            format!("http://127.0.0.1:6080/vnc_auto.html?path=%3Ftoken%3D{TOKEN}")
        );
    }

    #[test]
    fn novnc_keeps_the_base_urls_own_path_and_parameters() {
        assert_eq!(
            novnc("HTTPS://c.example/vnc_lite.html?a=1&path=sub/dir&b=x+y&path=other&c=&a=2#top"),
            format!("https://c.example/vnc_lite.html?a=1&a=2&path=sub%2Fdir%3Ftoken%3D{TOKEN}&b=x+y#top")
        );
    }

    #[test]
    fn other_types_get_the_token_appended() {
        for (console_type, base) in [
            (ConsoleType::Serial, "ws://127.0.0.1:6083/"),
            (ConsoleType::SpiceHtml5, "http://127.0.0.1:6082/spice_auto.html"),
        ] {
            assert_eq!(default_base(console_type), base);
            assert_eq!(access_url(console_type, base, TOKEN), format!("{base}?token={TOKEN}"));
        }
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(decode("%zz%4", true), "%zz%4");
        assert_eq!(decode("%C3%BC+%2b", true), "\u{fc} +");
        let mut quoted = String::new();
        quote_plus("\u{fc} ~/", &mut quoted);
        assert_eq!(quoted, "%C3%BC+~%2F");
    }
}
