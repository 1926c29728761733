//! Types of options: how their text is read, and what is said of text that does not fit.
//!
//! The rules and the words are those of `oslo_config/types.py`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::number::{general, parse_float, parse_int};
use super::uri;
use crate::secret::Secret;
use crate::session::Network;

/// The type of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// true/1/on/yes or false/0/off/no, in any case
    Bool,
    /// A decimal number between these, inclusive
    Int {
        /// Smallest
        min: i64,
        /// Largest
        max: i64,
    },
    /// A number with a fraction between these, inclusive
    Float {
        /// Smallest, or minus infinity
        min: f64,
        /// Largest, or infinity
        max: f64,
    },
    /// A TCP port, 0 to 65535
    Port,
    /// Any text
    Str,
    /// One of these, exactly
    Choice(&'static [&'static str]),
    /// One of these, in any case
    ChoiceAnyCase(&'static [&'static str]),
    /// Text items separated by commas
    List,
    /// Items out of these, separated by commas
    ListOf(&'static [&'static str]),
    /// Any text; all that is configured counts, in the order of the files
    Multi,
    /// An address or a host name as RFC 1123 allows it
    HostAddress,
    /// The same, and `_` in names
    HostDomain,
    /// `FIRST:LAST`, two numbers
    PortRange,
    /// A URI with scheme and host (RFC 3986)
    Uri,
    /// One whose scheme is http or https
    WebUri,
    /// Networks such as `192.0.2.0/24`, separated by commas
    Networks,
}

/// A value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing configured and no default, or an empty number
    Unset,
    /// Of [`Kind::Bool`]
    Bool(bool),
    /// Of [`Kind::Int`] and [`Kind::Port`]
    Int(i64),
    /// Of [`Kind::Float`], finite
    Float(f64),
    /// Of the kinds that are one text
    Str(String),
    /// Of [`Kind::Multi`] and the kinds of lists
    List(Vec<String>),
    /// Of an option that is declared secret
    Secret(Secret),
}

impl fmt::Display for Value {
    /// As Python's `str` has it, which is what a `$reference` to the option becomes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => number.fmt(f),
            // With its point, also where nothing is behind it.
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Str(text) => f.write_str(text),
            Self::List(items) => write!(f, "[{}]", quoted(items)),
            Self::Secret(_) => f.write_str("***"),
        }
    }
}

/// A range of [`Kind::Int`] without bounds. Python's numbers have none; ours saturate.
pub(super) const ANY_INT: Kind = Kind::Int { min: i64::MIN, max: i64::MAX };
/// A range of [`Kind::Float`] without bounds.
pub(super) const ANY_FLOAT: Kind = Kind::Float { min: f64::NEG_INFINITY, max: f64::INFINITY };
/// Longest list of checked items. Without a bound the search for items with commas in them is quadratic.
const CHECKED_ITEMS_MAX: usize = 1_000;

impl Kind {
    /// The value of an option that has neither text nor default.
    pub(super) fn unset(self) -> Value {
        if self == Self::Multi { Value::List(Vec::new()) } else { Value::Unset }
    }

    /// Reads `text`. An error is the reason, in oslo.config's words.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bool => parse_bool(text).map(Value::Bool),
            Self::Int { min, max } => parse_int(text, min, max),
            Self::Float { min, max } => parse_float(text, min, max),
            Self::Port => parse_int(text, 0, i64::from(u16::MAX)),
            Self::Str => Ok(Value::Str(text.to_owned())),
            Self::Choice(choices) => parse_choice(text, choices).map(Value::Str),
            Self::ChoiceAnyCase(choices) => {
                let known = choices.iter().any(|choice| choice.eq_ignore_ascii_case(text));
                if known {
                    Ok(Value::Str(text.to_owned()))
                } else {
                    parse_choice(text, choices).map(Value::Str)
                }
            }
            Self::List => {
                items(text).map(|item| Ok(item.to_owned())).collect::<Result<_, _>>().map(Value::List)
            }
            Self::ListOf(choices) => parse_items(text, |item| parse_choice(item, choices)),
            Self::Multi => Ok(Value::List(vec![text.to_owned()])),
            Self::HostAddress => parse_host(text, false).map(Value::Str),
            Self::HostDomain => parse_host(text, true).map(Value::Str),
            Self::PortRange => parse_port_range(text).map(Value::Str),
            Self::Uri => uri::check(text, &[]).map(|()| Value::Str(text.to_owned())),
            Self::WebUri => uri::check(text, &["http", "https"]).map(|()| Value::Str(text.to_owned())),
            Self::Networks => parse_items(text, |item| {
                item.parse::<Network>().map(|_| item.to_owned()).map_err(|error| error.to_string())
            }),
        }
    }
}

