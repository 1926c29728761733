//! Watches the frames that a broker sends, before lapin reads them (AMQP 0-9-1, section 4.2).
//!
//! Three things that lapin leaves open: it buffers a message of any length, it waits for ever for a broker that
//! stops speaking before the connection is open, and it follows a broker's heartbeat where ours is off.

use std::io;

/// type, channel, size
const HEADER_BYTES: usize = 7;
/// As much of a payload as is looked at: a tune method, or a content header up to its body size.
const PEEK_BYTES: usize = 12;
/// Longest frame; RabbitMQ proposes 131072.
const FRAME_BYTES_MAX: usize = 1 << 20;

const FRAME_METHOD: u8 = 1;
const FRAME_HEADER: u8 = 2;
const CONNECTION_TUNE: [u8; 4] = [0, 10, 0, 30];
const CONNECTION_OPEN_OK: [u8; 4] = [0, 10, 0, 41];

/// Follows the stream from its first byte on.
#[derive(Debug)]
pub(super) struct Gate {
    /// What is known of the current frame: its header, then the start of its payload
    seen: Vec<u8>,
    /// Bytes of the frame that are yet to come, once its header is complete
    left: Option<usize>,
    no_heartbeat: bool,
    message_bytes_max: u64,
    open: bool,
}

impl Gate {
    /// Lets messages of at most `message_bytes_max` pass; with `no_heartbeat` the broker seems to want none.
    pub(super) fn new(no_heartbeat: bool, message_bytes_max: u64) -> Self {
        let seen = Vec::with_capacity(HEADER_BYTES + PEEK_BYTES);
        Self { seen, left: None, no_heartbeat, message_bytes_max, open: false }
    }

    /// Whether the broker has opened the connection.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Looks at the next bytes of the stream, and changes what is to be changed.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            match &mut self.left {
                None => {
                    self.seen.push(*byte);
                    at += 1;
                    if self.seen.len() == HEADER_BYTES {
                        self.left = Some(self.frame_bytes()?);
                    }
                }
                Some(left) if self.seen.len() < HEADER_BYTES + PEEK_BYTES && *left > 1 => {
                    self.seen.push(*byte);
                    *left -= 1;
                    at += 1;
                    // The heartbeat is the last field of tune (channel-max, frame-max, heartbeat).
                    if self.no_heartbeat
                        && self.is_method(CONNECTION_TUNE)
                        && self.seen.len() > HEADER_BYTES + 10
                    {
                        *byte = 0;
                    }
                    self.inspect()?;
                }
                Some(left) => {
                    let step = (bytes.len() - at).min(*left);
                    *left -= step;
                    at += step;
                    if *left == 0 {
                        self.left = None;
                        self.seen.clear();
                    }
                }
            }
        }
        Ok(())
    }

    /// Payload and end octet of the frame whose header is there.
    fn frame_bytes(&self) -> io::Result<usize> {
        let size =
            self.seen.get(3..HEADER_BYTES).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        if size > FRAME_BYTES_MAX {
            return Err(invalid(format!(
                "the broker sent a frame of {size} bytes, at most {FRAME_BYTES_MAX} are read"
            )));
        }
        Ok(size + 1)
    }

    fn is_method(&self, method: [u8; 4]) -> bool {
        self.seen.first() == Some(&FRAME_METHOD)
            && self.seen.get(HEADER_BYTES..HEADER_BYTES + 4) == Some(&method)
    }

    fn inspect(&mut self) -> io::Result<()> {
        if self.seen.len() == HEADER_BYTES + 4 && self.is_method(CONNECTION_OPEN_OK) {
            self.open = true;
        }
        // class-id, weight, body size
        let body_size = self.seen.get(HEADER_BYTES + 4..HEADER_BYTES + PEEK_BYTES);
        if self.seen.first() == Some(&FRAME_HEADER)
            && let Some(size) = body_size.and_then(|size| size.try_into().ok()).map(u64::from_be_bytes)
            && size > self.message_bytes_max
        {
            let most = self.message_bytes_max;
            return Err(invalid(format!(
                "the broker sent a message of {size} bytes, at most {most} are read"
            )));
        }
        Ok(())
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0], &size[..], payload, &[0xce]].concat()
    }

    fn tune(heartbeat: u16) -> Vec<u8> {
        frame(1, &[&CONNECTION_TUNE[..], &[0x07, 0xff], &[0, 2, 0, 0], &heartbeat.to_be_bytes()].concat())
    }

    fn content_header(body_size: u64) -> Vec<u8> {
        frame(2, &[&[0, 60, 0, 0], &body_size.to_be_bytes()[..], &[0x80, 0, 3, b'a', b'/', b'b']].concat())
    }

    /// What comes out, and whether the connection is open, however the stream is cut.
    fn pass(no_heartbeat: bool, stream: &[u8]) -> (io::Result<Vec<u8>>, bool) {
        let run = |piece: usize| {
            let mut gate = Gate::new(no_heartbeat, 1_000);
            let mut out = stream.to_vec();
            let result = out.chunks_mut(piece).try_for_each(|piece| gate.pass(piece));
            (result.map(|()| out).map_err(|error| error.to_string()), gate.is_open())
        };
        let whole = run(stream.len());
        for piece in 1..stream.len() {
            assert_eq!(run(piece), whole, "in pieces of {piece}");
        }
        (whole.0.map_err(io::Error::other), whole.1)
    }

    #[test]
    fn a_heartbeat_is_taken_out_of_tune_only_when_ours_is_off() {
        let start = frame(1, &[0, 10, 0, 10, 0, 9, 1, 2, 3, 4, 5, 60, 60]);
        let stream = [start.clone(), tune(60), tune(60)].concat();
        assert_eq!(pass(false, &stream).0.unwrap(), stream);
        assert_eq!(pass(true, &stream).0.unwrap(), [start, tune(0), tune(0)].concat());
    }

    #[test]
    fn the_connection_is_open_with_open_ok() {
        assert!(!pass(false, &tune(60)).1);
        let open_ok = frame(1, &[&CONNECTION_OPEN_OK[..], &[0]].concat());
        assert!(pass(false, &[tune(60), open_ok].concat()).1);
        // Not when the same bytes are a body.
        assert!(!pass(false, &frame(3, &[&CONNECTION_OPEN_OK[..], &[0]].concat())).1);
    }

    #[test]
    fn long_messages_and_frames_end_the_connection() {
        let body = frame(3, &[b'x'; 700]);
        let fits = [content_header(1_000), body.clone(), frame(8, &[])].concat();
        assert_eq!(pass(false, &fits).0.unwrap(), fits);
        let long = pass(false, &[body, content_header(1_001)].concat()).0.unwrap_err().to_string();
        assert_eq!(long, "the broker sent a message of 1001 bytes, at most 1000 are read");
        let frame = pass(false, &[3, 0, 1, 0xff, 0xff, 0xff, 0xff]).0.unwrap_err().to_string();
        assert!(frame.starts_with("the broker sent a frame of 4294967295 bytes"), "{frame}");
    }
}
