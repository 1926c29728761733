//! WebSocket as the tenants speak it, written apart from the product's own code (RFC 6455 section 5.2):
//! masked frames out, with a record of what they carry, and unmasked frames in.

/// A frame, or something that only looks like one.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Data {
        text: bool,
        continuation: bool,
        fin: bool,
        payload: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
    /// Bytes that fail the connection, and the code that answers them
    Broken(Vec<u8>, u16),
}

/// Everything that a tenant has sent, as an oracle needs it.
#[derive(Default)]
pub(crate) struct Sent {
    /// Of all data frames up to the end of the stream of frames
    pub(crate) payload: Vec<u8>,
    segments: Vec<Segment>,
    pub(crate) pings: Vec<Vec<u8>>,
    pub(crate) end: Option<End>,
    pub(crate) message_open: bool,
}

struct Segment {
    wire_start: usize,
    len: usize,
}

/// What ends a stream of frames, and how many bytes show it.
#[derive(Debug)]
pub(crate) enum End {
    Close { wire_end: usize, payload: Vec<u8> },
    Violation { wire_start: usize, code: u16 },
}

impl Sent {
    /// The wire bytes of `frame`, which will stand behind `position` bytes.
    pub(crate) fn encode(&mut self, frame: &Frame, position: usize, key: [u8; 4]) -> Vec<u8> {
        match frame {
            Frame::Data { text, continuation, fin, payload } => {
                let opcode = if *continuation {
                    0
                } else if *text {
                    1
                } else {
                    2
                };
                let wire = masked(opcode | if *fin { 0x80 } else { 0 }, payload, key);
                if self.end.is_none() {
                    self.message_open = !fin;
                    let wire_start = position + wire.len() - payload.len();
                    self.segments.push(Segment { wire_start, len: payload.len() });
                    self.payload.extend(payload);
                }
                wire
            }
            Frame::Ping(payload) => {
                self.pings.push(payload.clone());
                masked(0x89, payload, key)
            }
            Frame::Pong(payload) => masked(0x8a, payload, key),
            Frame::Close(payload) => {
                let wire = masked(0x88, payload, key);
                let wire_end = position + wire.len();
                self.end.get_or_insert(End::Close { wire_end, payload: payload.clone() });
                wire
            }
            Frame::Broken(wire, code) => {
                self.end.get_or_insert(End::Violation { wire_start: position, code: *code });
                wire.clone()
            }
        }
    }

    /// How many payload bytes the first `wire_len` bytes carry.
    pub(crate) fn payload_within(&self, wire_len: usize) -> usize {
        self.segments.iter().map(|s| wire_len.saturating_sub(s.wire_start).min(s.len)).sum()
    }
}

fn masked(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..126 => wire.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            wire.push(0x80 | 126);
            wire.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    wire.extend(key);
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// The first whole frame of what a proxy sent: first byte, payload, and length on the wire.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, len): (usize, usize) = match second {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())).unwrap()),
        len => (2, usize::from(len)),
    };
    Some((first, bytes.get(start..start.checked_add(len)?)?, start + len))
}
