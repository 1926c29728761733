//! `echo PORT [PEM]`: a WebSocket server that sends every message back, for conformance suites. With PEM, a file of a
//! certificate and its key, it speaks TLS by the program's own layer.
//!
//! A *stream* echo: each piece goes back as a fragment while the rest of its frame is still on its way,
//! so no message is ever held. The opening handshake is the bare minimum and refuses nothing.

use std::io::{Error, ErrorKind, Read, Result, Write, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::{env, fs, thread, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use consolegate::proto::bytes::Chunk;
use consolegate::proto::tls::{TlsAcceptor, TlsLayer};
use consolegate::proto::ws::{Deframer, Event, FrameHeader, Opcode, TextPolicy, close, close_echo, pong};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha1::{Digest, Sha1};

fn main() -> Result<()> {
    let port = env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| Error::other("usage: echo PORT [PEM]"))?;
    let acceptor = TlsAcceptor::default();
    if let Some(pem) = env::args().nth(2) {
        acceptor.replace(Some(Arc::new(certificate(&fs::read(pem)?)?)));
    }
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let (stream, layer) = (stream?, acceptor.accept());
        stream.set_nodelay(true)?;
        thread::spawn(move || match layer {
            // A client that goes away is no news.
            None => serve(stream).ok(),
            Some(layer) => serve(Tls { stream, layer, plain: Chunk::default() }).ok(),
        });
    }
    Ok(())
}

fn certificate(pem: &[u8]) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth();
    config.with_single_cert(chain.map_err(Error::other)?, key).map_err(Error::other)
}

/// What the echo is served on.
trait Connection: Read + Write {
    /// Says that nothing more comes.
    fn end(&mut self) -> Result<()>;
}

impl Connection for TcpStream {
    fn end(&mut self) -> Result<()> {
        self.shutdown(Shutdown::Write)?;
        self.set_read_timeout(Some(Duration::from_secs(2)))
    }
}

struct Tls {
    stream: TcpStream,
    layer: TlsLayer,
    plain: Chunk,
}

impl Tls {
    fn send(&mut self) -> Result<()> {
        let wire = self.layer.take_wire(Chunk::default());
        wire.map_or(Ok(()), |wire| self.stream.write_all(wire.bytes()))
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.plain.is_empty() {
            let mut wire = Chunk::with_capacity(1 << 16);
            let filled = self.stream.read(wire.spare_mut())?;
            wire.commit(filled);
            let opened = self.layer.open(wire);
            self.send()?;
            if let Some(error) = opened.error {
                return Err(Error::other(error));
            }
            self.plain = opened.plain;
            if self.plain.is_empty() && (filled == 0 || opened.ended) {
                return Ok(0);
            }
        }
        let len = buffer.len().min(self.plain.len());
        buffer[..len].copy_from_slice(&self.plain.bytes()[..len]);
        self.plain.advance(len);
        Ok(len)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.layer.seal(bytes);
        self.send().map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Connection for Tls {
    fn end(&mut self) -> Result<()> {
        self.layer.send_close_notify();
        self.send()?;
        self.stream.end()
    }
}

fn serve(mut stream: impl Connection) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    upgrade(&mut stream)?;
    let mut deframer = Deframer::new(TextPolicy::Accept);
    loop {
        let filled = stream.read(&mut buffer)?;
        let (mut rest, mut out) = (&mut buffer[..filled], Vec::new());
        while !rest.is_empty() && !deframer.is_ended() {
            match deframer.next(rest) {
                Ok((consumed, event)) => {
                    event.iter().for_each(|event| echo(event, rest, &mut out));
                    rest = &mut rest[consumed..];
                }
                Err(error) => out.extend(close(error.close_code(), &error.to_string()).as_slice()),
            }
        }
        stream.write_all(&out)?;
        if filled == 0 || deframer.is_ended() {
            break;
        }
    }
    // Closing with bytes unread would reset the connection and destroy our Close on its way.
    stream.end()?;
    copy(&mut stream.take(1 << 16), &mut sink()).map(drop)
}

fn echo(event: &Event, input: &[u8], out: &mut Vec<u8>) {
    match event {
        Event::Data { range, opcode, first, message_end } => {
            let opcode = if *first { *opcode } else { Opcode::Continuation };
            out.extend(FrameHeader::new(opcode, *message_end, range.len() as u64).as_slice());
            out.extend(&input[range.clone()]);
        }
        Event::Ping(payload) => out.extend(pong(payload).as_slice()),
        Event::Pong(_) => {}
        Event::Close(frame) => out.extend(close_echo(frame).as_slice()),
    }
}

/// Answers the opening handshake. Reads byte by byte, so what follows it stays in the socket.
fn upgrade(stream: &mut impl Connection) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
    let key = key.ok_or(ErrorKind::InvalidData)?.1.trim().to_owned() + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let accept = STANDARD.encode(Sha1::digest(key));
    write!(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")?;
    write!(stream, "Sec-WebSocket-Accept: {accept}\r\n\r\n")
}
