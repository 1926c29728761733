//! The grammar of a configuration file, as `oslo_config/iniparser.py` has it.
//!
//! Errors carry oslo.config's words, since operators search for them.

use thiserror::Error;

use super::values::python_repr;

/// One `name = value`, with its section as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) value: String,
    /// Line it starts in, from 1
    pub(super) line: usize,
}

/// Why a file could not be read; the caller puts `at FILE:` before it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{line}, {reason}: {}", python_repr(&without_credentials(.text)))]
pub(super) struct ParseError {
    /// Line, from 1
    pub(super) line: usize,
    /// What is wrong with it
    pub(super) reason: &'static str,
    /// The line itself
    pub(super) text: String,
}

/// The line less the user and password of any URL in it: a broken line may be the database's.
fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((scheme, after)) = rest.split_once("://") {
        shown.push_str(scheme);
        shown.push_str("://");
        // A password may hold any character but a blank, even an @.
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        match url.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("***@");
                shown.push_str(host);
                rest = tail;
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// Reads a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Assignment>, ParseError> {
    let text = decode(bytes)?;
    let mut parser = Parser::default();
    for (index, line) in lines(text).enumerate() {
        parser.take_line(line, index + 1).map_err(|reason| ParseError {
            line: index + 1,
            reason,
            text: line.to_owned(),
        })?;
    }
    parser.flush();
    Ok(parser.done)
}

/// Python reads such files as UTF-8 too. A byte order mark is dropped, where Python sees an assignment
/// without a separator.
fn decode(bytes: &[u8]) -> Result<&str, ParseError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let end =
            rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| valid.len() + newline);
        ParseError {
            line: valid.iter().filter(|byte| **byte == b'\n').count() + 1,
            reason: "Line is not valid UTF-8",
            text: String::from_utf8_lossy(&bytes[start..end]).into_owned(),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Lines as Python's universal newlines split them, less trailing blanks.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).map(str::trim_end)
}

#[derive(Default)]
struct Parser {
    section: Option<String>,
    /// The assignment whose continuation lines may follow
    open: Option<Assignment>,
    done: Vec<Assignment>,
}

impl Parser {
    fn take_line(&mut self, line: &str, number: usize) -> Result<(), &'static str> {
        if line.is_empty() {
            self.flush();
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            let Some(open) = &mut self.open else { return Err("Unexpected continuation line") };
            open.value.push('\n');
            open.value.push_str(line.trim_start());
            return Ok(());
        }
        self.flush();
        if line.starts_with('[') {
            let Some(inner) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
                return Err("Invalid section (must end with ])");
            };
            if inner.is_empty() {
                return Err("Empty section name");
            }
            self.section = Some(inner.to_owned());
        } else if !line.starts_with(['#', ';']) {
            let (name, value) = line.split_once([':', '=']).ok_or("No ':' or '=' found in assignment")?;
            let name = name.trim();
            if name.is_empty() {
                return Err("Key cannot be empty");
            }
            let Some(section) = self.section.clone() else {
                return Err("Section must be started before assignment");
            };
            let value = unquote(value.trim()).to_owned();
            self.open = Some(Assignment { section, name: name.to_owned(), value, line: number });
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.done.extend(self.open.take());
    }
}

/// Removes one pair of equal quotes. A value that is one lone quote becomes empty, as in Python, where
/// the same character is its first and its last.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return if rest.is_empty() { rest } else { rest.strip_suffix(quote).unwrap_or(value) };
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, String)> {
        let parsed = parse(text.as_bytes()).unwrap();
        parsed.into_iter().map(|one| (one.section, one.name, one.value)).collect()
    }

    fn one(text: &str) -> String {
        let all = values(&format!("[g]\n{text}"));
        assert_eq!(all.len(), 1, "{text:?}");
        all[0].2.clone()
    }

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_first_separator_splits() {
        assert_eq!(one("a = b:c=d"), "b:c=d");
        assert_eq!(one("a:b=c"), "b=c");
        assert_eq!(one("a =\t b \t"), "b");
        assert_eq!(one("a ="), "");
        assert_eq!(values("[g]\n log = 1".replace(" log", "log").as_str())[0].1, "log");
    }

    #[test]
    fn one_pair_of_quotes_goes() {
        assert_eq!(one("a = \"::0\""), "::0");
        assert_eq!(one("a = '\"x\"'"), "\"x\"");
        assert_eq!(one("a = \"x'"), "\"x'");
        assert_eq!(one("a = \""), "");
        assert_eq!(one("a = x\"y\""), "x\"y\"");
    }

    #[test]
    fn comments_stand_in_the_first_column_only() {
        assert_eq!(one("# no\n; no\na = b # c"), "b # c");
    }

    #[test]
    fn blanks_continue_a_value_until_an_empty_line() {
        assert_eq!(one("a = b,\n  c,\n\td\n"), "b,\nc,\nd");
        assert_eq!(error("[g]\na = b\n\n c"), "4, Unexpected continuation line: ' c'");
        assert_eq!(error("[g]\na = b\n# c\n d"), "4, Unexpected continuation line: ' d'");
        assert_eq!(error("[g]\n c"), "2, Unexpected continuation line: ' c'");
    }

    #[test]
    fn an_assignment_knows_the_line_it_starts_in() {
        let parsed = parse(b"[g]\n# c\na = 1,\n 2\nb = 3").unwrap();
        assert_eq!(parsed.iter().map(|one| one.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn sections_are_taken_as_written() {
        assert_eq!(
            values("[A b]\nx=1\n[ c ]\ny=2"),
            [("A b", "x", "1"), (" c ", "y", "2")].map(|(s, n, v)| (
                s.to_owned(),
                n.to_owned(),
                v.to_owned()
            ))
        );
        assert_eq!(error("[g] # x"), "1, Invalid section (must end with ]): '[g] # x'");
        assert_eq!(error("[g"), "1, Invalid section (must end with ]): '[g'");
        assert_eq!(error("["), "1, Invalid section (must end with ]): '['");
        assert_eq!(error("[]"), "1, Empty section name: '[]'");
    }

    #[test]
    fn faults_name_their_line() {
        assert_eq!(error("[g]\n\nnonsense"), "3, No ':' or '=' found in assignment: 'nonsense'");
        assert_eq!(error("[g]\n = x".replace("\n ", "\n").as_str()), "2, Key cannot be empty: '= x'");
        assert_eq!(error("a = 1\nb = 2"), "1, Section must be started before assignment: 'a = 1'");
        let bytes = b"[g]\na = \xff\xfe\nb = 1";
        assert_eq!(
            parse(bytes).unwrap_err().to_string(),
            "2, Line is not valid UTF-8: 'a = \u{fffd}\u{fffd}'"
        );
    }

    #[test]
    fn a_broken_line_shows_no_credentials() {
        assert_eq!(
            error("[database]\nconnection mysql//u"),
            "2, No ':' or '=' found in assignment: 'connection mysql//u'"
        );
        let shown = error("[database]\n mysql://u:p://q@x@h/nova http://h/ b://c@d");
        assert_eq!(shown, "2, Unexpected continuation line: ' mysql://***@h/nova http://h/ b://***@d'");
    }

    #[test]
    fn line_ends_and_byte_order_mark_do_not_matter() {
        assert_eq!(values("\u{feff}[g]\r\na = 1\r\rb = 2\n").len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_assignments_or_an_error(bytes: Vec<u8>) {
            if let Ok(all) = parse(&bytes) {
                proptest::prop_assert!(all.iter().all(|one| !one.name.is_empty() && !one.section.is_empty()));
            }
        }
    }
}
