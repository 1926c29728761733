//! Types of options: how their text is read, and what is said of text that does not fit.
//!
//! The rules and the words are those of `oslo_config/types.py`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::secret::Secret;
use crate::session::Network;

/// The type of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A number with a fraction, not below 0
    Float,
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
    /// An address or a host name as RFC 1123 allows it
    HostAddress,
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
    /// Of [`Kind::Str`], [`Kind::Choice`] and [`Kind::HostAddress`]
    Str(String),
    /// Of the kinds of lists
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

impl Kind {
    /// Reads `text`. An error is the reason, in oslo.config's words.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bool => parse_bool(text).map(Value::Bool),
            Self::Int { min, max } => parse_int(text, min, max),
            Self::Float => parse_float(text),
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
            Self::ListOf(choices) => {
                items(text).map(|item| parse_choice(item, choices)).collect::<Result<_, _>>().map(Value::List)
            }
            Self::HostAddress => parse_host(text).map(Value::Str),
            Self::Networks => items(text)
                .map(|item| {
                    item.parse::<Network>().map(|_| item.to_owned()).map_err(|error| error.to_string())
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
        }
    }
}

impl fmt::Display for Kind {
    /// As `repr` of oslo.config's type, which its messages about the command line contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Boolean"),
            Self::Int { min: i64::MIN, max: i64::MAX } => f.write_str("Integer"),
            Self::Int { min, max: i64::MAX } => write!(f, "Integer(min={min})"),
            Self::Int { min, max } => write!(f, "Integer(min={min}, max={max})"),
            Self::Float => f.write_str("Float(min=0)"),
            Self::Port => f.write_str("Port(min=0, max=65535)"),
            Self::Str => f.write_str("String"),
            Self::Choice(choices) | Self::ChoiceAnyCase(choices) => {
                write!(f, "String(choices=[{}])", quoted(choices))
            }
            Self::List => f.write_str("List of String"),
            Self::ListOf(choices) => write!(f, "List of String(choices=[{}])", quoted(choices)),
            Self::HostAddress => f.write_str("HostAddress"),
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

fn parse_int(text: &str, min: i64, max: i64) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Unset);
    }
    let number = python_int(trimmed)
        .ok_or_else(|| format!("invalid literal for int() with base 10: {}", python_repr(text)))?;
    if number < min {
        return Err(format!("Should be greater than or equal to {min}"));
    }
    if number > max {
        return Err(format!("Should be less than or equal to {max}"));
    }
    Ok(Value::Int(number))
}

/// What Python's `float` takes, but for its underscores, and for infinity and nan, which no option can mean.
fn parse_float(text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Unset);
    }
    let number = trimmed.parse::<f64>().ok().filter(|number| number.is_finite());
    let number =
        number.ok_or_else(|| format!("could not convert string to float: {}", python_repr(trimmed)))?;
    if number < 0.0 {
        return Err("Should be greater than or equal to 0".to_owned());
    }
    Ok(Value::Float(number))
}

/// What Python's `int` takes: a sign, digits, and single underscores between digits. Numbers beyond 64
/// bits saturate.
fn python_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let mut number = 0i64;
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for digit in group.chars() {
            let digit = i64::from(digit.to_digit(10)?);
            number = number.saturating_mul(10);
            number = if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) };
        }
    }
    Some(number)
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

fn parse_host(text: &str) -> Result<String, String> {
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    // A last label of digits alone is a mistyped address.
    let last = name.rsplit('.').next().unwrap_or(name);
    if text.len() <= 253 && labels && !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(name.to_owned());
    }
    Err(format!("{text} is not a valid host address"))
}

fn quoted(items: &[impl AsRef<str>]) -> String {
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
    fn integers_are_read_as_python_does() {
        for (text, expected) in [("60", 60), ("+7", 7), ("-3", -3), ("007", 7), ("1_000", 1000), (" 5 ", 5)] {
            assert_eq!(ANY_INT.parse(text), Ok(Value::Int(expected)), "{text}");
        }
        assert_eq!(ANY_INT.parse(" "), Ok(Value::Unset));
        assert_eq!(ANY_INT.parse("99999999999999999999"), Ok(Value::Int(i64::MAX)));
        assert_eq!(ANY_INT.parse("-99999999999999999999"), Ok(Value::Int(i64::MIN)));
        for text in ["0x10", "1.5", "1__0", "_1", "1_", "-", "+-1"] {
            let error = format!("invalid literal for int() with base 10: '{text}'");
            assert_eq!(ANY_INT.parse(text), Err(error));
        }
        assert_eq!(Kind::Port.parse("65536"), Err("Should be less than or equal to 65535".into()));
        assert_eq!(Kind::Port.parse("-1"), Err("Should be greater than or equal to 0".into()));
    }

    #[test]
    fn floats_are_read_as_python_does() {
        for (text, expected) in [("1.0", 1.0), ("2", 2.0), (" .5 ", 0.5), ("1e1", 10.0), ("+3.", 3.0)] {
            assert_eq!(Kind::Float.parse(text), Ok(Value::Float(expected)), "{text}");
        }
        assert_eq!(Kind::Float.parse(""), Ok(Value::Unset));
        assert_eq!(Kind::Float.parse("soon"), Err("could not convert string to float: 'soon'".into()));
        assert_eq!(Kind::Float.parse("-0.1"), Err("Should be greater than or equal to 0".into()));
        assert!(Kind::Float.parse("inf").is_err() && Kind::Float.parse("nan").is_err());
        assert_eq!(Value::Float(1.0).to_string(), "1.0");
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