impl fmt::Display for Kind {
    /// As `repr` of oslo.config's type, which its messages about the command line contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bool => f.write_str("Boolean"),
            Self::Int { min: i64::MIN, max: i64::MAX } => f.write_str("Integer"),
            Self::Int { min, max: i64::MAX } => write!(f, "Integer(min={})", general(min as f64)),
            Self::Int { min, max } => {
                write!(f, "Integer(min={}, max={})", general(min as f64), general(max as f64))
            }
            Self::Float { min, max } => match (min.is_finite(), max.is_finite()) {
                (false, false) => f.write_str("Float"),
                (true, false) => write!(f, "Float(min={})", general(min)),
                (false, true) => write!(f, "Float(max={})", general(max)),
                (true, true) => write!(f, "Float(min={}, max={})", general(min), general(max)),
            },
            Self::Port => f.write_str("Port(min=0, max=65535)"),
            Self::Str => f.write_str("String"),
            Self::Choice(choices) | Self::ChoiceAnyCase(choices) => {
                write!(f, "String(choices=[{}])", quoted(choices))
            }
            Self::List => f.write_str("List of String"),
            Self::ListOf(choices) => write!(f, "List of String(choices=[{}])", quoted(choices)),
            Self::Multi => f.write_str("Multi of String"),
            Self::HostAddress => f.write_str("HostAddress"),
            Self::HostDomain => f.write_str("HostDomain"),
            Self::PortRange => write!(f, "String(regex={})", python_repr(PORT_RANGE)),
            Self::Uri | Self::WebUri => f.write_str("URI"),
            Self::Networks => f.write_str("List of Network"),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("Unexpected boolean value {}", python_repr(text))),
    }
}

fn parse_choice(text: &str, choices: &[&str]) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("Valid values are [{}], but found {}", choices.join(", "), python_repr(text)))
}

/// Items of a list. Commas at the end count for nothing, empty items elsewhere are kept.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim().trim_end_matches(',');
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

/// Items that are checked. An item that does not pass is tried again together with the next one, as commas
/// may be part of it; if nothing helps, the reason is that of the longest try.
fn parse_items(text: &str, parse: impl Fn(&str) -> Result<String, String>) -> Result<Value, String> {
    let parts: Vec<&str> = items(text).collect();
    if parts.len() > CHECKED_ITEMS_MAX {
        return Err(format!("More than {CHECKED_ITEMS_MAX} items"));
    }
    let mut list = Vec::new();
    let mut rest = text.trim().trim_end_matches(',');
    let mut left = parts.len();
    while left > 0 {
        let mut taken = 0;
        let mut parts_taken = 0;
        loop {
            taken += rest[taken..].find(',').unwrap_or(rest.len() - taken);
            parts_taken += 1;
            match parse(rest[..taken].trim()) {
                Ok(item) => {
                    list.push(item);
                    break;
                }
                Err(reason) if parts_taken == left => return Err(reason),
                Err(_) => taken += 1,
            }
        }
        left -= parts_taken;
        rest = rest.get(taken + 1..).unwrap_or("");
    }
    Ok(Value::List(list))
}

const PORT_RANGE: &str = r"^\d+:\d+$";

fn parse_port_range(text: &str) -> Result<String, String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(':') {
        Some((first, last)) if is_number(first) && is_number(last) => Ok(text.to_owned()),
        _ => Err(format!("Value {} doesn't match regex {}", python_repr(text), python_repr(PORT_RANGE))),
    }
}

