//! What a simulated peer does, one act after the other.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frames::Frame;
use crate::prng::Prng;
use crate::tcp::Socket;
use crate::tls::Tls;

pub(crate) enum Act {
    Send(Vec<u8>),
    /// Tenants only
    Frame(Frame),
    Await(Until),
    Sleep(Duration),
    /// Bytes that are no TLS, where there is TLS
    BreakTls,
    Fin,
    Reset,
}

/// What a peer waits for before its next act.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// The 101
    Upgraded,
    /// That many bytes: of the console for a tenant, of anything for a compute node
    Received(usize),
    /// The proxy's first byte under TLS
    Secured,
    /// The proxy's Close, FIN or RST
    Ended,
}

/// A peer's script and how far it has come.
#[derive(Default)]
pub(crate) struct Actor {
    acts: VecDeque<Act>,
    sending: Vec<u8>,
    sent: usize,
    wake_at: Option<Duration>,
    /// Reads and sends nothing until then
    stalled_until: Option<Duration>,
    /// Has stalled at some time
    pub(crate) has_stalled: bool,
    /// Everything that went into its kernel, or into its TLS
    pub(crate) log: Vec<u8>,
    pub(crate) tls: Option<Box<Tls>>,
    /// Bytes in the clear before TLS
    clear_len: usize,
}

impl Actor {
    pub(crate) fn new(acts: Vec<Act>) -> Self {
        Self { acts: acts.into(), ..Self::default() }
    }

    /// Forgets the rest of the script. What is being sent is sent to its end, unless `cut`.
    pub(crate) fn instead(&mut self, acts: Vec<Act>, cut: bool) {
        self.acts = acts.into();
        self.wake_at = None;
        if cut {
            if let Some(tls) = &mut self.tls {
                tls.mute |= self.sent < self.sending.len();
            }
            self.sending.clear();
            self.sent = 0;
        }
    }

    /// Says all that follows under TLS. A client's hello leaves at once.
    pub(crate) fn start_tls(&mut self, tls: Tls) {
        self.log.extend(&self.sending[self.sent..]);
        self.clear_len = self.log.len();
        let tls = self.tls.insert(Box::new(tls));
        let wire = tls.take_wire();
        self.sending.extend(wire);
    }

    /// Takes what came over the wire, answers what has to be, and returns the plain bytes.
    pub(crate) fn hear(&mut self, wire: Vec<u8>) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return wire };
        let plain = tls.hear(&wire);
        let answer = tls.take_wire();
        self.sending.extend(answer);
        plain
    }

    /// How much of what it said stands in the first `wire_len` bytes that it sent.
    pub(crate) fn said_within(&self, wire_len: usize) -> usize {
        match &self.tls {
            None => wire_len,
            Some(_) if wire_len <= self.clear_len => wire_len,
            Some(tls) => self.clear_len + tls.plain_within(wire_len - self.clear_len),
        }
    }

    /// Whether the first `wire_len` bytes that it sent say that nothing more comes.
    pub(crate) fn says_end_within(&self, wire_len: usize) -> bool {
        self.has_sent(wire_len, |tls| tls.notified_at)
    }

    /// Whether there are bytes among the first `wire_len` that are no TLS.
    pub(crate) fn breaks_tls_within(&self, wire_len: usize) -> bool {
        self.has_sent(wire_len, |tls| tls.broken_at)
    }

    /// Whether the first `wire_len` bytes end the handshake for whoever reads them.
    pub(crate) fn ends_handshake_within(&self, wire_len: usize) -> bool {
        self.has_sent(wire_len, |tls| tls.finished_at)
    }

    fn has_sent(&self, wire_len: usize, end: impl Fn(&Tls) -> Option<usize>) -> bool {
        self.tls.as_ref().and_then(|tls| end(tls)).is_some_and(|end| self.clear_len + end <= wire_len)
    }

    /// Puts an act in front of the rest of the script.
    pub(crate) fn first(&mut self, act: Act) {
        self.acts.push_front(act);
    }

    pub(crate) fn stall(&mut self, until: Duration) {
        self.stalled_until = Some(until);
        self.has_stalled = true;
    }

    pub(crate) fn is_stalled(&self, now: Duration) -> bool {
        self.stalled_until.is_some_and(|until| now < until)
    }

    /// When this peer may go on by itself.
    pub(crate) fn wakes_at(&self, now: Duration) -> Option<Duration> {
        [self.stalled_until, self.wake_at].into_iter().flatten().filter(|at| *at > now).min()
    }

    pub(crate) fn can_step(&self, now: Duration, socket: &Socket, met: impl Fn(Until) -> bool) -> bool {
        if socket.peer_reset || self.is_stalled(now) || self.wake_at.is_some_and(|at| now < at) {
            return false;
        }
        if self.sent < self.sending.len() {
            return socket.to_proxy.room() > 0 || socket.proxy_reset;
        }
        let handshaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking() && tls.error.is_none());
        match self.acts.front() {
            None => false,
            Some(Act::Await(until)) => met(*until),
            Some(Act::Send(_) | Act::Frame(_)) if handshaking => false,
            Some(_) => true,
        }
    }

    /// Carries on. A frame comes back: the caller is to encode it and give it to [`Actor::send`].
    pub(crate) fn step(&mut self, now: Duration, socket: &mut Socket, rng: &mut Prng) -> Option<Frame> {
        self.wake_at = None;
        if self.sent < self.sending.len() {
            if socket.proxy_reset {
                self.sent = self.sending.len();
                return None;
            }
            let rest = &self.sending[self.sent..];
            let len = if rng.one_in(3) { rng.between(1..=rest.len()) } else { rest.len() };
            let len = socket.write_by_peer(&rest[..len]);
            if self.tls.is_none() {
                self.log.extend(&rest[..len]);
            }
            self.sent += len;
            return None;
        }
        match self.acts.pop_front()? {
            Act::Send(bytes) => self.send(bytes, rng),
            Act::BreakTls => {
                if let Some(tls) = &mut self.tls {
                    self.sending = tls.breach(rng);
                    self.sent = 0;
                }
            }
            Act::Fin if self.tls.as_ref().is_some_and(|tls| tls.may_notify()) && !rng.one_in(3) => {
                if let Some(tls) = &mut self.tls {
                    self.sending = tls.close_notify();
                    self.sent = 0;
                }
                self.acts.push_front(Act::Fin);
            }
            Act::Frame(frame) => return Some(frame),
            Act::Sleep(time) => self.wake_at = Some(now + time),
            Act::Fin => socket.to_proxy.finish(),
            Act::Reset => socket.reset_by_peer(rng),
            Act::Await(_) => {}
        }
        None
    }

    /// Where in everything it says its next act's bytes will stand.
    pub(crate) fn position(&self) -> usize {
        self.log.len() + if self.tls.is_some() { 0 } else { self.sending.len() - self.sent }
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>, rng: &mut Prng) {
        self.sending = match &mut self.tls {
            None => bytes,
            Some(tls) => {
                self.log.extend(&bytes);
                tls.say(bytes, rng)
            }
        };
        self.sent = 0;
    }
}
