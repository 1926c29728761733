//! What both engines do alike about accepting: which failures pass, how long to rest after the others, and
//! the options of a new socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// How long the listener rests after the process ran out of descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(1_000);

/// Errors of accept(2) that concern the one connection, which is gone by then.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
        || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::EPERM))
}

/// Sets what every socket of a session has. The tenant's inherit it from the listener, but sockets that we
/// connect do not. Keystrokes must not wait for the acknowledgement of earlier ones.
pub(super) fn set_options(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    Ok(())
}
