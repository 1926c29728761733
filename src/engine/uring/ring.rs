//! The one owner of the `io_uring` and of all memory that the kernel may touch through it. Its methods are
//! safe: an operation's memory moves in when it starts and comes back in its completion.
//!
//! It knows operations and their results, not sessions; what follows from a result is the engine's business.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use super::buffers::{BUFFER_BYTES_MAX, BufferRing};
use super::operation::{Key, Operation, Operations};
use super::submission::{FileSlot, OPCODES, standing_poll, submission};
use crate::engine::SessionId;
use crate::engine::alarm::Alarm;
use crate::proto::bytes::Chunk;
use crate::session::Side;

/// Submissions queued before the kernel takes them.
const SUBMISSIONS: u32 = 1_024;

/// Completions that the kernel queues in shared memory; further ones wait inside the kernel.
const COMPLETIONS: u32 = 8_192;

/// `IORING_REGISTER_FILES_UPDATE` of `linux/io_uring.h`: the one registration needed once the ring runs.
const REGISTER_FILES_UPDATE: u8 = 6;

/// What a poll says of a socket whose peer sends no more.
const ENDING: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR).cast_unsigned() as u32;

/// How long the last operations may take to be cancelled when a ring is dropped.
const QUIESCE: Duration = Duration::from_secs(2);

/// What came of an operation.
pub(super) enum Completion {
    /// A tenant connected, or accepting ended.
    Accepted {
        /// The connection, or why accepting ended
        result: io::Result<TcpStream>,
        /// More connections may follow without a new operation
        more: bool,
    },
    /// The waker was woken.
    Woken,
    /// A receive ended.
    Received {
        /// Whose
        id: SessionId,
        /// From which side
        from: Side,
        /// The bytes; none of them at the end of the stream
        result: io::Result<Chunk>,
        /// The socket holds more
        more: bool,
    },
    /// A send ended.
    Sent {
        /// Whose
        id: SessionId,
        /// To which side
        to: Side,
        /// The buffer, back again
        chunk: Chunk,
        /// How many of its bytes were sent
        result: io::Result<usize>,
    },
    /// A connect ended.
    Connected {
        /// Whose
        id: SessionId,
        /// Whether the connection stands
        result: io::Result<()>,
    },
    /// A socket has room for bytes, or is broken, which trying will tell.
    Polled {
        /// Whose
        id: SessionId,
        /// Which side's socket
        side: Side,
    },
    /// A socket that is watched has bytes or is broken, or the watch has ended.
    Watched {
        /// Which watch, as [`Key::user_data`] names it
        user_data: u64,
        /// No bytes come behind those that are there
        last: bool,
        /// The watch goes on
        more: bool,
    },
    /// Another operation of a session has come back: a timeout or a cancellation.
    Counted(SessionId),
    /// An operation of nobody's.
    Nothing,
}

/// An `io_uring` of one thread.
pub(super) struct Ring {
    // Dropped in `Drop::drop`, in this order: the kernel lets go of the memory below when the ring is gone and
    // no operation is under way. Where operations do not come back the memory is leaked rather than freed.
    io: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<BufferRing>,
    operations: ManuallyDrop<Operations>,
    event: File,
    alarm: Alarm,
    /// Why a submission failed, to be reported by [`Ring::enter`]
    failed: Option<io::Error>,
    overflowing: bool,
    overflows: u64,
}

