//! Query parameters, read as Python's `urllib.parse.parse_qs` reads them.
//!
//! Nova looks for the token with it, so the two have to agree on every byte.

use crate::secret::Secret;

/// The value of the last parameter called `name` that is not blank.
///
/// Parameters are separated by `&` alone, `+` is a space, escapes are decoded once, malformed escapes
/// stay as they are. Like Python's, the result is UTF-8: bytes outside of ASCII count as Latin-1, and
/// escapes that are not UTF-8 become U+FFFD.
pub(super) fn last_value(query: &[u8], name: &str) -> Option<Secret> {
    query
        .rsplit(|&byte| byte == b'&')
        .filter_map(|parameter| {
            let equals = parameter.iter().position(|&byte| byte == b'=')?;
            Some((&parameter[..equals], &parameter[equals + 1..]))
        })
        .find(|(got, value)| !value.is_empty() && unquote_plus(got).expose() == name.as_bytes())
        .map(|(_, value)| unquote_plus(value))
}

/// `urllib.parse.unquote(text.replace("+", " "))`, in UTF-8.
fn unquote_plus(text: &[u8]) -> Secret {
    let mut decoded = Vec::with_capacity(text.len());
    // Python decodes each run of ASCII on its own, so an escape does not join with a raw byte behind it.
    for run in text.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
        if run.is_ascii() {
            let bytes = Secret::new(percent_decode(run, true));
            decoded.extend_from_slice(String::from_utf8_lossy(bytes.expose()).as_bytes());
        } else {
            decoded.extend_from_slice(&latin1_to_utf8(run));
        }
    }
    Secret::new(decoded)
}

/// Decodes `%41`; a `%` without two hexadecimal digits stays. With `plus`, `+` becomes a space.
fn percent_decode(text: &[u8], plus: bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if let Some((byte, behind)) = split_escape(rest) {
            decoded.push(byte);
            rest = behind;
        } else {
            decoded.push(if plus && *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    decoded
}

/// When `text` starts with a percent escape: its byte, and what follows it.
pub(super) fn split_escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else { return None };
    Some((hex_digit(*high)? << 4 | hex_digit(*low)?, rest))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// What Python makes of header bytes: each is one Latin-1 character.
pub(super) fn latin1_to_utf8(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()
}
