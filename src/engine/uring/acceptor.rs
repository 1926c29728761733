//! When to accept: one multishot operation, taken back at the limit and while the process lacks descriptors.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::sys::socket::{Shutdown, shutdown};

use super::operation::{Key, Operation};
use super::ring::Ring;
use super::submission::FileSlot;
use crate::engine::accept::{ACCEPT_PAUSE, Pace, is_of_one_connection};
use crate::telemetry::counters::accept_pauses;
use crate::telemetry::labels::AcceptPause;

/// The listening socket and the operation on it.
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    armed: Option<Key>,
    cancelling: bool,
    paused_until: Option<Instant>,
    pace: Pace,
    /// Accepted beyond the limit or the pace, before the kernel took note of the cancellation: no more than the listen
    /// queue held.
    surplus: VecDeque<TcpStream>,
}

impl Acceptor {
    /// Takes the listener; nothing is accepted before [`Acceptor::update`].
    pub(super) fn new(listener: TcpListener, ring: &Ring, pace: Pace) -> io::Result<Self> {
        // A nonblocking socket's operations end with WouldBlock instead of waiting.
        listener.set_nonblocking(false)?;
        ring.set_file(FileSlot::LISTENER, Some(listener.as_fd()))?;
        Ok(Self {
            listener: Some(listener),
            armed: None,
            cancelling: false,
            paused_until: None,
            pace,
            surplus: VecDeque::new(),
        })
    }

    /// Starts or cancels the operation, according to whether there is room for another connection.
    pub(super) fn update(&mut self, ring: &mut Ring, room: bool) {
        if self.paused_until.is_some_and(|until| Instant::now() >= until) {
            self.paused_until = None;
        }
        let wanted =
            room && self.listener.is_some() && self.paused_until.is_none() && self.surplus.is_empty();
        match self.armed {
            None if wanted => self.armed = Some(ring.start(Operation::Accept)),
            Some(target) if !wanted && !self.cancelling => {
                ring.start(Operation::Cancel { id: None, target });
                self.cancelling = true;
            }
            _ => {}
        }
    }

    /// Takes a completion of the operation.
    pub(super) fn completed(&mut self, result: io::Result<TcpStream>, more: bool) {
        if !more {
            self.armed = None;
            self.cancelling = false;
        }
        match result {
            Ok(stream) if self.listener.is_some() => self.surplus.push_back(stream),
            // Accepted, or ended, because listening ended.
            Ok(_) => {}
            Err(_) if self.listener.is_none() => {}
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) || is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!("no connection can be accepted for {ACCEPT_PAUSE:?}: {error}");
                accept_pauses().of(AcceptPause::Failed).add(1);
                self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
            }
        }
    }

    /// Whether connections were accepted that have no slot yet.
    pub(super) fn has_surplus(&self) -> bool {
        !self.surplus.is_empty()
    }

    /// The next connection that was accepted and has no slot yet, unless it is too early for one.
    pub(super) fn next(&mut self) -> Option<TcpStream> {
        if self.surplus.is_empty() || self.paused_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match self.pace.take(Instant::now) {
            Ok(()) => self.surplus.pop_front(),
            Err(until) => {
                accept_pauses().of(AcceptPause::Pace).add(1);
                self.paused_until = Some(until);
                None
            }
        }
    }

    /// When accepting goes on after a failure, or in time.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Stops for good.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        if let Some(listener) = self.listener.take() {
            // Kernels before 6.13 keep a file that left the table until older operations of the whole ring have ended:
            // without this, clients would still be connected, to nobody.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        self.surplus.clear();
        self.paused_until = None;
        if let Err(error) = ring.set_file(FileSlot::LISTENER, None) {
            tracing::warn!("the listener could not be taken out of the ring: {error}");
        }
        self.update(ring, false);
    }
}