fn parse_host(text: &str, underscore: bool) -> Result<String, String> {
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || underscore && byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    // A last label of digits alone is a mistyped address; `_` does not make a name of it.
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_name = last.bytes().any(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if text.len() <= 253 && labels && is_name {
        return Ok(name.to_owned());
    }
    Err(format!("{text} is not a valid host address"))
}

pub(super) fn quoted(items: &[impl AsRef<str>]) -> String {
    items.iter().map(|item| python_repr(item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A string as Python's `repr` prints it, the form of oslo.config's messages.
pub(super) fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut repr = String::with_capacity(text.len() + 2);
    repr.push(quote);
    for character in text.chars() {
        match character {
            '\\' => repr.push_str("\\\\"),
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            '\t' => repr.push_str("\\t"),
            c if c == quote => repr.extend(['\\', c]),
            c if c.is_control() => repr.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => repr.push(c),
        }
    }
    repr.push(quote);
    repr
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Result<Value, String> {
        Ok(Value::List(items.iter().map(|item| (*item).to_owned()).collect()))
    }

    #[test]
    fn booleans_have_eight_spellings() {
        for (text, expected) in [("true", true), ("ON", true), ("1", true), ("Yes", true)] {
            assert_eq!(Kind::Bool.parse(text), Ok(Value::Bool(expected)));
        }
        for text in ["False", "off", "0", "no"] {
            assert_eq!(Kind::Bool.parse(text), Ok(Value::Bool(false)));
        }
        assert_eq!(Kind::Bool.parse("maybe"), Err("Unexpected boolean value 'maybe'".into()));
        assert_eq!(Kind::Bool.parse(""), Err("Unexpected boolean value ''".into()));
    }

    #[test]
    fn choices_are_exact() {
        let choice = Kind::Choice(&["rpc", "off"]);
        assert_eq!(choice.parse("off"), Ok(Value::Str("off".into())));
        assert_eq!(choice.parse("Off"), Err("Valid values are [rpc, off], but found 'Off'".into()));
        assert_eq!(choice.to_string(), "String(choices=['rpc', 'off'])");
    }

    #[test]
    fn lists_keep_inner_empty_items_only() {
        assert_eq!(Kind::List.parse("a, b ,c"), list(&["a", "b", "c"]));
        assert_eq!(Kind::List.parse("a,,b,,"), list(&["a", "", "b"]));
        assert_eq!(Kind::List.parse("a,\nb"), list(&["a", "b"]));
        assert_eq!(Kind::List.parse(" "), list(&[]));
        assert_eq!(Kind::List.parse(","), list(&[]));
        let schemes = Kind::ListOf(&["none", "vencrypt"]);
        assert_eq!(schemes.parse("vencrypt,none"), list(&["vencrypt", "none"]));
        assert_eq!(schemes.parse("tls"), Err("Valid values are [none, vencrypt], but found 'tls'".into()));
    }

    #[test]
    fn host_addresses_have_no_brackets_and_no_underscore() {
        for text in ["192.0.2.1", "::1", "host", "host-1.example", "1.example"] {
            assert_eq!(Kind::HostAddress.parse(text), Ok(Value::Str(text.into())), "{text}");
        }
        assert_eq!(Kind::HostAddress.parse("host.example."), Ok(Value::Str("host.example".into())));
        for text in ["", "[::1]", "a_b", "300.1.1.1", "-a", "a..b", "*"] {
            assert_eq!(Kind::HostAddress.parse(text), Err(format!("{text} is not a valid host address")));
        }
    }

    #[test]
    fn host_domains_may_have_underscores() {
        for text in ["host_1", "_a.b_c", "a_b.example", "192.0.2.1", "::1", "a_1-"] {
            let expected = if text.ends_with('-') {
                Err(format!("{text} is not a valid host address"))
            } else {
                Ok(Value::Str(text.into()))
            };
            assert_eq!(Kind::HostDomain.parse(text), expected, "{text}");
        }
        assert_eq!(Kind::HostDomain.parse("a_b.example."), Ok(Value::Str("a_b.example".into())));
        let long = format!("{}.b", "a".repeat(64));
        // `_` and digits alone are no name, as oslo.config's `HostDomain` has it.
        for text in ["", "1__0", "a.1_0", "192.0.2.256", "[::1]", "a b", "-a_b", "a..b", &long] {
            assert_eq!(Kind::HostDomain.parse(text), Err(format!("{text} is not a valid host address")));
        }
    }

    #[test]
    fn port_ranges_are_two_numbers_and_nothing_else() {
        for text in ["10000:20000", "0:0", "9:1", "99999:1"] {
            assert_eq!(Kind::PortRange.parse(text), Ok(Value::Str(text.into())), "{text}");
        }
        for text in ["", ":", "1", "1:", ":2", "1:2:3", " 1:2", "1:2 ", "-1:2", "1-2", "a:b", "1:\u{b2}"] {
            let expected = format!("Value {} doesn't match regex '^\\\\d+:\\\\d+$'", python_repr(text));
            assert_eq!(Kind::PortRange.parse(text), Err(expected));
        }
    }

    #[test]
    fn an_item_that_does_not_fit_is_tried_together_with_the_next() {
        let choices = Kind::ListOf(&["a", "b,c", "d, e, f"]);
        assert_eq!(choices.parse("a,b,c"), list(&["a", "b,c"]));
        assert_eq!(choices.parse("b,c, a ,b,c,"), list(&["b,c", "a", "b,c"]));
        assert_eq!(choices.parse(" d, e, f ,a"), list(&["d, e, f", "a"]));
        // The reason is that of the longest try.
        let reason = |found: &str| Err(format!("Valid values are [a, b,c, d, e, f], but found '{found}'"));
        assert_eq!(choices.parse("a,x,b,c"), reason("x,b,c"));
        assert_eq!(choices.parse("b"), reason("b"));
        assert_eq!(choices.parse("a,,b,c"), reason(",b,c"));
        let many = "a,".repeat(CHECKED_ITEMS_MAX + 1);
        assert_eq!(choices.parse(&many), Err("More than 1000 items".into()));
        assert!(choices.parse(&"a,".repeat(CHECKED_ITEMS_MAX)).is_ok());
    }

    #[test]
    fn networks_are_checked() {
        assert_eq!(Kind::Networks.parse("192.0.2.0/24, ::1"), list(&["192.0.2.0/24", "::1"]));
        assert!(Kind::Networks.parse("192.0.2.0/33").is_err());
    }

    #[test]
    fn repr_quotes_as_python_does() {
        assert_eq!(python_repr("it's"), "\"it's\"");
        assert_eq!(python_repr("'\""), "'\\'\"'");
        assert_eq!(python_repr("a\\b\t\u{1}"), "'a\\\\b\\t\\x01'");
    }

    #[test]
    fn secrets_do_not_print() {
        let value = Value::Secret(Secret::new("mysql://u:p@h/nova"));
        assert_eq!(format!("{value} {value:?}"), "*** Secret(***)");
    }
}
