//! Performs the outputs of sessions and produces their inputs: the only layer of the data path that makes
//! system calls.
//!
//! The seam is completion-shaped: an operation is submitted, and later its completion is an
//! [`Input`]. `io_uring` gives completions by nature ([`uring`]); the [`epoll`] engine makes
//! them (it tries the call, parks on `WouldBlock`, and reports when the call is done). Which system call
//! carries an output out is the engine's business alone, so an engine can be added without a change here.
//!
//! This layer does not know what bytes mean; it does not decide anything about a session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::session::limits::{Limits, size};
use crate::session::{Input, Output};

mod accept;
mod alarm;
pub mod descriptors;
pub mod detect;
pub mod epoll;
pub mod kernel_tls;
pub mod listener;
mod pipes;
mod pool;
mod spread;
pub mod sys;
mod timers;
pub mod uring;
mod worker;

pub use pipes::PipeBudget;
pub use spread::Seat;
pub use worker::{Census, HANDSHAKES_PER_TURN, Worker, WorkerHandle, WorkerSettings};

/// Reads in one turn. What they brought is written before more is read, so the pool's hottest buffers serve
/// every session.
const READS_PER_TURN: usize = 16;

/// Events of a turn that there is room for from the start. More make the lists grow, once.
const EVENTS_OF_A_TURN: usize = 256;

/// Slots that tables of connections have room for from the start, where as many are allowed. Room that was never used
/// costs no memory; a table that grows is copied in the middle of a burst, and leaves holes where it was.
const SLOTS_AT_START: u64 = 16_384;

/// Bytes after which a turn reads no more: a larger batch would push itself out of the processor's cache.
const BYTES_PER_TURN: usize = 65_536;

/// What tables of connections have room for from the start.
fn slots_at_start(limits: &Limits) -> usize {
    size(limits.sessions_max.min(SLOTS_AT_START))
}

/// A connection's slot in its engine, and which of the slot's users it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The slot
    pub index: u32,
    /// Counts the slot's users: a completion for an earlier one is stale and dropped
    pub generation: u32,
}

/// What an engine reports.
#[derive(Debug)]
pub enum Event {
    /// A tenant connected. Its slot is taken until [`Event::Released`].
    Accepted {
        /// The new connection
        id: SessionId,
        /// The tenant's address
        peer: SocketAddr,
    },
    /// An operation is done.
    Completed {
        /// Whose operation
        id: SessionId,
        /// What came of it
        input: Input,
    },
    /// The last operation of a closed connection has come back; its slot may be taken again.
    Released {
        /// The slot and its last user
        id: SessionId,
    },
    /// Somebody called [`Wake::wake`].
    Woken,
}

/// Performs outputs for one worker. Implemented by [`uring::UringEngine`], [`epoll::EpollEngine`] and the
/// tests' simulation.
///
/// # The contract
///
/// * `submit` starts one operation and never blocks. A chunk belongs to the engine until the operation
///   completes; it comes back, filled or not at all, in the completion.
/// * What is done at once is answered by what `submit` returns, and not once more by an event. Reads are never
///   answered so: whoever reads in turn keeps the buffers hot and the sessions equal.
/// * Every operation of the list on [`crate::session`] is answered once by an [`Event::Completed`], unless
///   [`Output::Close`] comes before: then the rest is cancelled, and [`Event::Released`] follows when nothing
///   of the connection is left.
/// * Completions of one side's reads, and of its writes, are reported in the order of their submission.
/// * An engine keeps no buffer for a connection that has nothing to read or write.
pub trait Engine {
    /// The one clock of the data path, which is read once a turn: when the last [`Engine::wait`] had waited.
    fn now(&self) -> Instant;

    /// Starts one operation of connection `id`. [`Output::Ask`] and [`Output::Wait`] are the worker's.
    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input>;

    /// Submits the batch, waits until something completed or `deadline` has come (for ever with `None`), and
    /// appends what completed to `events`.
    ///
    /// # Errors
    ///
    /// Only what makes the engine unusable; failures of a connection are its inputs.
    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Stops listening, for good.
    fn stop_accepting(&mut self);

    /// Something that makes a `wait` on another thread return with [`Event::Woken`].
    fn waker(&self) -> Arc<dyn Wake>;
}

/// Interrupts an engine's wait from another thread.
pub trait Wake: Send + Sync {
    /// Makes the present or the next wait return.
    fn wake(&self);
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn an_event_fits_a_line_of_the_cache() {
        // It is moved several times on its way to the session.
        assert!(size_of::<Event>() <= 64, "{} bytes", size_of::<Event>());
    }
}
