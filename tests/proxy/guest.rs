//! A real QEMU with a screen, behind VeNCrypt if need be, and a relay before it that writes down the wire.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::program;

/// QEMU stopped at its first instruction, with a screen.
pub(crate) struct Guest {
    qemu: Child,
    pub(crate) port: u16,
}

impl Guest {
    /// Behind VeNCrypt; `credentials` goes behind `tls-creds-x509,id=tls,endpoint=server,dir=FOLDER,`.
    pub(crate) fn start(folder: &Path, credentials: &str) -> Self {
        let object = format!("tls-creds-x509,id=tls,endpoint=server,dir={},{credentials}", folder.display());
        Self::with(folder, ",tls-creds=tls", &["-object", &object])
    }

    /// For anyone who can reach it.
    #[allow(dead_code, reason = "for tests/empty_root_real.rs")]
    pub(crate) fn open(folder: &Path) -> Self {
        Self::with(folder, "", &[])
    }

    /// `display` goes behind the address of the VNC server.
    fn with(folder: &Path, display: &str, arguments: &[&str]) -> Self {
        // QEMU counts its displays from there.
        let port = loop {
            let port = program::free_port();
            if port > 5_900 {
                break port;
            }
        };
        let errors = folder.join("qemu.log");
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "16", "-nodefaults", "-vga", "std", "-display", "none", "-S"])
            .args(["-name", "instance-0000002a"])
            .args(["-vnc", &format!("127.0.0.1:{}{display}", port - 5_900)])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .expect("QEMU: scripts/install");
        let mut guest = Self { qemu, port };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = guest.qemu.try_wait().unwrap();
            let said = fs::read_to_string(&errors).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "QEMU does not listen: {said}");
            thread::sleep(Duration::from_millis(20));
        }
        guest
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What went by, as the two sides sent it.
pub(crate) struct Wire {
    pub(crate) from_proxy: Vec<u8>,
    pub(crate) from_guest: Vec<u8>,
}

/// Serves one connection between the proxy and `port`, and gives what went by when both have ended. `behind_ack` is what somebody in the middle puts behind the
/// answer that accepts the sub-type.
pub(crate) fn wiretap(port: u16, behind_ack: &'static [u8]) -> (u16, JoinHandle<Wire>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().port();
    let tap = thread::spawn(move || {
        let (proxy, _) = listener.accept().unwrap();
        let guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for stream in [&proxy, &guest] {
            stream.set_nodelay(true).unwrap();
        }
        let (mut to_guest, mut from_proxy) = (guest.try_clone().unwrap(), proxy.try_clone().unwrap());
        let upwards = thread::spawn(move || {
            let (mut buffer, mut seen) = ([0; 16_384], Vec::new());
            while let Ok(len @ 1..) = from_proxy.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..len]);
                // A guest that has hung up takes no more, but what the proxy says counts all the same.
                let _ = to_guest.write_all(&buffer[..len]);
            }
            let _ = to_guest.shutdown(Shutdown::Write);
            seen
        });
        let (mut to_proxy, mut from_guest) = (proxy, guest);
        let (mut buffer, mut seen) = ([0; 16_384], Vec::new());
        while let Ok(len @ 1..) = from_guest.read(&mut buffer) {
            let mut bytes = buffer[..len].to_vec();
            seen.extend_from_slice(&bytes);
            // QEMU says nothing behind it before it has our hello.
            if seen.len() == GUEST_BEFORE_TLS {
                bytes.extend_from_slice(behind_ack);
            }
            if to_proxy.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to_proxy.shutdown(Shutdown::Write);
        Wire { from_proxy: upwards.join().unwrap(), from_guest: seen }
    });
    (here, tap)
}

/// Bytes of QEMU's before TLS: version, types, VeNCrypt version, its answer, sub-types, its answer.
pub(crate) const GUEST_BEFORE_TLS: usize = 12 + 2 + 2 + 1 + 5 + 1;

/// Bytes of ours before TLS: version, type, VeNCrypt version, sub-type.
pub(crate) const PROXY_BEFORE_TLS: usize = 12 + 1 + 2 + 4;

/// Checks that `bytes` are whole TLS records, the last of which may be cut.
pub(crate) fn assert_tls(bytes: &[u8]) {
    let mut rest = bytes;
    let mut records = 0;
    while let [kind, major, _, first, second, behind @ ..] = rest {
        assert!(
            matches!(kind, 20..=23) && *major == 3,
            "no TLS record behind {records}: {:02x?}",
            &rest[..5]
        );
        let len = usize::from(u16::from_be_bytes([*first, *second]));
        records += 1;
        rest = behind.get(len..).unwrap_or_default();
    }
    assert!(records > 1, "{records} records");
}
