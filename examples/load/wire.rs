//! WebSocket frames (RFC 6455 section 5) as a client makes and takes them, written apart from the program's
//! own code so that a mistake there is not made here too.

use crate::Outcome;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One masked binary frame, or the payload itself where there are no frames.
pub(crate) fn message(payload: &[u8], framed: bool) -> Outcome<Vec<u8>> {
    if framed { masked(0x82, payload) } else { Ok(payload.to_vec()) }
}

/// One masked frame with the given first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Outcome<Vec<u8>> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len)?),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len)?.to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(len)?.to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    Ok(frame)
}

/// Takes server frames apart, wherever the reads split them.
#[derive(Default)]
pub(crate) struct Unframer {
    header: Vec<u8>,
    left: u64,
    control: bool,
}

impl Unframer {
    /// Hands the payload bytes of data frames to `sink`; pings and the like are dropped.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Outcome<()> {
        while let Some(first) = bytes.first() {
            if self.left == 0 {
                self.header.push(*first);
                bytes = &bytes[1..];
                self.take_header()?;
            } else {
                let len = bytes.len().min(usize::try_from(self.left)?);
                if !self.control {
                    sink(&bytes[..len]);
                }
                self.left -= u64::try_from(len)?;
                bytes = &bytes[len..];
            }
        }
        Ok(())
    }

    fn take_header(&mut self) -> Outcome<()> {
        let len = match self.header[..] {
            [_, len] if len < 126 => u64::from(len),
            [_, 126, high, low] => u64::from(u16::from_be_bytes([high, low])),
            [_, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            [_, len, ..] if len > 127 => return Err("a server frame was masked".into()),
            _ => return Ok(()),
        };
        match self.header[0] {
            0x82 => self.control = false,
            0x88..=0x8a => self.control = true,
            first => return Err(format!("a frame began with {first:#04x}").into()),
        }
        self.header.clear();
        self.left = len;
        Ok(())
    }
}
