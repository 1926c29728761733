//! The listening sockets: one per worker, so that the kernel spreads connections and nothing is shared.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

/// Connections that wait to be accepted, per worker; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds `workers` listening sockets to one address. Port 0 takes a free one, the same for all.
///
/// # Errors
///
/// The address is in use by another process, is not this machine's, or may not be bound.
pub fn bind_all(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let reuse_port = workers > 1;
    if reuse_port {
        // With SO_REUSEPORT a second instance of this program would bind too, and silently take half of the
        // connections: a socket without the option finds out whether anybody listens already.
        drop(bound(address, false)?);
    }
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let address = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let listener = bound(address, reuse_port)?;
        listen(&listener, Backlog::new(BACKLOG)?)?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Restarting over connections in TIME_WAIT must work.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // Inherited by accepted sockets, as Nova's proxies do it (websockify `WebSockifyServer.socket`).
    setsockopt(&fd, sockopt::KeepAlive, &true)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(TcpListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port() {
        let listeners = bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 3).unwrap();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert_eq!(ports, [ports[0]; 3]);
    }

    #[test]
    fn an_address_that_is_listened_on_is_refused() {
        let address = bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 2).unwrap()[0].local_addr().unwrap();
        let taken = bind_all(address, 1);
        assert!(taken.is_ok(), "the listeners above are gone by now");
        for workers in [1, 2] {
            let error = bind_all(address, workers).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{workers} workers");
        }
    }
}
