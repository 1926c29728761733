//! What a simulated peer does, one act after the other.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frames::Frame;
use crate::prng::Prng;
use crate::tcp::Socket;

pub(crate) enum Act {
    Send(Vec<u8>),
    /// Tenants only
    Frame(Frame),
    Await(Until),
    Sleep(Duration),
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
    /// Everything that went into its kernel
    pub(crate) log: Vec<u8>,
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
            self.sending.clear();
            self.sent = 0;
        }
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
        match self.acts.front() {
            None => false,
            Some(Act::Await(until)) => met(*until),
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
            self.log.extend(&rest[..len]);
            self.sent += len;
            return None;
        }
        match self.acts.pop_front()? {
            Act::Send(bytes) => self.send(bytes),
            Act::Frame(frame) => return Some(frame),
            Act::Sleep(time) => self.wake_at = Some(now + time),
            Act::Fin => socket.to_proxy.finish(),
            Act::Reset => socket.reset_by_peer(rng),
            Act::Await(_) => {}
        }
        None
    }

    /// Where in everything it sends its next act's bytes will stand.
    pub(crate) fn position(&self) -> usize {
        self.log.len() + self.sending.len() - self.sent
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        self.sending = bytes;
        self.sent = 0;
    }
}