impl Ring {
    /// A ring with room for `sessions` sessions' files and receive buffers of at most `read_bytes`. It belongs
    /// to the calling thread.
    ///
    /// # Errors
    ///
    /// The step that the kernel refused, and why.
    pub(super) fn new(
        sessions: u32,
        read_bytes: usize,
        pool_bytes: usize,
    ) -> Result<Self, (&'static str, io::Error)> {
        let at = |step| move |error: io::Error| (step, error);
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)
            .map_err(at("io_uring_setup"))?;
        let submitter = io.submitter();
        let files = FileSlot::RESERVED + sessions * 2;
        submitter.register_files_sparse(files).map_err(at("registering a file table"))?;
        let buffers =
            BufferRing::new(read_bytes.min(BUFFER_BYTES_MAX), pool_bytes).map_err(at("mapping buffers"))?;
        // SAFETY: `Drop` closes the ring of requests first and leaks the buffers where operations are left. When
        // a step below fails none has been started.
        unsafe { buffers.register(&submitter) }.map_err(at("registering a buffer ring"))?;
        let event = event_counter().map_err(at("making an event descriptor"))?;
        restrict(&io).map_err(at("restricting the ring"))?;
        submitter.register_enable_rings().map_err(at("enabling the ring"))?;
        let mut ring = Self {
            io: ManuallyDrop::new(io),
            buffers: ManuallyDrop::new(buffers),
            operations: ManuallyDrop::default(),
            event,
            alarm: Alarm::new().map_err(at("making a timer"))?,
            failed: None,
            overflowing: false,
            overflows: 0,
        };
        let event = ring.event.try_clone().map_err(at("copying a descriptor"))?;
        ring.set_file(FileSlot::EVENT, Some(event.as_fd())).map_err(at("registering a file"))?;
        ring.start(Operation::ReadEvent(Box::default()));
        ring.set_file(FileSlot::ALARM, Some(ring.alarm.as_fd())).map_err(at("registering a file"))?;
        ring.start(Operation::AwaitAlarm);
        Ok(ring)
    }

    /// The counter whose increase completes as [`Completion::Woken`].
    pub(super) fn event(&self) -> io::Result<File> {
        self.event.try_clone()
    }

    /// Puts a file into the table, or takes the one there out. Operations under way keep theirs.
    pub(super) fn set_file(&self, slot: FileSlot, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        self.io.submitter().register_files_update(slot.number(), &[fd]).map(|_| ())
    }

    /// Queues an operation; [`Ring::enter`] hands it to the kernel.
    pub(super) fn start(&mut self, operation: Operation) -> Key {
        self.make_room(1);
        let key = self.operations.insert(operation);
        self.push(key, Flags::empty());
        key
    }

    /// Queues the standing poll of a socket, which is [`Key::of_watch`].
    pub(super) fn start_watch(&mut self, key: Key, slot: FileSlot) {
        self.make_room(1);
        self.operations.watch_begun();
        let entry = standing_poll(slot).user_data(key.user_data());
        // SAFETY: a poll names no memory.
        let pushed = unsafe { self.io.submission().push(&entry) };
        debug_assert!(pushed.is_ok() || self.failed.is_some(), "room was made");
    }

    /// Queues an operation, and behind it one that ends it when its time is over. Returns the first one's key.
    pub(super) fn start_with_timeout(&mut self, operation: Operation, timeout: Operation) -> Key {
        // A link ends with the batch of submissions, so both must fit into one.
        self.make_room(2);
        let key = self.operations.insert(operation);
        self.push(key, Flags::IO_LINK);
        let timeout = self.operations.insert(timeout);
        self.push(timeout, Flags::empty());
        key
    }

    /// [`Ring::enter`] until `deadline` at the latest, where `now` is when the turn began.
    ///
    /// # Errors
    ///
    /// The ring or its timer is not usable any more.
    pub(super) fn enter_until(
        &mut self,
        want: usize,
        deadline: Option<Instant>,
        now: Instant,
    ) -> io::Result<()> {
        let want = if want > 0 && self.alarm.set(deadline, now)? { want } else { 0 };
        self.enter(want, None)
    }

    /// Hands over what was queued, and waits until `want` operations have completed or the time is over.
    ///
    /// # Errors
    ///
    /// The ring is not usable any more.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let queue = self.io.submission();
        let (idle, overflowing) = (queue.is_empty() && !queue.taskrun(), queue.cq_overflow());
        drop(queue);
        self.note_overflow(overflowing);
        if want == 0 && idle && !overflowing {
            return Ok(());
        }
        let timeout = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            arguments = arguments.timespec(timeout);
        }
        match self.io.submitter().submit_with_args(want, &arguments) {
            Err(error) if is_passing(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// The next completion, if there is one.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.io.completion().next()?;
        Some(self.complete(&entry))
    }

    /// Takes back a chunk that came with [`Completion::Received`]; returns those that are no receive buffers.
    pub(super) fn recycle(&mut self, chunk: Chunk) -> Option<Chunk> {
        if chunk.capacity() != self.buffers.chunk_bytes() {
            return Some(chunk);
        }
        self.buffers.put(chunk);
        None
    }

    /// Bytes of a receive buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffers.chunk_bytes()
    }

    /// Times that completions did not fit the queue. None was lost, but each costs time.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Operations that the kernel has not completed.
    pub(super) fn under_way(&self) -> usize {
        self.operations.len()
    }

    fn note_overflow(&mut self, overflowing: bool) {
        if overflowing && !self.overflowing {
            self.overflows += 1;
            if self.overflows == 1 {
                tracing::warn!("more than {COMPLETIONS} completions at once: io_uring's queue overflowed");
            }
        }
        self.overflowing = overflowing;
    }

    /// Makes the queue take `len` more submissions, all in one batch.
    fn make_room(&mut self, len: usize) {
        loop {
            let queue = self.io.submission();
            if queue.capacity() - queue.len() >= len || self.failed.is_some() {
                return;
            }
            drop(queue);
            match self.io.submit() {
                Err(error) if is_passing(&error) => std::thread::yield_now(),
                Err(error) => self.failed = Some(error),
                Ok(_) => {}
            }
        }
    }

    fn push(&mut self, key: Key, flags: Flags) {
        let Some(operation) = self.operations.get_mut(key.user_data()) else { return };
        let entry = submission(operation);
        let entry = entry.flags(flags).user_data(key.user_data());
        // SAFETY: the memory that the entry names belongs to `operation`, on the heap, and `operations` keeps
        // it untouched until `complete` sees the last completion of this key, or for ever (see `Drop`).
        // Receives name no memory: the kernel takes it from `buffers`, which keeps its own promise.
        let pushed = unsafe { self.io.submission().push(&entry) };
        debug_assert!(pushed.is_ok() || self.failed.is_some(), "room was made");
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Completion {
        if Key::watched(entry.user_data()).is_some() {
            return self.watched(entry);
        }
        let result = u32::try_from(entry.result())
            .map_err(|_| io::Error::from_raw_os_error(entry.result().checked_neg().unwrap_or(libc::EIO)));
        let more = cqueue::more(entry.flags());
        let chunk = cqueue::buffer_select(entry.flags()).and_then(|bid| {
            let len = result.as_ref().map_or(0, |len| *len as usize);
            self.buffers.take(bid, len)
        });
        let operation = if more {
            match self.operations.get_mut(entry.user_data()) {
                Some(Operation::Accept) => Some(Operation::Accept),
                Some(Operation::AwaitAlarm) => Some(Operation::AwaitAlarm),
                _ => None,
            }
        } else {
            self.operations.take(entry.user_data())
        };
        match operation {
            Some(Operation::Accept) => Completion::Accepted { result: result.and_then(accepted), more },
            Some(Operation::ReadEvent(counter)) => {
                self.start(Operation::ReadEvent(counter));
                Completion::Woken
            }
            Some(Operation::AwaitAlarm) => {
                self.alarm.rang();
                if !more {
                    self.start(Operation::AwaitAlarm);
                }
                Completion::Nothing
            }
            Some(Operation::Recv { id, from, .. }) => Completion::Received {
                id,
                from,
                result: result.map(|_| chunk.unwrap_or_default()),
                more: cqueue::sock_nonempty(entry.flags()),
            },
            Some(Operation::Send { id, to, chunk, .. }) => {
                Completion::Sent { id, to, chunk, result: result.map(|len| len as usize) }
            }
            Some(Operation::Connect { id, .. }) => Completion::Connected { id, result: result.map(|_| ()) },
            Some(Operation::Poll { id, side }) => Completion::Polled { id, side },
            Some(Operation::ConnectTimeout { id, .. } | Operation::Cancel { id: Some(id), .. }) => {
                Completion::Counted(id)
            }
            Some(Operation::Cancel { id: None, .. }) => Completion::Nothing,
            None => {
                debug_assert!(false, "a completion that nobody waits for");
                Completion::Nothing
            }
        }
    }

    fn watched(&mut self, entry: &cqueue::Entry) -> Completion {
        let more = cqueue::more(entry.flags());
        if !more {
            self.operations.watch_ended();
        }
        // A failure says nothing of what was seen.
        let last = u32::try_from(entry.result()).is_ok_and(|events| events & ENDING != 0);
        Completion::Watched { user_data: entry.user_data(), last, more }
    }

    /// Cancels everything and waits for it. False when something did not come back in time.
    fn quiesce(&mut self) -> bool {
        let until = Instant::now() + QUIESCE;
        // Its key is nobody's, so its completion is dropped below.
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(0);
        self.make_room(1);
        // SAFETY: a cancellation names no memory.
        if unsafe { self.io.submission().push(&cancel) }.is_err() {
            return false;
        }
        while self.operations.len() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.enter(1, Some(left)).is_err() {
                return false;
            }
            loop {
                let Some(entry) = self.io.completion().next() else { break };
                if let Some(Operation::Accept) = self.operations.get_mut(entry.user_data())
                    && let Ok(fd) = u32::try_from(entry.result())
                {
                    drop(accepted(fd));
                }
                if Key::watched(entry.user_data()).is_some() {
                    self.watched(&entry);
                } else if !cqueue::more(entry.flags()) {
                    drop(self.operations.take(entry.user_data()));
                }
            }
        }
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let quiet = self.quiesce();
        // SAFETY: `io` is not used after this, here or anywhere: `self` is being dropped.
        unsafe { ManuallyDrop::drop(&mut self.io) };
        if quiet {
            // SAFETY: neither is used after this. No operation is under way and the ring is closed, so the
            // kernel touches none of their memory any more.
            unsafe {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.operations);
            }
        } else {
            tracing::error!(
                "{} io_uring operations did not end: their memory is kept",
                self.operations.len()
            );
        }
    }
}

/// The connection that an accept returned.
fn accepted(fd: u32) -> io::Result<TcpStream> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made this descriptor for the operation that has just returned it, once, and nobody
    // else knows it yet.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A counter that other threads increase. Blocking, because the ring waits for a nonblocking one no better
/// than read(2) does; writing blocks only at 2^64 - 1.
fn event_counter() -> io::Result<File> {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: eventfd has just made this descriptor for us alone.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Lets the ring do what the engine needs and nothing else.
fn restrict(io: &IoUring) -> io::Result<()> {
    let flags = Flags::FIXED_FILE | Flags::IO_LINK | Flags::BUFFER_SELECT;
    let mut restrictions: Vec<_> = OPCODES.into_iter().map(Restriction::sqe_op).collect();
    restrictions.push(Restriction::sqe_flags_allowed(flags.bits()));
    restrictions.push(Restriction::register_op(REGISTER_FILES_UPDATE));
    io.submitter().register_restrictions(&mut restrictions)
}

/// Errors of `io_uring_enter` after which the call is simply made again: the time is over, a signal came, or
/// completions or memory must be freed first.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Interrupted
        || matches!(error.raw_os_error(), Some(libc::ETIME | libc::EBUSY | libc::EAGAIN))
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
