//! A tenant: its script, a record of what it sent, and what it has seen of the proxy.

use std::time::Duration;

use crate::frames::{self, Frame, Sent};
use crate::prng::Prng;
use crate::script::{Act, Actor, Until};
use crate::tcp::Socket;

pub(crate) struct Tenant {
    pub(crate) actor: Actor,
    pub(crate) sent: Sent,
    pub(crate) seen: Seen,
    manners: Manners,
    reacted: bool,
    /// Reads nothing until then, but goes on sending
    deaf_until: Option<Duration>,
}

/// How a tenant takes the proxy's Close or FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Close if one is due, then FIN
    Polite,
    /// Some more frames, then FIN
    Talkative,
    /// Nothing at all: the proxy has to give up
    Deaf,
}

/// What the tenant has received.
#[derive(Default)]
pub(crate) struct Seen {
    buffer: Vec<u8>,
    pub(crate) responses: Vec<(u16, Vec<u8>)>,
    pub(crate) upgraded: bool,
    /// Payload of all binary frames
    pub(crate) data: Vec<u8>,
    /// Lengths of the binary frames
    pub(crate) frames: Vec<usize>,
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) close: Option<Vec<u8>>,
    pub(crate) fault: Option<&'static str>,
    pub(crate) fin: bool,
    pub(crate) reset: bool,
}

impl Tenant {
    pub(crate) fn new(acts: Vec<Act>, manners: Manners) -> Self {
        Self {
            actor: Actor::new(acts),
            sent: Sent::default(),
            seen: Seen::default(),
            manners,
            reacted: false,
            deaf_until: None,
        }
    }

    fn met(&self, until: Until) -> bool {
        match until {
            Until::Upgraded => self.seen.upgraded,
            Until::Received(len) => self.seen.data.len() >= len,
            Until::Secured => self.actor.tls.is_some(),
            Until::Ended => self.seen.is_over(),
        }
    }

    pub(crate) fn can_send(&self, now: Duration, socket: &Socket) -> bool {
        !socket.to_proxy.is_finished() && self.actor.can_step(now, socket, |until| self.met(until))
    }

    pub(crate) fn send(&mut self, now: Duration, socket: &mut Socket, rng: &mut Prng) {
        if let Some(frame) = self.actor.step(now, socket, rng) {
            let key = rng.next().to_le_bytes();
            let wire = self.sent.encode(&frame, self.actor.position(), [key[0], key[1], key[2], key[3]]);
            self.actor.send(wire, rng);
        }
    }

    pub(crate) fn can_read(&self, now: Duration, socket: &Socket) -> bool {
        let news =
            if socket.proxy_reset { !self.seen.reset } else { socket.to_peer.at_end() && !self.seen.fin };
        let deaf = self.actor.is_stalled(now) || self.deaf_until.is_some_and(|until| now < until);
        !socket.peer_reset && !deaf && (socket.to_peer.arrived() > 0 || news)
    }

    pub(crate) fn read(&mut self, socket: &mut Socket, rng: &mut Prng) {
        let len = rng.pick(&[1, 100, 4_000, 100_000]);
        if socket.to_peer.arrived() > 0 {
            let plain = self.actor.hear(socket.to_peer.read(len));
            self.seen.take(&plain);
        } else if socket.proxy_reset {
            self.seen.reset = true;
        } else {
            self.seen.fin = true;
        }
        if self.seen.is_over() && !self.reacted {
            self.reacted = true;
            self.react(rng);
        }
    }

    fn react(&mut self, rng: &mut Prng) {
        let mut acts = vec![Act::Sleep(rng.millis(0..=200))];
        match self.manners {
            Manners::Deaf => {
                self.actor.instead(Vec::new(), false);
                return;
            }
            Manners::Polite => {}
            Manners::Talkative => {
                for _ in 0..rng.between(1..=4) {
                    acts.push(Act::Frame(Frame::Ping(rng.bytes(100))));
                }
            }
        }
        if let Some(payload) = &self.seen.close {
            acts.push(Act::Frame(Frame::Close(payload.clone())));
        }
        acts.push(Act::Fin);
        self.actor.instead(acts, false);
    }

    /// Leaves without a word, in the middle of a frame if it must be.
    pub(crate) fn leave(&mut self, act: Act) {
        self.actor.instead(vec![act], true);
    }

