//! A compute node: what its console is, its script, and what it has received.

use std::time::Duration;

use crate::prng::Prng;
use crate::script::{Act, Actor, Until};
use crate::tcp::Socket;
use crate::tls::Tls;

/// The node's part of the protocol up to its console, and how it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Good,
    /// Something else listens on the port
    NotRfb,
    OldVersion,
    /// Offers a security type that nobody configured
    NoCommonType,
    /// No types, and a reason
    Refuses,
    /// `SecurityResult` 1, and a reason
    AuthFails,
    /// Answers CONNECT with 404
    TunnelRefused,
    /// Shows a certificate that nobody trusts
    Untrusted,
}

pub(crate) struct Compute {
    pub(crate) actor: Actor,
    pub(crate) nature: Nature,
    /// Where in what it sends the console begins, if it does
    pub(crate) console_from: Option<usize>,
    /// Length of its answer to CONNECT
    tunnel_len: usize,
    rfb: bool,
    /// What comes behind so many bytes is under TLS
    tls_from: Option<usize>,
    /// Waits for them
    tls: Option<Tls>,
    pub(crate) received: Vec<u8>,
    pub(crate) seen_fin: bool,
    pub(crate) seen_reset: bool,
    pub(crate) went_astray: bool,
}

/// For `control::ACCESS_PATH`.
pub(crate) const CONNECT_REQUEST: &[u8] = b"CONNECT /console?ref=OpaqueRef:3f5a-session HTTP/1.1\r\n\r\n";
pub(crate) const VERSION: &[u8] = b"RFB 003.008\n";
/// `VeNCrypt`, its version, and `X509None`.
pub(crate) const VENCRYPT: &[u8] = b"\x13\0\x02\0\0\x01\x04";
const REASON: &[u8] = b"\0\0\0\x07no luck";

