//! `$name` in values, as `ConfigOpts._substitute` and Python's `string.Template` have it.

/// Replaces the references in `text`. `look_up` gives what a name stands for, or None if there is no such
/// option; then the reference stays as it is.
pub(super) fn substitute(text: &str, look_up: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find(['$', '\\']) {
        let (before, at) = rest.split_at(position);
        result.push_str(before);
        if at.starts_with("$$") || at.starts_with("\\$") {
            result.push('$');
            rest = &at[2..];
        } else if let Some((name, length)) = reference(at) {
            match look_up(name) {
                Some(value) => result.push_str(&value),
                None => result.push_str(&at[..length]),
            }
            rest = &at[length..];
        } else {
            result.push_str(&at[..1]);
            rest = &at[1..];
        }
    }
    result.push_str(rest);
    result
}

/// The name referred to at the start of `text`, and the length of the whole reference.
fn reference(text: &str) -> Option<(&str, usize)> {
    let after = text.strip_prefix('$')?;
    if let Some(braced) = after.strip_prefix('{') {
        let name = &braced[..name_len(braced)];
        return (!name.is_empty() && braced[name.len()..].starts_with('}')).then_some((name, name.len() + 3));
    }
    let name = &after[..name_len(after)];
    (!name.is_empty()).then_some((name, name.len() + 1))
}

/// Length of the name that starts here: a letter or `_`, then letters, digits, `_` and `.`.
fn name_len(text: &str) -> usize {
    if !text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return 0;
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    text.bytes().position(|byte| !is_name(byte)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        substitute(text, &mut |name| match name {
            "a" => Some("1".into()),
            "g.b" => Some("2".into()),
            "unset" => Some(String::new()),
            "cash" => Some("$a".into()),
            _ => None,
        })
    }

    #[test]
    fn both_forms_of_a_reference_are_replaced() {
        assert_eq!(expand("$a/${a}x-$g.b-${g.b}.c"), "1/1x-2-2.c");
        assert_eq!(expand("[$unset]"), "[]");
        assert_eq!(expand("$cash"), "$a");
    }

    #[test]
    fn a_dot_belongs_to_the_name() {
        assert_eq!(expand("$a.conf"), "$a.conf");
        assert_eq!(expand("${a}.conf"), "1.conf");
        assert_eq!(expand("$g.b-x"), "2-x");
    }

    #[test]
    fn two_escapes_give_a_dollar() {
        assert_eq!(expand("$$a \\$a"), "$a $a");
        assert_eq!(expand("p$$$a"), "p$1");
        assert_eq!(expand("\\x\\"), "\\x\\");
    }

    #[test]
    fn what_is_no_reference_stays() {
        for text in ["$", "a$", "$1", "${", "${}", "${a", "${a b}", "$é", "$nope", "${nope}"] {
            assert_eq!(expand(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn text_without_references_is_untouched(text in "[^$\\\\]*") {
            proptest::prop_assert_eq!(expand(&text), text);
        }

        #[test]
        fn any_text_is_substituted(text in "[$\\\\{}a-z.]{0,20}") {
            let _ = expand(&text);
        }
    }
}
