//! UTF-8 checking of text that arrives in pieces (RFC 6455 section 8.1, RFC 3629 section 4).

/// Checks text as it arrives, in three bytes of state.
///
/// A byte is refused as soon as no text that goes on behind it could be valid: `ED A0` fails at `A0`,
/// not at the third byte that would complete the surrogate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Checker {
    /// Continuation bytes that the open character still needs
    missing: u8,
    /// The range in which the next continuation byte must lie
    low: u8,
    high: u8,
}

impl Default for Utf8Checker {
    fn default() -> Self {
        Self { missing: 0, low: 0x80, high: 0xBF }
    }
}

impl Utf8Checker {
    /// Checks the next `bytes`; `last` says that the text ends with them.
    ///
    /// # Errors
    ///
    /// The index of the first byte that cannot be part of valid text. With `last`, that is also the
    /// final byte of text which stops inside a character. The bytes before the index count as checked,
    /// so the caller may go on with them alone. Where `bytes` is empty and the text stops inside a
    /// character the index is 0.
    pub fn check(&mut self, bytes: &[u8], last: bool) -> Result<(), usize> {
        if !last {
            return self.extend(bytes);
        }
        let Some((final_byte, before)) = bytes.split_last() else {
            return if self.missing == 0 { Ok(()) } else { Err(0) };
        };
        self.extend(before)?;
        let mut ended = *self;
        if ended.step(*final_byte) && ended.missing == 0 {
            *self = ended;
            return Ok(());
        }
        Err(before.len())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        // Finish the character that an earlier piece left open.
        while self.missing > 0 {
            let Some(byte) = bytes.get(at) else { return Ok(()) };
            if !self.step(*byte) {
                return Err(at);
            }
            at += 1;
        }
        // The standard library is fast over whole characters. Behind them is either an open character
        // or an error; which of the two, and at which byte, is for `step` to say.
        if let Err(error) = std::str::from_utf8(&bytes[at..]) {
            at += error.valid_up_to();
            for (offset, byte) in bytes[at..].iter().enumerate() {
                if !self.step(*byte) {
                    return Err(at + offset);
                }
            }
        }
        Ok(())
    }

    /// Takes one byte; false (and no change) when nothing valid can follow it.
    fn step(&mut self, byte: u8) -> bool {
        if self.missing > 0 {
            if !(self.low..=self.high).contains(&byte) {
                return false;
            }
            *self = Self { missing: self.missing - 1, ..Self::default() };
            return true;
        }
        // RFC 3629 section 4, rule by rule: UTF8-1, UTF8-2, then the rows of UTF8-3 and UTF8-4.
        let (missing, low, high) = match byte {
            0x00..=0x7F => (0, 0x80, 0xBF),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            _ => return false,
        };
        *self = Self { missing, low, high };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first byte behind which no completion exists, by the standard library: a prefix is hopeless
    /// once the error has a length.
    fn first_hopeless(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len())
            .find(|end| std::str::from_utf8(&bytes[..=*end]).is_err_and(|error| error.error_len().is_some()))
    }

    fn bytewise(bytes: &[u8]) -> Option<usize> {
        let mut checker = Utf8Checker::default();
        bytes.iter().position(|byte| checker.check(&[*byte], false).is_err())
    }

    #[test]
    fn impossible_bytes_fail_where_they_stand() {
        let cases: [(&[u8], usize); 9] = [
            (b"\x80", 0),
            (b"\xC0\x80", 0),
            (b"\xC1\xBF", 0),
            (b"\xE0\x80\x80", 1),
            (b"\xED\xA0\x80", 1),
            (b"\xF0\x80\x80\x80", 1),
            (b"\xF4\x90\x80\x80", 1),
            (b"\xF5\x80", 0),
            (b"ab\xE2\x82x", 4),
        ];
        for (bytes, at) in cases {
            assert_eq!(Utf8Checker::default().check(bytes, false), Err(at), "{bytes:02x?}");
            assert_eq!(bytewise(bytes), Some(at), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_pair_of_bytes_behind_every_lead_agrees_with_the_standard_library() {
        for lead in 0xC0..=0xFF {
            for second in 0..=u8::MAX {
                for third in [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF] {
                    let bytes = [lead, second, third];
                    assert_eq!(bytewise(&bytes), first_hopeless(&bytes), "{bytes:02x?}");
                }
            }
        }
    }

    #[test]
    fn text_may_not_end_inside_a_character() {
        let mut checker = Utf8Checker::default();
        assert_eq!(checker.check(b"x\xE2\x82", true), Err(2));
        assert_eq!(checker.check(b"\x82", true), Err(0), "the byte before was kept as checked");
        assert_eq!(checker.check(b"", true), Err(0));
        assert_eq!(checker.check(b"\x82\xAC", true), Ok(()));
        assert_eq!(checker, Utf8Checker::default());
    }

    proptest! {
        #[test]
        fn verdict_is_that_of_the_whole_text_for_every_split(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..4),
                any::<String>().prop_map(String::into_bytes),
            ], 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = parts.concat();
            let cut = cut.index(bytes.len() + 1);
            let mut checker = Utf8Checker::default();
            let verdict = checker.check(&bytes[..cut], false).err().or_else(|| {
                checker.check(&bytes[cut..], true).err().map(|at| cut + at)
            });
            prop_assert_eq!(verdict.is_none(), std::str::from_utf8(&bytes).is_ok());
            if let Some(hopeless) = first_hopeless(&bytes) {
                prop_assert_eq!(verdict, Some(hopeless));
            }
        }
    }
}
