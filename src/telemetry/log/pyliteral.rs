//! Python's literals, as the arguments of logging handlers use them.

/// How deep they may lie within each other.
const DEPTH_MAX: usize = 8;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A dotted name, such as `sys.stdout`
    Name(String),
    Tuple(Vec<Self>),
    Dict(Vec<(String, Self)>),
}

/// Reads one value that is all of `text`.
pub(super) fn parse(text: &str) -> Option<Literal> {
    let (literal, rest) = value(text.trim_start(), DEPTH_MAX)?;
    rest.trim().is_empty().then_some(literal)
}

fn value(text: &str, depth: usize) -> Option<(Literal, &str)> {
    let depth = depth.checked_sub(1)?;
    match text.chars().next()? {
        '(' => {
            let (items, comma, rest) = items(&text[1..], ')', depth)?;
            // What is in parentheses without a comma is the thing itself.
            match items.as_slice() {
                [single] if !comma => Some((single.clone(), rest)),
                _ => Some((Literal::Tuple(items), rest)),
            }
        }
        '[' => items(&text[1..], ']', depth).map(|(items, _, rest)| (Literal::Tuple(items), rest)),
        '{' => dict(&text[1..], depth),
        quote @ ('\'' | '"') => quoted(&text[1..], quote),
        '-' | '0'..='9' => number(text),
        _ => name(text),
    }
}

/// Values up to `end`, and whether a comma stood behind the last one.
fn items(text: &str, end: char, depth: usize) -> Option<(Vec<Literal>, bool, &str)> {
    let (mut found, mut comma, mut rest) = (Vec::new(), false, text.trim_start());
    loop {
        if let Some(after) = rest.strip_prefix(end) {
            return Some((found, comma, after));
        }
        if !found.is_empty() && !comma {
            return None;
        }
        let (item, after) = value(rest, depth)?;
        found.push(item);
        rest = after.trim_start();
        comma = rest.starts_with(',');
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

fn dict(text: &str, depth: usize) -> Option<(Literal, &str)> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((Literal::Dict(found), after));
        }
        let (Literal::Text(key), after) = value(rest, depth)? else { return None };
        let (item, after) = value(after.trim_start().strip_prefix(':')?.trim_start(), depth)?;
        found.push((key, item));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

fn quoted(text: &str, quote: char) -> Option<(Literal, &str)> {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            c if c == quote => return Some((Literal::Text(content), &text[at + c.len_utf8()..])),
            '\\' => match characters.next()?.1 {
                'n' => content.push('\n'),
                't' => content.push('\t'),
                c @ ('\\' | '\'' | '"') => content.push(c),
                c => content.extend(['\\', c]),
            },
            c => content.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<(Literal, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '_')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    digits.replace('_', "").parse().ok().map(|number| (Literal::Int(number), rest))
}

fn name(text: &str) -> Option<(Literal, &str)> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let literal = match name {
        "" => return None,
        "None" => Literal::None,
        "True" => Literal::Bool(true),
        "False" => Literal::Bool(false),
        name => Literal::Name(name.to_owned()),
    };
    Some((literal, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_handlers_are_read() {
        let text = |text: &str| Literal::Text(text.to_owned());
        let name = |text: &str| Literal::Name(text.to_owned());
        for (source, expected) in [
            ("()", Literal::Tuple(vec![])),
            ("(sys.stdout,)", Literal::Tuple(vec![name("sys.stdout")])),
            ("(sys.stdout)", name("sys.stdout")),
            (
                r#"('/var/log/x y.log', "a", 10485760, -5)"#,
                Literal::Tuple(vec![
                    text("/var/log/x y.log"),
                    text("a"),
                    Literal::Int(10_485_760),
                    Literal::Int(-5),
                ]),
            ),
            (
                "(('localhost', handlers.SYSLOG_UDP_PORT), handlers.SysLogHandler.LOG_USER)",
                Literal::Tuple(vec![
                    Literal::Tuple(vec![text("localhost"), name("handlers.SYSLOG_UDP_PORT")]),
                    name("handlers.SysLogHandler.LOG_USER"),
                ]),
            ),
            (
                "{'facility': 'local0', 'utc': True,}",
                Literal::Dict(vec![
                    ("facility".to_owned(), text("local0")),
                    ("utc".to_owned(), Literal::Bool(true)),
                ]),
            ),
            (r"'it\'s'", text("it's")),
        ] {
            assert_eq!(parse(source), Some(expected), "{source}");
        }
        for broken in ["", "(", "('a'", "('a' 'b')", "f(x)", "{'a'}", "1 2", &"(".repeat(100)] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
