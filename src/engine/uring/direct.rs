//! Reads by recv(2) from this thread, when a [`super::watch`] tells or the socket is known to hold more: of busy sockets,
//! and of any while few are ready at once.
//!
//! The ring's own buffers are small, and the kernel walks through all of them. What is read here goes into larger
//! ones, one socket after the other, so that the same hot buffer serves them all.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::UringEngine;
use super::watch::Awaiting;
use crate::engine::pool::{Pool, ReadSize};
use crate::engine::{BYTES_PER_TURN, READS_PER_TURN};
use crate::proto::bytes::Chunk;
use crate::session::Input;

impl UringEngine {
    /// Reads from some of the sockets that may have something; what they brought is written before more is read.
    pub(super) fn read_some(&mut self) {
        let (mut reads, mut bytes) = (0, 0);
        while reads < READS_PER_TURN
            && bytes < BYTES_PER_TURN
            && let Some((id, from)) = self.to_read.pop_front()
        {
            let Some(connection) = self.connections.live(id) else { continue };
            let socket = connection.socket(from);
            let Some(stream) = &socket.stream else { continue };
            reads += 1;
            socket.watch.about_to_read();
            match read_now(stream, &mut self.pool, &mut socket.read_size) {
                Ok(chunk) if chunk.is_empty() => {
                    self.pool.put(chunk);
                    self.report(id, Input::Ended { from });
                }
                Ok(mut chunk) => {
                    bytes += chunk.len();
                    // A short read has emptied the socket.
                    socket.drained = socket.kernel_tls.is_none() && !chunk.spare_mut().is_empty();
                    self.report(id, Input::Received { from, chunk });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.watch.found_nothing();
                    self.watch(id, from, Awaiting::Read);
                }
                Err(source) => self.read_failed(id, from, source),
            }
        }
    }
}

/// Takes what a socket holds. An empty chunk is the end of the stream.
fn read_now(stream: &TcpStream, pool: &mut Pool, reads: &mut ReadSize) -> io::Result<Chunk> {
    let mut chunk = pool.take_for(reads);
    let result = loop {
        match recv(stream.as_raw_fd(), chunk.spare_mut(), MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => {}
            result => break result,
        }
    };
    match result {
        Ok(len) => {
            reads.brought(len);
            chunk.commit(len);
            Ok(chunk)
        }
        Err(error) => {
            pool.put(chunk);
            pool.settle(reads);
            Err(error.into())
        }
    }
}
