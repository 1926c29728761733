//! [`Headers`]: the header fields of one head, kept as ranges into it.

use std::ops::Range;

/// One field line: where its name and its value lie in the head. The value is trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The field lines of a head, in order. Borrows the head that the ranges point into.
#[derive(Clone, Copy)]
pub(super) struct Headers<'a> {
    pub(super) head: &'a [u8],
    pub(super) fields: &'a [Field],
}

impl<'a> Headers<'a> {
    /// All `(name, value)` pairs, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter().map(move |field| (self.slice(&field.name), self.slice(&field.value)))
    }

    /// The values of the lines called `name` (ASCII case-insensitive), in order.
    pub(super) fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(got, _)| got.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn slice(self, range: &Range<usize>) -> &'a [u8] {
        // The head outlives its ranges and does not change; an empty slice is only for the compiler.
        self.head.get(range.clone()).unwrap_or_default()
    }
}

/// The members of a comma-separated list: trimmed, empty ones dropped (RFC 9110 section 5.6.1).
pub(super) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// `bytes` without the SP and HTAB at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_content = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (bytes.iter().position(is_content), bytes.iter().rposition(is_content)) {
        (Some(first), Some(last)) => &bytes[first..=last],
        _ => &[],
    }
}

/// Whether `bytes` is a `token` of RFC 9110 section 5.6.2: a method or a field name.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_members_are_trimmed_and_never_empty() {
        let members: Vec<&[u8]> = list_members(b" a ,, b c\t,\t,d").collect();
        assert_eq!(members, [b"a".as_slice(), b"b c", b"d"]);
        assert_eq!(list_members(b"").count() + list_members(b" , ").count(), 0);
    }

    #[test]
    fn tokens_have_no_separators() {
        assert!(is_token(b"Sec-WebSocket-Key") && is_token(b"!#$%&'*+-.^_`|~09azAZ"));
        for not_a_token in [b"".as_slice(), b"a b", b"a\t", b"a:", b"a/b", b"\"a\"", b"\xe9"] {
            assert!(!is_token(not_a_token), "{not_a_token:?}");
        }
    }
}
