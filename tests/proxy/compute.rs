//! Compute nodes that do what a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Serves one connection on a port of its own, on a thread of its own.
pub(crate) fn serve<T: Send + 'static>(
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        script(stream)
    });
    (port, thread)
}

/// A port where nothing listens.
pub(crate) fn dead_port() -> u16 {
    super::program::free_port()
}

/// The compute node's part of an RFB handshake with security type None.
pub(crate) fn rfb_handshake(stream: &mut TcpStream) {
    stream.write_all(b"RFB 003.008\n").unwrap();
    assert_eq!(read(stream, 12), b"RFB 003.008\n");
    stream.write_all(&[1, 1]).unwrap();
    assert_eq!(read(stream, 1), [1]);
    stream.write_all(&[0, 0, 0, 0]).unwrap();
}

pub(crate) fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything that arrives up to FIN.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}
