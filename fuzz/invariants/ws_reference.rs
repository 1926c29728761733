//! A second reading of RFC 6455 section 5, from the whole stream and frame by frame: what a deframer must make of it.

/// What a client's frames come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Opcode, payload so far, and whether the message is complete
    pub(crate) messages: Vec<(u8, Vec<u8>, bool)>,
    /// Bytes of data before it, opcode, payload
    pub(crate) controls: Vec<(usize, u8, Vec<u8>)>,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong with what is there
    #[default]
    Open,
    /// The stream ends in a length, of which the part that is there may show already that it is wrong
    InLength,
    /// A Close came, and so many bytes behind it
    Closed(usize),
    /// Code of the Close that has to answer
    Failed(u16),
}

/// More empty data frames in a row than these are a nuisance, which the RFC leaves to the receiver.
const EMPTY_FRAMES_MAX: usize = 1_000;

/// Reads all of `stream`.
pub(crate) fn read(stream: &[u8], text_refused: bool) -> Reading {
    let mut reading = Reading::default();
    reading.verdict = reading.take(stream, text_refused).unwrap_or_default();
    reading
}

impl Reading {
    /// `None` when the stream ends and nothing is wrong.
    fn take(&mut self, mut rest: &[u8], text_refused: bool) -> Option<Verdict> {
        let mut empty = 0;
        loop {
            let first = *rest.first()?;
            let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
            let open = self.messages.last().is_some_and(|(_, _, complete)| !complete);
            match opcode {
                _ if first & 0x70 != 0 => return Some(Verdict::Failed(1002)),
                0 if !open => return Some(Verdict::Failed(1002)),
                1 | 2 if open => return Some(Verdict::Failed(1002)),
                1 if text_refused => return Some(Verdict::Failed(1003)),
                8..=10 if !fin => return Some(Verdict::Failed(1002)),
                0..=2 | 8..=10 => {}
                _ => return Some(Verdict::Failed(1002)),
            }
            let second = *rest.get(1)?;
            if second & 0x80 == 0 || (opcode >= 8 && second & 0x7f > 125) {
                return Some(Verdict::Failed(1002));
            }
            let (len_bytes, least) = match second & 0x7f {
                126 => (2, 126),
                127 => (8, 65_536),
                _ => (0, 0),
            };
            let Some(bytes) = rest.get(2..2 + len_bytes) else { return Some(Verdict::InLength) };
            let len = match len_bytes {
                0 => u64::from(second & 0x7f),
                _ => bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
            };
            if len < least || len > u64::MAX >> 1 {
                return Some(Verdict::Failed(1002));
            }
            let key = rest.get(2 + len_bytes..6 + len_bytes)?;
            let behind = &rest[6 + len_bytes..];
            let here = usize::try_from(len).unwrap_or(usize::MAX).min(behind.len());
            let payload: Vec<u8> =
                behind[..here].iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
            let whole = here as u64 == len;
            rest = &behind[here..];
            if opcode >= 8 {
                if !whole {
                    return None;
                }
                if opcode == 8 {
                    return Some(self.close(payload, rest.len()));
                }
                self.controls.push((self.data_len(), opcode, payload));
                continue;
            }
            empty = if len == 0 { empty + 1 } else { 0 };
            if empty > EMPTY_FRAMES_MAX {
                return Some(Verdict::Failed(1008));
            }
            if opcode != 0 {
                self.messages.push((opcode, Vec::new(), false));
            }
            let (opcode, message, complete) = self.messages.last_mut()?;
            message.extend(payload);
            *complete = whole && fin;
            let wrong = match std::str::from_utf8(message) {
                Ok(_) => false,
                Err(error) => error.error_len().is_some() || *complete,
            };
            if *opcode == 1 && wrong {
                return Some(Verdict::Failed(1007));
            }
            if !whole {
                return None;
            }
        }
    }

    fn close(&mut self, payload: Vec<u8>, behind: usize) -> Verdict {
        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        let verdict = match code {
            None if payload.is_empty() => Verdict::Closed(behind),
            Some(1000..=1003 | 1007..=1014 | 3000..=4999) => match std::str::from_utf8(&payload[2..]) {
                Ok(_) => Verdict::Closed(behind),
                Err(_) => Verdict::Failed(1007),
            },
            _ => Verdict::Failed(1002),
        };
        if matches!(verdict, Verdict::Closed(_)) {
            self.controls.push((self.data_len(), 8, payload));
        }
        verdict
    }

    /// Payload of all data frames, in bytes.
    pub(crate) fn data_len(&self) -> usize {
        self.messages.iter().map(|(_, payload, _)| payload.len()).sum()
    }
}
