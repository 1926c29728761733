//! What a service manager is told: sd_notify(3), with no library.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The service manager's socket, if the process was started by one that wants to be told.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that we live
    pub(super) watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub(super) fn from_environment() -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| connect(&name).ok());
        let ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let microseconds = env::var("WATCHDOG_USEC").ok().and_then(|number| number.parse().ok());
        // Half of it, as sd_watchdog_enabled(3) advises.
        let watchdog =
            microseconds.filter(|_| ours && socket.is_some()).map(|us: u64| Duration::from_micros(us / 2));
        Self { socket, watchdog: watchdog.filter(|interval| !interval.is_zero()) }
    }

    pub(super) fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    pub(super) fn reloading(&self) {
        // The manager waits for a READY=1 that is younger than this.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    pub(super) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Asks for time until `deadline`, so that draining is not taken for hanging.
    pub(super) fn extend(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", left.as_micros()));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not listen does not want to know.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// The socket called `name`; one that begins with `@` has no file.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
