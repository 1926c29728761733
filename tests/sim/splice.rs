//! Splicing: a connection's pipe, what a session may ask of it, and how often sessions turn to it.

use std::mem;

use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::proto::ws::FrameHeader;

use crate::conn::{Conn, Read, Write};
use crate::prng::Prng;

/// A connection's pipe while bytes are in it.
pub(crate) struct Pipe {
    bytes: Vec<u8>,
    /// The session knows of them
    told: bool,
    /// They are being written
    leaving: bool,
}

/// How often what happened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Splices {
    /// Reads of the compute node were spliced before, and are copied again
    is_spliced: bool,
    pub(crate) to_splice: u32,
    pub(crate) to_copy: u32,
    piped: u32,
    without_pipe: u32,
    discarded: u32,
}

impl Splices {
    pub(crate) fn add(&mut self, other: &Self) {
        self.to_splice += other.to_splice;
        self.to_copy += other.to_copy;
        self.piped += other.piped;
        self.without_pipe += other.without_pipe;
        self.discarded += other.discarded;
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "switches: {} to splicing, {} back to copying; splices: {} piped, {} without a pipe, {} pipes \
             discarded with bytes in them",
            self.to_splice, self.to_copy, self.piped, self.without_pipe, self.discarded
        )
    }
}

impl Conn {
    /// A read is asked for. Returns what is wrong with that.
    pub(crate) fn start_read(&mut self, side: Side, how: Read) -> Option<&'static str> {
        let operations = &mut self.operations[side as usize];
        let before = mem::replace(&mut operations.read, how);
        let relaying = self.phase == "relaying" && !operations.shut;
        let is_spliced = how == Read::Splice;
        if side == Side::Compute && relaying && is_spliced != self.splices.is_spliced {
            self.splices.is_spliced = is_spliced;
            *(if is_spliced { &mut self.splices.to_splice } else { &mut self.splices.to_copy }) += 1;
        }
        match how {
            _ if before != Read::None => Some("two reads open"),
            Read::Splice if side == Side::Tenant => Some("a splice from the tenant, whose frames are masked"),
            Read::Splice if self.pipe.is_some() => Some("a splice into a pipe that holds bytes"),
            Read::Splice if !self.operations[Side::Tenant as usize].writes.is_empty() => {
                // Of a session that was lied to by a planted bug, the tenant finds out.
                let lied = self.operations[Side::Tenant as usize].writes.iter().any(|write| write.reported);
                (!lied).then_some("a splice while a write is under way")
            }
            _ => None,
        }
    }

    /// Answers a splice whose socket has bytes: some of them go into the pipe. `None` when there is no pipe.
    pub(crate) fn fill_pipe(&mut self, rng: &mut Prng) -> Option<u32> {
        if rng.one_in(5) {
            self.splices.without_pipe += 1;
            return None;
        }
        // No bound: a pipe can hold more than its size, and a session may not rely on it.
        let socket = self.compute_socket.as_mut()?;
        let most = socket.to_proxy.arrived();
        let len = if rng.one_in(4) { rng.between(1..=most) } else { most };
        self.pipe = Some(Pipe { bytes: socket.to_proxy.read(len), told: false, leaving: false });
        self.splices.piped += 1;
        u32::try_from(len).ok()
    }

    /// The session is told of the bytes in the pipe. Behind the end they are not for the tenant any more.
    pub(crate) fn tell_of_pipe(&mut self, closing: bool) {
        if let Some(pipe) = &mut self.pipe {
            pipe.told = !closing;
        }
    }

    /// The write that takes header and pipe to the tenant, or what is wrong with it.
    pub(crate) fn splice_out(
        &mut self,
        to: Side,
        header: FrameHeader,
        len: u32,
    ) -> Result<Write, &'static str> {
        let operations = &mut self.operations[to as usize];
        if operations.shut {
            return Err("a splice behind the FIN");
        }
        if mem::replace(&mut operations.write_open, true) {
            return Err("two writes open");
        }
        let Some(pipe) = &mut self.pipe else { return Err("a splice from an empty pipe") };
        if to != Side::Tenant || !pipe.told || mem::replace(&mut pipe.leaving, true) {
            return Err("a splice of bytes that are none of its");
        }
        if pipe.bytes.len() != len as usize {
            return Err("a splice of another length than the pipe's");
        }
        let bytes = [header.as_slice(), &pipe.bytes].concat();
        if crate::frames::parse(&bytes)
            .is_none_or(|frame| frame.1.len() != len as usize || frame.2 != bytes.len())
        {
            return Err("a header that does not announce what is in the pipe");
        }
        self.facts.to_tenant += len as usize;
        Ok(Write { chunk: Chunk::copied_from(&bytes), reported: false, spliced: true })
    }

    /// The pipe is empty, or goes with what is in it.
    pub(crate) fn drop_pipe(&mut self) {
        self.pipe = None;
    }

    /// close(2) on the pipe.
    pub(crate) fn discard_pipe(&mut self) {
        self.splices.discarded += u32::from(self.pipe.take().is_some());
    }

    /// Bytes that the session knows of and has not sent off: they are the kernel's, not its own.
    pub(crate) fn piped(&self) -> usize {
        self.pipe.as_ref().filter(|pipe| pipe.told && !pipe.leaving).map_or(0, |pipe| pipe.bytes.len())
    }
}