    pub(crate) fn close(&mut self, rng: &mut Prng) {
        let acts = vec![Act::Frame(close(rng)), Act::Await(Until::Ended), Act::Fin];
        self.actor.instead(acts, false);
    }

    /// When this tenant may go on by itself.
    pub(crate) fn wakes_at(&self, now: Duration) -> Option<Duration> {
        self.actor.wakes_at(now).into_iter().chain(self.deaf_until.filter(|at| *at > now)).min()
    }

    /// Asks for pongs without end, and does not read them.
    pub(crate) fn flood(&mut self, until: Duration, rng: &mut Prng) {
        self.deaf_until = Some(until);
        self.actor.has_stalled = true;
        for _ in 0..60 {
            self.actor.first(Act::Frame(Frame::Ping(rng.bytes(125))));
        }
    }

    /// Sends what no proxy may accept.
    pub(crate) fn breach(&mut self, text_refused: bool, upgrading: bool, rng: &mut Prng) {
        if self.actor.tls.is_some() && rng.one_in(2) {
            self.actor.instead(vec![Act::BreakTls, Act::Await(Until::Ended), Act::Fin], false);
            return;
        }
        let breach = if upgrading {
            let wire: &[u8] = match rng.below(if text_refused && !self.sent.message_open { 7 } else { 6 }) {
                0 => &[0x89, 0x00],
                1 => &[0xc2, 0x80, 1, 2, 3, 4],
                2 => &[0x83, 0x80, 1, 2, 3, 4],
                3 => &[0x09, 0x80, 1, 2, 3, 4],
                4 => &[0x88, 0x81, 0, 0, 0, 0, 3],
                5 => &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed],
                _ => &[0x81, 0x81, 0, 0, 0, 0, b'x'],
            };
            Act::Frame(Frame::Broken(wire.to_vec(), if wire[0] == 0x81 { 1003 } else { 1002 }))
        } else {
            // Neither a request nor, behind an upgrade that is under way, a frame.
            Act::Frame(Frame::Broken(b"GET /\nnot HTTP\r\n\r\n".to_vec(), 1002))
        };
        self.actor.instead(vec![breach, Act::Await(Until::Ended), Act::Fin], false);
    }
}

/// A Close as clients send it: empty, or with a code and perhaps a reason.
pub(crate) fn close(rng: &mut Prng) -> Frame {
    Frame::Close(match rng.below(4) {
        0 => Vec::new(),
        1 => vec![0x03, 0xe8],
        2 => vec![0x03, 0xe9],
        _ => [&[0x0b, 0xb8], b"bye".as_slice()].concat(),
    })
}

impl Seen {
    pub(crate) fn is_over(&self) -> bool {
        self.close.is_some() || self.fin || self.reset
    }

    /// Bytes of a frame or answer whose end has not come.
    pub(crate) fn unfinished(&self) -> usize {
        self.buffer.len()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        loop {
            let taken = if self.upgraded { self.take_frame(rest) } else { self.take_response(rest) };
            let Some(len) = taken else { break };
            rest = &rest[len..];
        }
        self.buffer = rest.to_vec();
    }

    fn take_response(&mut self, bytes: &[u8]) -> Option<usize> {
        let head_len = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let Ok(head) = std::str::from_utf8(&bytes[..head_len]) else {
            self.fault = Some("a response head that is no text");
            return None;
        };
        let Some(status) = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok()) else {
            self.fault = Some("a response head without a status");
            return None;
        };
        if status == 101 {
            self.upgraded = true;
            return Some(head_len);
        }
        let field = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let len: usize = field.and_then(|value| value.parse().ok()).unwrap_or(0);
        let body = bytes.get(head_len..head_len + len)?;
        self.responses.push((status, body.to_vec()));
        Some(head_len + len)
    }

    fn take_frame(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.close.is_some() && !bytes.is_empty() {
            self.fault = Some("bytes behind the Close");
        }
        let (first, payload, len) = frames::parse(bytes)?;
        match first {
            0x82 => {
                self.data.extend(payload);
                self.frames.push(payload.len());
            }
            0x88 => self.close = Some(payload.to_vec()),
            0x89 if payload.is_empty() => {}
            0x8a => self.pongs.push(payload.to_vec()),
            _ => self.fault = Some("a frame that no proxy sends"),
        }
        Some(len)
    }
}
