//! Records as syslog takes them: datagrams, or a stream of them.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::clock::strftime;
use super::format::Process;
use super::record::Record;

/// How long a listener whose queue is full, or that does not answer, is waited for.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a syslog daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    UnixStream(PathBuf),
    Udp(String, u16),
    Tcp(String, u16),
}

/// The frame around the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// As the C library's `syslog(3)` has it, which oslo.log calls: date and identifier
    Dated(String),
    /// As Python's `SysLogHandler` has it: nothing but the priority, and a NUL behind, which is all that parts
    /// messages on a stream
    Bare,
}

/// A connection to a syslog daemon, made anew when the daemon was restarted.
#[derive(Debug)]
pub(super) struct Syslog {
    address: Address,
    frame: Frame,
    facility: u8,
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(address: Address, frame: Frame, facility: u8) -> Self {
        Self { address, frame, facility, socket: None }
    }

    /// Sends each line of `lines`, which are the record's.
    pub(super) fn send(&mut self, record: &Record, lines: &str, process: &Process) -> io::Result<()> {
        let priority = self.facility << 3 | record.severity.syslog();
        for line in lines.lines() {
            let datagram = match &self.frame {
                Frame::Dated(identifier) => {
                    let date = strftime(&process.clock.local(record.at), "%b %e %H:%M:%S");
                    format!("<{priority}>{date} {identifier}: {line}")
                }
                Frame::Bare => format!("<{priority}>{line}\0"),
            };
            self.send_one(datagram.as_bytes())?;
        }
        Ok(())
    }

    fn send_one(&mut self, datagram: &[u8]) -> io::Result<()> {
        if let Some(socket) = &mut self.socket
            && socket.send(datagram).is_ok()
        {
            return Ok(());
        }
        // The daemon may have been restarted behind our socket.
        let mut socket = Socket::connect(&self.address)?;
        let sent = socket.send(datagram);
        self.socket = Some(socket);
        sent
    }
}

impl Socket {
    fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                socket.connect(path)?;
                Ok(Self::Unix(socket))
            }
            Address::UnixStream(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Ok(Self::UnixStream(socket))
            }
            Address::Tcp(host, port) => {
                let socket = TcpStream::connect_timeout(&first_address(host, *port)?, SEND_TIMEOUT)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Ok(Self::Tcp(socket))
            }
            Address::Udp(host, port) => {
                let address = first_address(host, *port)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(datagram).map(drop),
            Self::UnixStream(socket) => socket.write_all(datagram),
            Self::Udp(socket) => socket.send(datagram).map(drop),
            Self::Tcp(socket) => socket.write_all(datagram),
        }
    }
}

fn first_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    let address = (host, port).to_socket_addrs()?.next();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