impl Compute {
    /// `console` is what it does once its console is there.
    pub(crate) fn new(
        nature: Nature,
        rfb: bool,
        tunnel: bool,
        tls: bool,
        console: Vec<Act>,
        rng: &mut Prng,
    ) -> Self {
        let mut tls = tls.then(|| Tls::compute(nature != Nature::Untrusted, rng));
        let (mut acts, mut to_come, mut sent, mut tunnel_len) = (Vec::new(), 0, 0, 0);
        let mut say = |acts: &mut Vec<Act>, bytes: &[u8]| {
            if rng.one_in(4) {
                acts.push(Act::Sleep(rng.millis(1..=400)));
            }
            sent += bytes.len();
            acts.push(Act::Send(bytes.to_vec()));
        };
        if tunnel {
            to_come += CONNECT_REQUEST.len();
            acts.push(Act::Await(Until::Received(to_come)));
            let refused = nature == Nature::TunnelRefused;
            let answer: &[u8] =
                if refused { b"HTTP/1.1 404 Not Found\r\n\r\n" } else { b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n" };
            tunnel_len = answer.len();
            say(&mut acts, answer);
        }
        let mut good = nature != Nature::TunnelRefused;
        let mut tls_from = None;
        if rfb && good {
            good = matches!(nature, Nature::Good | Nature::Untrusted);
            match nature {
                Nature::NotRfb => say(&mut acts, b"220 mail.example ESMTP\r\n"),
                Nature::OldVersion => say(&mut acts, b"RFB 003.003\n"),
                _ => {
                    say(&mut acts, VERSION);
                    to_come += VERSION.len();
                    acts.push(Act::Await(Until::Received(to_come)));
                }
            }
            match nature {
                Nature::NoCommonType => say(&mut acts, &[1, 2]),
                Nature::Refuses => say(&mut acts, &[&[0], REASON].concat()),
                Nature::NotRfb | Nature::OldVersion => {}
                _ if tls.is_some() => {
                    let offers: [&[u8]; 4] = [&[2, 16, 19], &[0, 2], &[0, 2, 0, 0, 1, 7, 0, 0, 1, 4], &[1]];
                    for (offer, answer_len) in offers.into_iter().zip([1, 2, 4, 0]) {
                        say(&mut acts, offer);
                        to_come += answer_len;
                        acts.push(Act::Await(Until::Received(to_come)));
                    }
                    tls_from = Some(to_come);
                    acts.push(Act::Await(Until::Secured));
                }
                _ => {
                    say(&mut acts, &[2, 16, 1]);
                    to_come += 1;
                    acts.push(Act::Await(Until::Received(to_come)));
                }
            }
            match nature {
                Nature::Good | Nature::Untrusted => say(&mut acts, &[0; 4]),
                Nature::AuthFails => say(&mut acts, b"\0\0\0\x01\0\0\0\x07no luck"),
                _ => {}
            }
        }
        if good {
            acts.extend(console);
        } else {
            if rng.one_in(2) {
                acts.push(Act::Fin);
            }
            acts.push(Act::Await(Until::Ended));
            acts.push(Act::Fin);
        }
        let mut actor = Actor::new(acts);
        if !rfb && let Some(tls) = tls.take() {
            actor.start_tls(tls);
        }
        Self {
            actor,
            nature,
            console_from: good.then_some(sent),
            tunnel_len,
            rfb,
            tls_from,
            tls: tls.filter(|_| tls_from.is_some()),
            received: Vec::new(),
            seen_fin: false,
            seen_reset: false,
            went_astray: false,
        }
    }

    fn met(&self, until: Until) -> bool {
        match until {
            Until::Received(len) => self.received.len() >= len,
            Until::Secured => self.actor.tls.is_some(),
            Until::Ended | Until::Upgraded => self.seen_fin || self.seen_reset,
        }
    }

    pub(crate) fn can_send(&self, now: Duration, socket: &Socket) -> bool {
        !socket.to_proxy.is_finished() && self.actor.can_step(now, socket, |until| self.met(until))
    }

    pub(crate) fn send(&mut self, now: Duration, socket: &mut Socket, rng: &mut Prng) {
        self.actor.step(now, socket, rng);
    }

    pub(crate) fn can_read(&self, now: Duration, socket: &Socket) -> bool {
        let news =
            if socket.proxy_reset { !self.seen_reset } else { socket.to_peer.at_end() && !self.seen_fin };
        !socket.peer_reset && !self.actor.is_stalled(now) && (socket.to_peer.arrived() > 0 || news)
    }

    pub(crate) fn read(&mut self, socket: &mut Socket, rng: &mut Prng) {
        let len = rng.pick(&[1, 100, 4_000, 100_000]);
        if socket.to_peer.arrived() > 0 {
            let mut wire = socket.to_peer.read(len);
            if let Some(from) = self.tls_from
                && self.tls.is_some()
                && let clear_len = wire.len().min(from - self.received.len())
                && clear_len < wire.len()
                && let Some(tls) = self.tls.take()
            {
                self.received.extend(wire.drain(..clear_len));
                self.actor.start_tls(tls);
            }
            let plain = self.actor.hear(wire);
            self.received.extend(plain);
            return;
        }
        if socket.proxy_reset {
            self.seen_reset = true;
        } else {
            self.seen_fin = true;
        }
        // A console that is left ends, soon.
        self.actor.instead(vec![Act::Sleep(rng.millis(0..=200)), Act::Fin], false);
    }

    /// Whether its handshake has begun, or the first thing that comes begins it.
    pub(crate) fn is_handshaking(&self) -> bool {
        let waits = self.tls.is_some() && self.tls_from == Some(self.received.len());
        waits || self.actor.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether what it says behind its console's begin is under TLS.
    pub(crate) fn is_under_tls(&self) -> bool {
        self.tls_from.is_some() || self.actor.tls.is_some()
    }

    pub(crate) fn leave(&mut self, act: Act) {
        self.actor.instead(vec![act], true);
    }

    /// Says something that is no part of its protocol.
    pub(crate) fn go_astray(&mut self, rng: &mut Prng) {
        if self.actor.tls.is_some() && rng.one_in(2) {
            self.went_astray = true;
            self.actor.first(Act::BreakTls);
            return;
        }
        // Whichever message of the handshake is due: no version, no types, and no good result.
        let garbage = [&[0, 1], rng.bytes(18).as_slice()].concat();
        let position = self.actor.position();
        if self.console_from.is_some_and(|from| position < from) {
            self.went_astray = true;
            if position < self.tunnel_len {
                // A long first line, and the rest as planned.
                self.console_from = self.console_from.map(|from| from + garbage.len());
            } else if self.rfb {
                self.console_from = None;
            }
        }
        self.actor.first(Act::Send(garbage));
    }
}
