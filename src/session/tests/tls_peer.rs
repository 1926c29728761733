//! A real TLS connection as the session's peer on either side: what is on the wire, and what it opens of that.

use std::io::Read;

use rustls::ConnectionCommon;

use super::*;

/// What the peer has to say now.
pub(super) fn wire_of<Data>(peer: &mut ConnectionCommon<Data>) -> Vec<u8> {
    let mut wire = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut wire).unwrap();
    }
    wire
}

/// The peer's `close_notify`, behind what else it has to say.
pub(super) fn close_notify_of<Data>(peer: &mut ConnectionCommon<Data>) -> Vec<u8> {
    peer.send_close_notify();
    wire_of(peer)
}

/// The plain bytes in what the session sent to the peer.
pub(super) fn opened<Data>(peer: &mut ConnectionCommon<Data>, wire: &[u8]) -> Vec<u8> {
    let (mut rest, mut plain) = (wire, Vec::new());
    while !rest.is_empty() {
        peer.read_tls(&mut rest).unwrap();
        peer.process_new_packets().unwrap();
        let mut buffer = [0; 4_096];
        while let Ok(len @ 1..) = peer.reader().read(&mut buffer) {
            plain.extend_from_slice(&buffer[..len]);
        }
    }
    plain
}

/// The same, up to a `close_notify`.
pub(super) fn opened_to_its_end<Data>(peer: &mut ConnectionCommon<Data>, wire: &[u8]) -> Vec<u8> {
    let plain = opened(peer, wire);
    assert!(peer.process_new_packets().unwrap().peer_has_closed(), "no close_notify");
    plain
}

/// Lets the peer and the session talk until neither has anything to say, in pieces of `piece` bytes. Returns the plain
/// bytes that the peer got.
pub(super) fn talk<Data>(
    driver: &mut Driver,
    side: Side,
    peer: &mut ConnectionCommon<Data>,
    piece: usize,
) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        for bytes in wire_of(peer).chunks(piece) {
            driver.receive(side, bytes);
            driver.flush();
        }
        let sent = driver.take_sent(side);
        plain.extend(opened(peer, &sent));
        if sent.is_empty() && !peer.wants_write() {
            return plain;
        }
    }
}
