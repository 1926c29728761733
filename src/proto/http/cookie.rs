//! The cookie `token`, found as Nova finds it with Python's `http.cookies.SimpleCookie`.
//!
//! Nova splits the header at `;` and feeds each part to one `SimpleCookie`
//! (`nova/console/websocketproxy.py`). What that class does to a part is copied in effect, quirks
//! included, because a part that one reader skips and another takes changes which token counts. One
//! quirk is left out: values that look like `Expires` dates, which no request carries.

use super::query::latin1_to_utf8;
use crate::secret::Secret;

/// Attribute names that are not allowed as cookie names (`Morsel._reserved`).
const RESERVED: [&str; 9] =
    ["expires", "path", "comment", "domain", "max-age", "secure", "httponly", "version", "samesite"];

/// Those of them that need no value (`Morsel._flags`).
const FLAGS: [&str; 2] = ["secure", "httponly"];

/// What is known after some parts of a cookie header.
#[derive(Default)]
pub(super) struct Jar {
    /// The value of the cookie called `token`, as the jar has it.
    stored: Option<Secret>,
    /// The token as of the last part that loaded without an error. Never empty.
    pub(super) token: Option<Secret>,
    /// Whether a part raised `CookieError`.
    pub(super) malformed: bool,
}

impl Jar {
    /// Loads the parts of one `Cookie` header, in order.
    pub(super) fn load_header(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b';') {
            // Nova strips each part, and to Python these two Latin-1 characters are space as well.
            let space = part.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0x85 | 0xa0)).count();
            if self.load(&part[space..]) {
                self.token = self.stored.clone().filter(|value| !value.is_empty());
            } else {
                self.malformed = true;
            }
        }
    }

    /// `SimpleCookie.load`: false when it raises `CookieError`. What came before the error stays loaded.
    fn load(&mut self, part: &[u8]) -> bool {
        let Some(items) = parse_items(part) else { return true };
        for Item { name, value, attribute } in items {
            if attribute {
                if !is_one_of(&RESERVED, name) {
                    return false;
                }
            } else if is_one_of(&RESERVED, name) || !name.iter().all(|&byte| is_cookie_name_byte(byte)) {
                return false;
            } else if name == b"token" {
                self.stored = Some(unquote(value));
            }
        }
        true
    }
}

struct Item<'a> {
    name: &'a [u8],
    value: &'a [u8],
    attribute: bool,
}

/// `BaseCookie.__parse_string`: the items of a part up to the first thing that is no item; `None` when
/// the part is dropped as a whole.
fn parse_items(part: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut rest = part;
    while let Some((name, value, behind)) = split_item(rest) {
        rest = behind;
        let cookie_seen = !items.is_empty();
        if let [b'$', attribute @ ..] = name {
            // "$Version" in front of the first cookie is about the header as a whole.
            if cookie_seen {
                items.push(Item { name: attribute, value: &[], attribute: true });
            }
        } else if is_one_of(&RESERVED, name) {
            if !cookie_seen || (value.is_none() && !is_one_of(&FLAGS, name)) {
                return None;
            }
            items.push(Item { name, value: &[], attribute: true });
        } else {
            items.push(Item { name, value: value?, attribute: false });
        }
    }
    Some(items)
}

type Split<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// One match of `_CookiePattern`: name, value if any, and what follows.
///
/// The pattern's name may itself hold `=` and is as short as possible. So the first `=` ends it, unless
/// nothing that is a value follows; then only an `=` at the end of the run can.
fn split_item(text: &[u8]) -> Option<Split<'_>> {
    let text = skip_space(text);
    let name_run = text.iter().position(|&byte| !is_pattern_byte(byte)).unwrap_or(text.len());
    if name_run == 0 {
        return None;
    }
    let run = &text[..name_run];
    let first_equals = run.iter().skip(1).position(|&byte| byte == b'=').map(|index| index + 1);
    let last_equals = (name_run > 1 && run.ends_with(b"=")).then_some(name_run - 1);
    for equals in [first_equals, last_equals].into_iter().flatten() {
        if let Some((value, rest)) = split_value(&text[equals + 1..]) {
            return Some((&text[..equals], Some(value), rest));
        }
    }
    if let [b'=', after @ ..] = skip_space(&text[name_run..])
        && let Some((value, rest)) = split_value(after)
    {
        return Some((run, Some(value), rest));
    }
    end_of_item(&text[name_run..]).map(|rest| (run, None, rest))
}

/// The value behind `=`: a quoted string, or a run of ordinary characters, followed by space or the end.
fn split_value(after_equals: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = skip_space(after_equals);
    let quoted = quoted_len(text);
    let plain = text.iter().position(|&byte| !is_value_byte(byte)).unwrap_or(text.len());
    for len in quoted.into_iter().chain([plain]) {
        if let Some(rest) = end_of_item(&text[len..]) {
            return Some((&text[..len], rest));
        }
    }
    // The pattern goes back: an empty value, ended by the space behind the `=`.
    (text.len() < after_equals.len()).then_some((&[], text))
}

/// Length of the double-quoted string at the start, quotes included. A backslash takes the next byte.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate();
    bytes.next().filter(|(_, byte)| **byte == b'"')?;
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(index + 1),
            b'\\' => {
                bytes.next()?;
            }
            _ => {}
        }
    }
    None
}

/// What follows an item that ends here: nothing, or at least one space.
fn end_of_item(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_space(text);
    (text.is_empty() || rest.len() < text.len()).then_some(rest)
}

/// A head has no other white space within a value than these two.
fn skip_space(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

/// `_unquote`: takes off quotes and backslashes. `\ooo` with three octal digits is one Latin-1 character.
fn unquote(value: &[u8]) -> Secret {
    let Some(quoted) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Secret::new(latin1_to_utf8(value));
    };
    let mut plain = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    loop {
        rest = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                plain.push(*byte);
                after
            }
            [] => break,
        };
    }
    let plain = Secret::new(plain);
    Secret::new(latin1_to_utf8(plain.expose()))
}

/// `_LegalKeyChars`
fn is_pattern_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_!#%&'~`><@,:/$*+-.^|)(?}{=".contains(&byte)
}

/// `_LegalValueChars`
fn is_value_byte(byte: u8) -> bool {
    is_pattern_byte(byte) || matches!(byte, b'[' | b']')
}

/// `_LegalChars`
fn is_cookie_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte)
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|candidate| name.eq_ignore_ascii_case(candidate.as_bytes()))
}
