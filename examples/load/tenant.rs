//! Tenants: connections through the proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rustls::ClientConnection;

use crate::Outcome;
use crate::args::Args;
use crate::tls;
use crate::wire::{Unframer, masked, message};

/// No step of a handshake may take longer.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A blocking connection, upgraded where the proxy speaks WebSocket.
pub(crate) struct Tenant {
    pub(crate) stream: TcpStream,
    pub(crate) framed: bool,
    /// What is said on the stream is under it, if there is one
    tls: Option<Box<ClientConnection>>,
    unframer: Unframer,
    /// Payload bytes that were received and not taken yet
    received: Vec<u8>,
}

impl Tenant {
    pub(crate) fn connect(args: &Args) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, args.target))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_TIMEOUT))?;
        let framed = args.upgrade.is_some();
        let tls = if args.tls { Some(Box::new(tls::connection()?)) } else { None };
        let mut tenant = Self { stream, framed, tls, unframer: Unframer::default(), received: Vec::new() };
        if let Some(tls) = &mut tenant.tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut tenant.stream)?;
            }
        }
        if let Some(target) = &args.upgrade {
            tenant.upgrade(target, args.target)?;
        }
        Ok(tenant)
    }

    /// `sessions` of them, each with its way to the compute node open: `greet` exchanges 64 bytes.
    pub(crate) fn connect_all(args: &Args, sessions: usize, greet: bool) -> Outcome<Vec<Self>> {
        (0..sessions)
            .map(|_| {
                let mut tenant = Self::connect(args)?;
                if greet {
                    tenant.send(&message(&[0; 64], tenant.framed)?)?;
                    tenant.take(64)?;
                }
                Ok(tenant)
            })
            .collect()
    }

    fn upgrade(&mut self, target: &str, port: u16) -> Outcome<()> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        );
        self.send(request.as_bytes())?;
        let mut head = Vec::new();
        let mut buffer = [0; 4_096];
        let end = loop {
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let len = self.receive(&mut buffer)?;
            if len == 0 || head.len() > 16_384 {
                return Err("the proxy ended the upgrade".into());
            }
            head.extend(&buffer[..len]);
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(format!("no upgrade: {}", String::from_utf8_lossy(&head[..end])).into());
        }
        let received = &mut self.received;
        self.unframer.feed(&head[end..], |payload| received.extend(payload))
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).write_all(bytes),
            None => self.stream.write_all(bytes),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).read(buffer),
            None => self.stream.read(buffer),
        }
    }

    /// Whether another thread may send on the stream while this one receives.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Exactly `len` payload bytes.
    pub(crate) fn take(&mut self, len: usize) -> Outcome<Vec<u8>> {
        let mut buffer = [0; 4_096];
        while self.received.len() < len {
            let count = match self.receive(&mut buffer) {
                Ok(0) => return Err("the proxy ended the connection".into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err("nothing came for too long".into());
                }
                result => result?,
            };
            let received = &mut self.received;
            if self.framed {
                self.unframer.feed(&buffer[..count], |payload| received.extend(payload))?;
            } else {
                received.extend(&buffer[..count]);
            }
        }
        let rest = self.received.split_off(len);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    /// Says goodbye as a browser does.
    pub(crate) fn close(mut self) -> Outcome<()> {
        if self.framed {
            self.send(&masked(0x88, &1000_u16.to_be_bytes())?)?;
        }
        Ok(())
    }
}
