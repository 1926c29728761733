//! Python's `%(name)s` formatting, as far as formats of log lines use it.

use std::borrow::Cow;
use std::fmt::Write;

/// A format string, read once.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Key { name: String, spec: Spec },
}

/// What stands behind `%(name)`.
#[derive(Clone, Debug, Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    /// Python's None
    None,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// Widest field; a width of nine digits in a format string is a mistake.
const WIDTH_MAX: usize = 1_000;

impl Template {
    /// Reads a format string. What is no conversion stands for itself.
    pub(super) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
            } else if let Some((piece, after)) = key(rest) {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
                pieces.push(piece);
                rest = after;
            } else {
                literal.push('%');
            }
        }
        literal.push_str(rest);
        pieces.push(Piece::Text(literal));
        Self { pieces }
    }

    /// Whether the format names `key`.
    pub(super) fn names(&self, key: &str) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Key { name, .. } if name == key))
    }

    /// Appends the text, with what `value` says of each key. A key that it does not know becomes `-`: Python loses
    /// the line.
    pub(super) fn render<'a>(&self, value: &dyn Fn(&str) -> Option<Value<'a>>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Key { name, spec } => spec.push(&value(name).unwrap_or(Value::from("-")), out),
            }
        }
    }
}

/// Reads `(name)` and what follows, behind a `%`.
fn key(text: &str) -> Option<(Piece, &str)> {
    let (name, mut rest) = text.strip_prefix('(')?.split_once(')')?;
    let mut spec = Spec::default();
    loop {
        match rest.chars().next()? {
            '-' => spec.left = true,
            '0' => spec.zero = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    let (width, after) = number(rest);
    spec.width = width.unwrap_or(0).min(WIDTH_MAX);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = number(after);
        spec.precision = Some(precision.unwrap_or(0).min(WIDTH_MAX));
        rest = after;
    }
    spec.conversion = rest.chars().next().filter(|c| "sradiufFeEgGxXo".contains(*c))?;
    Some((Piece::Key { name: name.to_owned(), spec }, &rest[1..]))
}

fn number(text: &str) -> (Option<usize>, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    (if end == 0 { None } else { Some(digits.parse().unwrap_or(usize::MAX)) }, rest)
}

impl Spec {
    fn push(&self, value: &Value<'_>, out: &mut String) {
        let (sign, body, is_number) = self.body(value);
        let pad = self.width.saturating_sub(sign.len() + body.chars().count());
        let zeros = is_number && self.zero && !self.left;
        if !self.left && !zeros {
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(sign);
        if zeros {
            out.extend(std::iter::repeat_n('0', pad));
        }
        out.push_str(&body);
        if self.left {
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }

    /// Sign, digits or text, and whether zeros may stand between them.
    fn body(&self, value: &Value<'_>) -> (&'static str, String, bool) {
        let negative = match value {
            Value::Int(number) => *number < 0,
            Value::Float(number) => *number < 0.0,
            Value::Text(_) | Value::None => false,
        };
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        };
        let as_float = match value {
            Value::Int(number) => Some(number.unsigned_abs() as f64),
            Value::Float(number) => Some(number.abs()),
            Value::Text(_) | Value::None => None,
        };
        match (self.conversion, value, as_float) {
            ('d' | 'i' | 'u', Value::Int(number), _) => (sign, number.unsigned_abs().to_string(), true),
            ('d' | 'i' | 'u', _, Some(number)) => (sign, format!("{:.0}", number.trunc()), true),
            ('x', Value::Int(number), _) => (sign, format!("{:x}", number.unsigned_abs()), true),
            ('X', Value::Int(number), _) => (sign, format!("{:X}", number.unsigned_abs()), true),
            ('o', Value::Int(number), _) => (sign, format!("{:o}", number.unsigned_abs()), true),
            ('f' | 'F', _, Some(number)) => (sign, format!("{number:.*}", self.precision.unwrap_or(6)), true),
            ('e' | 'E' | 'g' | 'G', _, Some(number)) => (sign, number.to_string(), true),
            _ => ("", self.text(value), false),
        }
    }

    fn text(&self, value: &Value<'_>) -> String {
        let mut text = match value {
            Value::Text(text) => text.clone().into_owned(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::None => "None".to_owned(),
        };
        if self.conversion == 'r' && matches!(value, Value::Text(_)) {
            let mut quoted = String::new();
            let _ = write!(quoted, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
            text = quoted;
        }
        match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> String {
        let mut out = String::new();
        let value = |name: &str| {
            Some(match name {
                "text" => Value::from("abc"),
                "number" => Value::Int(7),
                "minus" => Value::Int(-7),
                "float" => Value::Float(12.75),
                "none" => Value::None,
                _ => return None,
            })
        };
        Template::new(template).render(&value, &mut out);
        out
    }

    #[test]
    fn conversions_are_pythons() {
        for (template, expected) in [
            ("%(text)s|%(text)5s|%(text)-5s|%(text).2s|%(text)r", "abc|  abc|abc  |ab|'abc'"),
            ("%(number)d|%(number)03d|%(number)-3d|%(number)+d|% d%(number) d", "7|007|7  |+7|% d 7"),
            ("%(minus)03d %(minus)5d", "-07    -7"),
            ("%(float)03d %(float).1f %(float)08.2f", "012 12.8 00012.75"),
            ("%(none)s %(number)s %(number)x", "None 7 7"),
            ("100%% %(text)", "100% %(text)"),
            ("%(unknown)s %(unknown)05d", "-     -"),
            ("", ""),
        ] {
            assert_eq!(rendered(template), expected, "{template}");
        }
        assert!(Template::new("a %(text)s").names("text") && !Template::new("%%(text)s").names("text"));
    }
}
