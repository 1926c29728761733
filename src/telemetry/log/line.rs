//! The text of a line: oslo.log's `logging_default_format_string`.

use std::fmt::Write;

use jiff::fmt::strtime::{BrokenDownTime, Config};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use tracing::Level;

use super::writer::Record;

/// Most lines of one message; a peer's text must not fill the log.
const LINES_MAX: usize = 100;

/// How a record becomes text.
#[derive(Clone, Debug)]
pub(super) struct LineFormat {
    date_format: String,
    time_zone: Option<TimeZone>,
    process: u32,
}

impl LineFormat {
    pub(super) fn new(date_format: &str) -> Self {
        Self { date_format: date_format.to_owned(), time_zone: None, process: std::process::id() }
    }

    #[cfg(test)]
    pub(super) fn fixed(date_format: &str, time_zone: TimeZone, process: u32) -> Self {
        Self { date_format: date_format.to_owned(), time_zone: Some(time_zone), process }
    }

    /// Appends the line, or the lines, of `record`:
    /// `YYYY-MM-DD HH:MM:SS.mmm PID LEVEL NAME [-] MESSAGE`, in local time.
    pub(super) fn append(&self, record: &Record, out: &mut String) {
        let prefix = self.prefix(record);
        let message = record.message.strip_suffix('\n').unwrap_or(&record.message);
        for (index, line) in message.split('\n').enumerate() {
            out.push_str(&prefix);
            if index == LINES_MAX {
                out.push_str("... (more lines cut)\n");
                break;
            }
            escape(line.strip_suffix('\r').unwrap_or(line), out);
            out.push('\n');
        }
    }

    fn prefix(&self, record: &Record) -> String {
        let at = Timestamp::try_from(record.at).unwrap_or(Timestamp::UNIX_EPOCH);
        let at = Zoned::new(at, self.time_zone.clone().unwrap_or_else(TimeZone::system));
        // Lenient as Python: what is no conversion stands for itself.
        let date =
            BrokenDownTime::from(&at).to_string_with_config(&Config::new().lenient(true), &self.date_format);
        let mut prefix = date.unwrap_or_default();
        // Writing to memory does not fail.
        let _ = write!(
            prefix,
            ".{:03} {} {} {} [-] ",
            at.millisecond(),
            self.process,
            level_name(record.level),
            record.target.replace("::", ".")
        );
        prefix
    }
}

/// Python's names of levels.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Control characters would let a peer rewrite an operator's terminal or forge lines.
fn escape(line: &str, out: &mut String) {
    for character in line.chars() {
        match character {
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Separators of lines and paragraphs, which some log viewers break lines at.
            '\u{2028}' | '\u{2029}' => out.extend(character.escape_unicode()),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn lines(date_format: &str, target: &'static str, message: &str) -> String {
        let format = LineFormat::fixed(date_format, TimeZone::UTC, 7);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_299_747_096);
        let mut out = String::new();
        format.append(&Record { at, level: Level::WARN, target, message: message.to_owned() }, &mut out);
        out
    }

    const USUAL: &str = "%Y-%m-%d %H:%M:%S";

    #[test]
    fn a_line_has_the_form_of_oslo_log() {
        assert_eq!(
            lines(USUAL, "nova.console.websocketproxy", "In exit"),
            "2026-11-21 22:22:27.096 7 WARNING nova.console.websocketproxy [-] In exit\n"
        );
        assert!(lines(USUAL, "consolegate::control", "x").contains(" consolegate.control [-] x\n"));
    }

    #[test]
    fn the_date_format_is_lenient() {
        assert!(lines("%d/%b %q%", "n", "x").starts_with("21/Nov "), "{}", lines("%d/%b %q%", "n", "x"));
        assert_eq!(lines("", "n", "x"), ".096 7 WARNING n [-] x\n");
    }

    #[test]
    fn every_line_of_a_message_has_its_prefix() {
        let text = lines(USUAL, "n", "one\r\ntwo\n\nfour\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.starts_with("2026-11-21 22:22:27.096 7 WARNING n [-] ")));
        assert!(lines[1].ends_with("] two") && lines[2].ends_with("] "));
    }

    #[test]
    fn a_message_has_an_end() {
        let text = lines(USUAL, "n", &"x\n".repeat(5_000));
        assert_eq!(text.lines().count(), LINES_MAX + 1);
        assert!(text.ends_with("... (more lines cut)\n"));
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = lines(USUAL, "n", "a\u{1b}[31m\tb\u{7f}\u{85}\u{2028}c\rd\\é");
        assert!(text.ends_with("] a\\x1b[31m\\tb\\x7f\\x85\\u{2028}c\\rd\\é\n"), "{text}");
    }
}
