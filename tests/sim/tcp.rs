//! A TCP connection between the proxy and a peer, as far as a proxy can go wrong with one: bounded kernel
//! buffers at both ends, a FIN behind the bytes, and the reset that a careless close sends.

use std::collections::VecDeque;

use crate::prng::Prng;

/// One direction: the sender's kernel buffer, then the receiver's.
pub(crate) struct Pipe {
    sent: VecDeque<u8>,
    arrived: VecDeque<u8>,
    capacity: usize,
    fin: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { sent: VecDeque::new(), arrived: VecDeque::new(), capacity, fin: false }
    }

    pub(crate) fn room(&self) -> usize {
        if self.fin { 0 } else { self.capacity - self.sent.len() }
    }

    /// Takes what fits.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.room());
        self.sent.extend(&bytes[..len]);
        len
    }

    /// Sends FIN behind what was written.
    pub(crate) fn finish(&mut self) {
        self.fin = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.fin
    }

    pub(crate) fn can_transfer(&self) -> bool {
        !self.sent.is_empty() && self.arrived.len() < self.capacity
    }

    /// Moves some bytes from one kernel to the other.
    pub(crate) fn transfer(&mut self, rng: &mut Prng) {
        let most = self.sent.len().min(self.capacity - self.arrived.len());
        let len = if rng.one_in(2) { most } else { rng.between(1..=most) };
        self.arrived.extend(self.sent.drain(..len));
    }

    /// Bytes in both kernels.
    pub(crate) fn held(&self) -> usize {
        self.sent.len() + self.arrived.len()
    }

    pub(crate) fn arrived(&self) -> usize {
        self.arrived.len()
    }

    pub(crate) fn read(&mut self, len: usize) -> Vec<u8> {
        self.arrived.drain(..len.min(self.arrived.len())).collect()
    }

    /// Every byte and the FIN behind them have arrived and were read.
    pub(crate) fn at_end(&self) -> bool {
        self.fin && self.sent.is_empty() && self.arrived.is_empty()
    }
}

pub(crate) struct Socket {
    pub(crate) to_proxy: Pipe,
    pub(crate) to_peer: Pipe,
    /// The peer sent RST.
    pub(crate) peer_reset: bool,
    /// The proxy's kernel sent RST.
    pub(crate) proxy_reset: bool,
    proxy_closed: bool,
}

impl Socket {
    pub(crate) fn new(rng: &mut Prng) -> Self {
        Self {
            to_proxy: Pipe::new(rng.pick(&[64, 700, 2_000, 5_000])),
            to_peer: Pipe::new(rng.pick(&[64, 700, 2_000, 5_000])),
            peer_reset: false,
            proxy_reset: false,
            proxy_closed: false,
        }
    }

    /// The peer breaks the connection. Linux lets the proxy read what had arrived; others do not.
    pub(crate) fn reset_by_peer(&mut self, rng: &mut Prng) {
        self.peer_reset = true;
        self.to_proxy.sent.clear();
        if rng.one_in(2) {
            self.to_proxy.arrived.clear();
        }
        self.to_peer.sent.clear();
    }

    /// close(2) by the proxy. Unread input makes the kernel send RST and forget what it has not sent.
    pub(crate) fn close_by_proxy(&mut self) {
        self.proxy_closed = true;
        self.to_peer.finish();
        if self.to_proxy.arrived() > 0 {
            self.answer_with_reset();
        }
    }

    /// The peer writes. A closed socket answers bytes with RST.
    pub(crate) fn write_by_peer(&mut self, bytes: &[u8]) -> usize {
        let len = self.to_proxy.write(bytes);
        if self.proxy_closed && len > 0 {
            self.answer_with_reset();
        }
        len
    }

    /// Bytes that were under way when the proxy closed arrive at a closed socket.
    pub(crate) fn transfer_to_proxy(&mut self, rng: &mut Prng) {
        self.to_proxy.transfer(rng);
        if self.proxy_closed {
            self.answer_with_reset();
        }
    }

    fn answer_with_reset(&mut self) {
        self.proxy_reset = true;
        self.to_peer.sent.clear();
        self.to_proxy.sent.clear();
        self.to_proxy.arrived.clear();
    }
}
