//! Splicing: splice(2) from this thread, on readiness that the ring reports.

use std::io;

use super::UringEngine;
use super::connection::Returned;
use super::operation::Operation;
use super::watch::Awaiting;
use crate::engine::SessionId;
use crate::engine::pipes::{PipedFrame, Spliced};
use crate::session::{Failure, Input, Side};

impl UringEngine {
    /// Moves what the socket has into a pipe. Without a pipe it is a read like any other.
    pub(super) fn splice_in(&mut self, id: SessionId, from: Side) {
        let Some(connection) = self.connections.live(id) else { return };
        debug_assert!(connection.pipe.is_none(), "a connection has one pipe");
        let socket = connection.socket(from);
        debug_assert!(socket.receiving.is_none(), "one read is open at a time");
        let Some(stream) = &socket.stream else { return };
        self.pool.settle(&mut socket.read_size);
        // What the last read found is long ago, and the edge that came since may be why this is called.
        socket.drained = false;
        let Some(mut pipe) = self.pipes.lease() else { return self.read(id, from) };
        let filled = pipe.fill(stream);
        if let Ok(Spliced::Moved(len)) = filled {
            connection.pipe = Some(pipe);
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            return self.report(id, Input::Piped { from, len });
        }
        self.pipes.put(pipe);
        match filled {
            Ok(Spliced::WouldBlock) => {
                socket.watch.found_nothing();
                self.watch(id, from, Awaiting::Splice);
            }
            Ok(_) => self.report(id, Input::Ended { from }),
            // Not every kernel splices from every socket; reading says what is wrong otherwise.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.read(id, from),
            Err(source) => self.report(id, Input::Failed(Failure::Read { from, source })),
        }
    }

    /// Sends a frame header and what is in the pipe. None if some of it has to wait.
    pub(super) fn splice_out(&mut self, id: SessionId, to: Side, mut frame: PipedFrame) -> Option<Input> {
        let connection = self.connections.live(id)?;
        let mut pipe = connection.pipe.take();
        let socket = connection.socket(to);
        debug_assert!(socket.sending.is_none(), "one write is open at a time");
        let sent = match &socket.stream {
            Some(stream) => frame.send(pipe.as_mut(), stream),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if matches!(sent, Ok(false)) {
            socket.piped = Some(frame);
            socket.sending = Some(self.ring.start(Operation::Poll { id, side: to }));
            connection.pipe = pipe;
            connection.started(1);
            return None;
        }
        let fin_due = std::mem::take(&mut socket.fin_due);
        if let Some(pipe) = pipe {
            self.pipes.put(pipe);
        }
        if fin_due {
            self.shut_down_write(id, to);
        }
        Some(match sent {
            Ok(_) => Input::Spliced { to },
            Err(source) => Input::Failed(Failure::Write { to, source }),
        })
    }

    /// Goes on with what waited for room in a socket.
    pub(super) fn polled(&mut self, id: SessionId, side: Side) {
        let connection = match self.connections.returned(id) {
            Returned::Live(connection) => connection,
            Returned::Closing => return,
            Returned::Over => return self.release(id),
        };
        let socket = connection.socket(side);
        socket.sending = None;
        if let Some(frame) = socket.piped.take()
            && let Some(input) = self.splice_out(id, side, frame)
        {
            self.report(id, input);
        } else if let Some(connection) = self.connections.live(id) {
            // Kernel TLS waits for room for its end.
            if std::mem::take(&mut connection.socket(side).fin_due) {
                self.shut_down_write(id, side);
            }
        }
    }
}
