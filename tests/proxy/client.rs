//! A blocking WebSocket client that sees every byte: answers, frames, FIN or RST.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How a connection ended, as its other end saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// On a TCP connection, or on whatever a test puts over one.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(tcp(address))
    }

    /// Sends the upgrade request for `target` and reads the 101.
    pub(crate) fn upgrade(address: SocketAddr, target: &str, headers: &[&str]) -> Self {
        Self::connect(address).upgraded(target, headers)
    }
}

impl<S: Read + Write> Client<S> {
    /// On a connection that is made already.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Sends the upgrade request for `target` and reads the 101.
    pub(crate) fn upgraded(mut self, target: &str, headers: &[&str]) -> Self {
        self.send(request(target, headers).as_bytes());
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        self
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends one masked frame.
    pub(crate) fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let frame = masked(0x80 | opcode, payload);
        self.send(&frame);
    }

    /// Reads up to the blank line and returns the head; what follows stays for later.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.received.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
            }
            assert!(self.fill(), "ended inside a head: {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// Reads exactly `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.fill(), "ended after {} of {len} bytes", self.received.len());
        }
        let rest = self.received.split_off(len);
        std::mem::replace(&mut self.received, rest)
    }

    /// Reads one unmasked frame: first byte and payload.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2);
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let len = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.bytes(2).try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.bytes(8).try_into().unwrap())).unwrap(),
            len => usize::from(len),
        };
        (head[0], self.bytes(len))
    }

    /// Reads everything up to the end.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut buffer = [0; 4096];
        let end = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break End::Fin,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("{error}, after {:?}", self.received),
            }
        };
        (std::mem::take(&mut self.received), end)
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let len = self.stream.read(&mut buffer).unwrap();
        self.received.extend_from_slice(&buffer[..len]);
        len > 0
    }

    /// The tenant's part of an RFB handshake with security type None.
    pub(crate) fn rfb_handshake(&mut self) {
        assert_eq!(self.read_frame(), (0x82, b"RFB 003.008\n".to_vec()));
        self.frame(2, b"RFB 003.008\n");
        assert_eq!(self.read_frame(), (0x82, vec![1, 1]));
        self.frame(2, &[1]);
        assert_eq!(self.read_frame(), (0x82, vec![0, 0, 0, 0]));
    }
}

/// A connection that no test waits on for ever.
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// An upgrade request.
pub(crate) fn request(target: &str, headers: &[&str]) -> String {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:6080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

/// One masked frame with the given first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
