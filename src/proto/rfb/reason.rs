//! Reason strings: a length of four bytes, then text of an unknown encoding (RFC 6143 section 7.1.2).

use std::fmt;

use super::inbox::Inbox;

/// How much of a reason is kept, in bytes. Nova's limit for the reason in place of the security types.
pub const REASON_BYTES_MAX: usize = 256;

/// Why a compute node refused, in its own words: at most [`REASON_BYTES_MAX`] bytes, without NULs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    text: Vec<u8>,
    whole: bool,
}

impl Reason {
    /// None was given, nor was one to come.
    pub(super) fn none() -> Self {
        Self { text: Vec::new(), whole: true }
    }

    /// Keeps the text of `bytes`. `whole` says that these are all the bytes declared.
    fn new(bytes: &[u8], whole: bool) -> Self {
        let kept = &bytes[..bytes.len().min(REASON_BYTES_MAX)];
        // QEMU counts the C string's final NUL in the length.
        let len = kept.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = kept[..len].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
        Self { text, whole: whole && kept.len() == bytes.len() }
    }

    /// The bytes to pass on: Latin-1 or UTF-8, the protocol does not tell which.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Whether all of the reason is here: it was no longer than the limit and was not broken off.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

impl fmt::Display for Reason {
    /// The text for a log: in quotes, on one line, at most [`REASON_BYTES_MAX`] bytes between the
    /// quotes. Control characters and what is not UTF-8 become question marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return f.write_str("no reason given");
        }
        f.write_str("\"")?;
        for character in String::from_utf8_lossy(&self.text).chars() {
            let shown = if character.is_control() || character == '\u{fffd}' { '?' } else { character };
            write!(f, "{shown}")?;
        }
        f.write_str(if self.whole { "\"" } else { "\" (cut)" })
    }
}

/// Reads one reason from the compute node, keeping its beginning and discarding the rest.
#[derive(Default)]
pub(super) enum ReasonReader {
    /// The length has not come yet.
    #[default]
    Length,
    /// This many bytes were declared. A number and nothing more: no room is made for them.
    Text(usize),
    /// The beginning is kept, this many more bytes are thrown away as they come.
    Rest(Reason, usize),
}

impl ReasonReader {
    /// Reads on. `Err` gives the reader back when bytes are missing.
    pub(super) fn read<const N: usize>(mut self, inbox: &mut Inbox<N>) -> Result<Reason, Self> {
        loop {
            self = match self {
                Self::Length => match inbox.take() {
                    Some(length) => Self::Text(u32::from_be_bytes(length) as usize),
                    None => return Err(self),
                },
                Self::Text(length) => {
                    let Some(text) = inbox.take_slice(length.min(REASON_BYTES_MAX)) else { return Err(self) };
                    let rest = length - text.len();
                    Self::Rest(Reason::new(text, rest == 0), rest)
                }
                Self::Rest(reason, 0) => return Ok(reason),
                Self::Rest(reason, rest) => match inbox.discard(rest) {
                    0 => return Err(Self::Rest(reason, rest)),
                    discarded => Self::Rest(reason, rest - discarded),
                },
            }
        }
    }

    /// The reason as far as it came, for when no more will come.
    pub(super) fn broken_off(self, held: &[u8]) -> Reason {
        match self {
            Self::Length => Reason::new(&[], false),
            Self::Text(_) => Reason::new(held, false),
            Self::Rest(reason, _) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8]) -> Option<Reason> {
        let mut inbox = Inbox::<1024>::new();
        assert_eq!(inbox.push(wire, 1024), wire.len());
        ReasonReader::default().read(&mut inbox).ok()
    }

    #[test]
    fn qemus_trailing_nul_is_not_text() {
        let reason = read(b"\x00\x00\x00\x16Authentication failed\0").unwrap();
        assert_eq!(reason.bytes(), b"Authentication failed");
        assert!(reason.is_whole());
        assert_eq!(reason.to_string(), "\"Authentication failed\"");
    }

    #[test]
    fn a_long_reason_is_cut_and_its_rest_discarded() {
        let wire = [&[0, 0, 1, 44][..], &[b'x'; 300]].concat();
        let reason = read(&wire).unwrap();
        assert_eq!(reason.bytes(), [b'x'; 256]);
        assert!(!reason.is_whole());
        assert!(read(&wire[..wire.len() - 1]).is_none(), "the last byte is still due");
    }

    #[test]
    fn a_log_shows_no_control_characters_and_stays_short() {
        let nasty = Reason::new(b"a\r\nb\x1b[2J\0c\xff", true);
        assert_eq!(nasty.to_string(), "\"a??b?[2J c?\"");
        let long = Reason::new(&[0xff; 300], true).to_string();
        assert_eq!(long.len(), 256 + "\"\" (cut)".len());
        assert_eq!(Reason::new(b"\0\0", true).to_string(), "no reason given");
    }
}
