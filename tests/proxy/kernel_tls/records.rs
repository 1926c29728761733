//! Records that bring nothing, many thousand in one go, behind the point where the kernel takes over: what cuts their
//! sender off, and that a neighbour is served meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use super::{NEWEST, Proxy, assert_echo, client_config, echo, is_here};
use crate::client::{Client, masked};
use crate::compute;
use crate::pair::Tls;

on_both_engines! {
    a_flood_of_warnings_is_cut_off,
    a_flood_of_empty_records_is_passed_over_or_cut_off,
}

/// More than the socket buffers of both sides hold, and enough to overflow a stack that grows with them.
const FLOOD: usize = 40_000;

/// `user_canceled`, as a warning (RFC 8446 section 6.1).
const WARNING: [u8; 2] = [1, 90];

/// A client that has given up its keys, and seals records of any type with them.
struct Sealer {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Sealer {
    fn of(client: Client<Tls>) -> Self {
        let (connection, socket) = client.stream.into_parts();
        let Some(SupportedCipherSuite::Tls13(suite)) = connection.negotiated_cipher_suite() else { panic!() };
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets
        else {
            panic!("{suite:?}")
        };
        let mut sealer = Self { socket, encrypter: suite.aead_alg.encrypter(key, iv), sequence: 0 };
        // The library takes the first nonce that it is given for number 0, and lets none come twice.
        sealer.seal(ContentType::ApplicationData, &[]);
        sealer.sequence = sequence;
        sealer
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }

    /// `count` records with that content, and a message behind them.
    fn records(&mut self, count: usize, typ: ContentType, content: &[u8], message: &[u8]) -> Vec<u8> {
        let mut records: Vec<_> = (0..count).flat_map(|_| self.seal(typ, content)).collect();
        records.extend(self.seal(ContentType::ApplicationData, &masked(0x82, message)));
        records
    }
}

/// A tenant whose console is shown and has echoed, and who seals its own records from then on, beside a neighbour's
/// console on the same worker. The tenant's compute node gives everything that it gets behind the echo.
fn flooded(proxy: &Proxy, flood: impl FnOnce(&mut Sealer)) -> Vec<u8> {
    let (mut neighbour, neighbours_compute) = proxy.open(&NEWEST, echo);
    assert_echo(&mut neighbour, b"before");
    let mut config = Arc::unwrap_or_clone(client_config(&proxy.pair, &NEWEST));
    config.enable_secret_extraction = true;
    let (mut client, compute) = proxy.open_with(&Arc::new(config), |mut stream| {
        let said = compute::read(&mut stream, 5);
        stream.write_all(&said).unwrap();
        compute::read_all(&mut stream)
    });
    assert_echo(&mut client, b"alive");
    let mut sealer = Sealer::of(client);
    flood(&mut sealer);
    assert_echo(&mut neighbour, b"meanwhile");
    drop(sealer);
    let received = compute.join().unwrap();
    assert_echo(&mut neighbour, b"behind");
    drop(neighbour);
    neighbours_compute.join().unwrap();
    proxy.spliced(is_here());
    received
}

fn a_flood_of_warnings_is_cut_off(engine: &str) {
    let proxy = Proxy::start(engine, "workers = 1");
    let before = proxy.program.peak_memory();
    let received = flooded(&proxy, |tenant| {
        // As Java's TLS says it in front of its end.
        let few = tenant.records(2, ContentType::Alert, &WARNING, b"a few are passed over");
        tenant.socket.write_all(&few).unwrap();
        let many = tenant.records(FLOOD, ContentType::Alert, &WARNING, b"never seen");
        // Whoever is cut off cannot write all of it.
        let _ = tenant.socket.write_all(&many);
        let why = if is_here() { "too many TLS warnings" } else { "TooManyWarningAlertsReceived" };
        proxy.program.wait_for_log(why);
    });
    assert_eq!(received, b"a few are passed over");
    let grown = proxy.program.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes");
}

/// The kernel passes over those by itself; ours takes a few in a row.
fn a_flood_of_empty_records_is_passed_over_or_cut_off(engine: &str) {
    let proxy = Proxy::start(engine, "workers = 1");
    let before = proxy.program.peak_memory();
    let received = flooded(&proxy, |tenant| {
        let mut many = tenant.records(FLOOD, ContentType::ApplicationData, &[], b"behind all of them");
        // An end in order: what was sent is read to its end.
        many.extend(tenant.seal(ContentType::Alert, &[1, 0]));
        let sent = tenant.socket.write_all(&many);
        if is_here() {
            sent.unwrap();
        } else {
            proxy.program.wait_for_log("TooManyEmptyFragments");
        }
    });
    assert_eq!(received, if is_here() { b"behind all of them".as_slice() } else { b"" });
    let grown = proxy.program.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes");
}
