//! The engine's slots: two sockets each, and what is under way on them.

use std::net::TcpStream;

use super::operation::Key;
use super::watch::Watch;
use crate::engine::SessionId;
use crate::engine::kernel_tls::KernelTls;
use crate::engine::pipes::{Pipe, PipedFrame};
use crate::engine::pool::{Pool, ReadSize};
use crate::session::Side;

/// All slots.
pub(super) struct Connections {
    slots: Vec<Connection>,
    free: Vec<u32>,
    max: u32,
}

/// A slot: the two sockets of a session, or nothing.
#[derive(Default)]
pub(super) struct Connection {
    generation: u32,
    state: State,
    /// Operations whose completion has not come. The slot is freed when a closed connection's are all back.
    under_way: u16,
    tenant: Socket,
    compute: Socket,
    /// Bytes on their way from one socket to the other; leased while there are any
    pub(super) pipe: Option<Pipe>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Live,
    Closing,
}

/// One side's socket. Small, since each relay has two.
#[derive(Default)]
pub(super) struct Socket {
    /// Kept beside its entry in the file table: other system calls need the descriptor
    pub(super) stream: Option<TcpStream>,
    /// The receive under way
    pub(super) receiving: Option<Key>,
    /// What tells that there are bytes to read or splice
    pub(super) watch: Watch,
    /// The send under way, or the connect before the first of them, or the poll for room to splice into
    pub(super) sending: Option<Key>,
    /// The frame that waits for that room
    pub(super) piped: Option<PipedFrame>,
    /// FIN is due behind the send under way
    pub(super) fin_due: bool,
    /// The kernel does TLS on it
    pub(super) kernel_tls: Option<Box<KernelTls>>,
    /// What the last read says of the next one
    pub(super) read_size: ReadSize,
    /// The last read emptied the socket: the next one waits before it tries
    pub(super) drained: bool,
}

/// What the return of an operation means for its slot.
pub(super) enum Returned<'a> {
    /// The session is there to be told
    Live(&'a mut Connection),
    /// The session is gone, and further operations are under way
    Closing,
    /// The session is gone, and this was the last operation
    Over,
}

impl Connections {
    /// At most `max` slots, of which `room` have their memory.
    pub(super) fn new(max: u32, room: usize) -> Self {
        Self { slots: Vec::with_capacity(room), free: Vec::with_capacity(room), max }
    }

    /// Whether a slot can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() - self.free.len() < self.max as usize
    }

    /// Takes a slot for a tenant's connection.
    pub(super) fn insert(&mut self, tenant: TcpStream) -> SessionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Connection::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.state = State::Live;
        slot.tenant.stream = Some(tenant);
        SessionId { index, generation: slot.generation }
    }

    /// The connection, unless it has been closed.
    pub(super) fn live(&mut self, id: SessionId) -> Option<&mut Connection> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.state == State::Live && slot.generation == id.generation)
    }

    /// The connection whose operations are under way in a slot.
    pub(super) fn id(&self, index: u32) -> Option<SessionId> {
        self.slots.get(index as usize).map(|slot| SessionId { index, generation: slot.generation })
    }

    /// Closes the connection for its session. True when no operation is under way any more.
    pub(super) fn close(&mut self, id: SessionId) -> bool {
        let Some(slot) = self.live(id) else { return false };
        slot.state = State::Closing;
        slot.under_way == 0
    }

    /// Counts an operation that has come back. Operations are counted against the slot whether or not the
    /// session they were started for is still there.
    pub(super) fn returned(&mut self, id: SessionId) -> Returned<'_> {
        let Some(slot) = self.slots.get_mut(id.index as usize) else { return Returned::Closing };
        debug_assert_eq!(slot.generation, id.generation, "a slot waits for all of its operations");
        debug_assert!(slot.under_way > 0, "an operation came back twice");
        slot.under_way = slot.under_way.saturating_sub(1);
        match slot.state {
            State::Live => Returned::Live(slot),
            State::Closing if slot.under_way == 0 => Returned::Over,
            State::Closing | State::Free => Returned::Closing,
        }
    }

    /// Frees the slot of a closed connection and returns its sockets and its pipe.
    pub(super) fn remove(
        &mut self,
        id: SessionId,
        pool: &mut Pool,
    ) -> ([Option<TcpStream>; 2], Option<Pipe>) {
        let slot = &mut self.slots[id.index as usize];
        pool.settle(&mut slot.tenant.read_size);
        pool.settle(&mut slot.compute.read_size);
        debug_assert!(slot.under_way == 0 && slot.state != State::Free);
        let streams = [slot.tenant.stream.take(), slot.compute.stream.take()];
        let pipe = slot.pipe.take();
        *slot = Connection { generation: slot.generation.wrapping_add(1), ..Connection::default() };
        self.free.push(id.index);
        (streams, pipe)
    }
}

impl Connection {
    pub(super) fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Tenant => &mut self.tenant,
            Side::Compute => &mut self.compute,
        }
    }

    /// Counts operations that were started.
    pub(super) fn started(&mut self, operations: u16) {
        self.under_way += operations;
    }

    /// The operations that must be cancelled when the connection closes.
    pub(super) fn to_cancel(&self, index: u32) -> impl Iterator<Item = Key> + use<> {
        [(Side::Tenant, &self.tenant), (Side::Compute, &self.compute)]
            .map(|(side, socket)| [socket.receiving, socket.sending, socket.watch.key(index, side)])
            .into_iter()
            .flatten()
            .flatten()
    }
}
