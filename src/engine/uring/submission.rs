//! How operations look to the kernel: file slots, and one submission for each kind of operation.

use io_uring::opcode;
use io_uring::squeue::{self, Flags};
use io_uring::types::{CancelBuilder, Fixed};
use nix::sys::socket::SockaddrLike;

use super::buffers::GROUP;
use super::operation::Operation;
use crate::session::Side;

/// What workers' rings may do; anything else is refused by the kernel itself, whatever gets into this process.
pub(super) const OPCODES: [u8; 8] = [
    opcode::AcceptMulti::CODE,
    opcode::AsyncCancel2::CODE,
    opcode::Connect::CODE,
    opcode::LinkTimeout::CODE,
    opcode::PollAdd::CODE,
    opcode::Read::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
];

/// `IORING_RECVSEND_POLL_FIRST` of `linux/io_uring.h`.
const POLL_FIRST: u16 = 1;

/// An entry of the table of registered files. The kernel looks an operation's file up here, without counting
/// references as it must for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSlot(u32);

impl FileSlot {
    /// The listening socket
    pub(super) const LISTENER: Self = Self(0);
    /// The waker's counter
    pub(super) const EVENT: Self = Self(1);
    /// The timer of all deadlines
    pub(super) const ALARM: Self = Self(2);
    /// Entries that are not sessions'
    pub(super) const RESERVED: u32 = 3;

    /// Its place in the table.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// The socket of one side of a session.
    pub(super) fn of(index: u32, side: Side) -> Self {
        Self(Self::RESERVED + index * 2 + u32::from(side == Side::Compute))
    }
}

/// The submission of an operation. Its pointers lead into the operation's own heap memory.
pub(super) fn submission(operation: &mut Operation) -> squeue::Entry {
    match operation {
        Operation::Accept => opcode::AcceptMulti::new(fixed(FileSlot::LISTENER))
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build(),
        Operation::ReadEvent(counter) => {
            let address: *mut u64 = &raw mut **counter;
            opcode::Read::new(fixed(FileSlot::EVENT), address.cast(), 8).build()
        }
        Operation::AwaitAlarm => standing_poll(FileSlot::ALARM),
        Operation::Recv { id, from, wait_first } => {
            let ioprio = if *wait_first { POLL_FIRST } else { 0 };
            // Length 0: as much as the buffer takes.
            opcode::Recv::new(fixed(FileSlot::of(id.index, *from)), std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .ioprio(ioprio)
                .build()
                .flags(Flags::BUFFER_SELECT)
        }
        Operation::Send { id, to, chunk, whole } => {
            let wait_all = if *whole { libc::MSG_WAITALL } else { 0 };
            let bytes = chunk.bytes();
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            opcode::Send::new(fixed(FileSlot::of(id.index, *to)), bytes.as_ptr(), len)
                .flags(wait_all | libc::MSG_NOSIGNAL)
                .build()
        }
        Operation::Connect { id, address } => {
            let slot = FileSlot::of(id.index, Side::Compute);
            opcode::Connect::new(fixed(slot), address.as_ptr(), address.len()).build()
        }
        Operation::ConnectTimeout { after, .. } => opcode::LinkTimeout::new(&raw const **after).build(),
        Operation::Poll { id, side } => poll(FileSlot::of(id.index, *side), libc::POLLOUT).build(),
        Operation::Cancel { target, .. } => {
            opcode::AsyncCancel2::new(CancelBuilder::user_data(target.user_data())).build()
        }
    }
}

/// The submission of a poll that tells each time that a socket has got bytes.
pub(super) fn standing_poll(slot: FileSlot) -> squeue::Entry {
    poll(slot, libc::POLLIN | libc::POLLRDHUP).multi(true).build()
}

fn poll(slot: FileSlot, events: i16) -> opcode::PollAdd {
    opcode::PollAdd::new(fixed(slot), u32::from(events.cast_unsigned()))
}

fn fixed(slot: FileSlot) -> Fixed {
    Fixed(slot.0)
}
