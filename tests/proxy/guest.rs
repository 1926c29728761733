//! A real QEMU whose console is behind TLS if need be, and a relay before it that writes down the wire.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::program;

/// A running QEMU, with something that listens on `port`.
pub(crate) struct Guest {
    qemu: Child,
    pub(crate) port: u16,
    /// Where it says what went wrong
    errors: PathBuf,
}

impl Guest {
    /// Stopped at its first instruction, with a screen behind VeNCrypt. `credentials` goes behind
    /// `tls-creds-x509,id=tls,endpoint=server,dir=FOLDER,`.
    pub(crate) fn start(folder: &Path, credentials: &str) -> Self {
        Self::screen(folder, ",tls-creds=tls", Some(credentials), &[])
    }

    /// The same for anyone who can reach it.
    #[allow(dead_code, reason = "for tests/empty_root_real.rs")]
    pub(crate) fn open(folder: &Path) -> Self {
        Self::screen(folder, "", None, &[])
    }

    /// A screen that wants a password, which there is none of yet. `credentials` as above; without, all of it is in
    /// the clear.
    pub(crate) fn wanting_a_password(folder: &Path, credentials: Option<&str>) -> Self {
        let display = if credentials.is_some() { ",password=on,tls-creds=tls" } else { ",password=on" };
        let monitor = format!("unix:{},server=on,wait=off", folder.join("qmp").display());
        Self::screen(folder, display, credentials, &["-qmp", &monitor])
    }

    /// Sets that password, as libvirt does.
    pub(crate) fn set_password(folder: &Path, password: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let monitor = loop {
            match UnixStream::connect(folder.join("qmp")) {
                Ok(monitor) => break monitor,
                // What an earlier guest has left lies there until this one has made its own.
                Err(error) => assert!(Instant::now() < until, "QEMU's monitor: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut answers = BufReader::new(monitor.try_clone().unwrap()).lines();
        let set = format!(
            r#"{{"execute":"set_password","arguments":{{"protocol":"vnc","password":"{password}"}}}}"#
        );
        let mut monitor = &monitor;
        // An event may come in front of the greeting, too.
        assert!(answers.by_ref().map(Result::unwrap).any(|line| line.contains(r#""QMP": "#)));
        for command in [r#"{"execute":"qmp_capabilities"}"#, &set] {
            writeln!(monitor, "{command}").unwrap();
            // Events come when they like.
            let answer = answers.by_ref().map(Result::unwrap).find(|line| !line.contains(r#""event": "#));
            assert!(answer.as_ref().unwrap().starts_with(r#"{"return""#), "{answer:?}");
        }
    }

    /// `display` goes behind the address of the VNC server.
    fn screen(folder: &Path, display: &str, credentials: Option<&str>, more: &[&str]) -> Self {
        // QEMU counts its displays from there.
        let port = loop {
            let port = program::free_port();
            if port > 5_900 {
                break port;
            }
        };
        let display = format!("127.0.0.1:{}{display}", port - 5_900);
        let screen = ["-vga", "std", "-S", "-name", "instance-0000002a", "-vnc", &display];
        Self::run(folder, port, credentials, &[&screen, more].concat()).listening()
    }

    /// The echo guest of `tests/guest`, whose first serial port listens for TLS. `credentials` as above.
    pub(crate) fn serial(folder: &Path, credentials: &str) -> Self {
        let (image, log) = (folder.join("guest.img"), folder.join("serial.log"));
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/build");
        assert!(Command::new(build).arg(&image).status().unwrap().success());
        let port = program::free_port();
        let _ = fs::remove_file(&log);
        let socket = format!(
            "socket,id=serial,host=127.0.0.1,port={port},server=on,wait=off,tls-creds=tls,logfile={}",
            log.display()
        );
        let disk = format!("file={},format=raw,snapshot=on", image.display());
        let port_and_disk =
            ["-vga", "std", "-chardev", &socket, "-device", "isa-serial,chardev=serial", "-drive", &disk];
        let mut guest = Self::run(folder, port, Some(credentials), &port_and_disk);
        // It greets when it is ready. Nothing connects to see: the port serves one at a time.
        guest.wait_until(|_| fs::read(&log).is_ok_and(|said| said.ends_with(b"it echoes: ")));
        guest
    }

    /// Stopped at its first instruction, with a SPICE server for plain connections, whose port is given, and one
    /// for TLS.
    pub(crate) fn spice(folder: &Path) -> (Self, u16) {
        let plain = program::free_port();
        (Self::spice_server(folder, &format!("port={plain}")), plain)
    }

    /// The same as libvirt starts it for Nova's `[spice] require_secure`: what comes to the plain port is refused.
    pub(crate) fn spice_with_secure_channels(folder: &Path) -> (Self, u16) {
        let plain = program::free_port();
        let channels = ["main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir"];
        let secure: String = channels.map(|name| format!(",tls-channel={name}")).concat();
        (Self::spice_server(folder, &format!("port={plain}{secure}")), plain)
    }

    /// The same without a plain port, as libvirt starts it for `defaultMode="secure"`.
    pub(crate) fn spice_for_tls_alone(folder: &Path) -> Self {
        Self::spice_server(folder, "tls-channel=default")
    }

    fn spice_server(folder: &Path, more: &str) -> Self {
        let port = program::free_port();
        let dir = folder.display();
        let server = format!("addr=127.0.0.1,tls-port={port},x509-dir={dir},disable-ticketing=on,{more}");
        Self::run(folder, port, None, &["-vga", "qxl", "-S", "-spice", &server]).listening()
    }

    fn run(folder: &Path, port: u16, credentials: Option<&str>, arguments: &[&str]) -> Self {
        let errors = folder.join("qemu.log");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none"]);
        if let Some(credentials) = credentials {
            let dir = folder.display();
            qemu.args(["-object", &format!("tls-creds-x509,id=tls,endpoint=server,dir={dir},{credentials}")]);
        }
        qemu.args(arguments).stdin(Stdio::null()).stderr(fs::File::create(&errors).unwrap());
        Self { qemu: qemu.spawn().expect("QEMU: scripts/install"), port, errors }
    }

    fn listening(mut self) -> Self {
        self.wait_until(|port| TcpStream::connect(("127.0.0.1", port)).is_ok());
        self
    }

    fn wait_until(&mut self, is_ready: impl Fn(u16) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !is_ready(self.port) {
            let ended = self.qemu.try_wait().unwrap();
            let said = fs::read_to_string(&self.errors).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "QEMU is not ready: {said}");
            thread::sleep(Duration::from_millis(20));
        }
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

/// Serves one connection between the proxy and `port`, and gives what went by when both have ended. `behind_ack` is
/// what somebody in the middle puts behind the answer that accepts VeNCrypt's sub-type.
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
