//! The usual course of a session up to each phase, and the bytes it is made of.

use super::*;
use crate::console::ConnectInfo;

pub(super) const VERSION: &[u8; 12] = b"RFB 003.008\n";
pub(super) const EMPTY_CLOSE: &[u8] = b"\x88\x00";
pub(super) const COMPUTE: ([u8; 4], u16) = ([198, 51, 100, 1], 5900);

/// An opening handshake with the token in its query, and `headers` (each with its line end).
pub(super) fn upgrade_with(headers: &str) -> Vec<u8> {
    format!(
        "GET /websockify?token={TOKEN} HTTP/1.1\r\nHost: proxy.example:6080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         {headers}\r\n"
    )
    .into_bytes()
}

pub(super) fn upgrade() -> Vec<u8> {
    upgrade_with("")
}

pub(super) fn vnc() -> Settings {
    Settings::for_console(ConsoleType::NoVnc)
}

pub(super) fn spice() -> Settings {
    Settings::for_console(ConsoleType::SpiceHtml5)
}

pub(super) fn serial() -> Settings {
    Settings::for_console(ConsoleType::Serial)
}

/// The row behind the token.
pub(super) fn connect_info(console_type: ConsoleType) -> ConnectInfo {
    ConnectInfo {
        console_type,
        host: "compute-1.example".to_owned(),
        port: Some(COMPUTE.1),
        tls_port: None,
        internal_access_path: None,
        instance_uuid: "2f4d3a55-0000-4000-8000-000000000001".to_owned(),
        expires: 1_800_000_600,
        access_url_base: Some("http://proxy.example:6080/vnc_auto.html".to_owned()),
    }
}

/// A masked frame.
pub(super) fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first_byte];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(0x80 | u8::try_from(len).unwrap()),
        Ok(len) => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

pub(super) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

/// A Close frame of the tenant.
pub(super) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// A Close frame of ours.
pub(super) fn close_sent(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    [&[0x88, u8::try_from(payload.len()).unwrap()], &payload[..]].concat()
}

/// A binary frame of ours.
pub(super) fn binary_sent(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(u8::try_from(len).unwrap()),
        Ok(len) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The payloads of the frames of ours in `wire`, joined, and the control frames between them.
pub(super) fn unframed(mut wire: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut data, mut control) = (Vec::new(), Vec::new());
    while let [first, len, rest @ ..] = wire {
        let (len, rest) = match len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => panic!("no frame of these tests is so long"),
            len => (usize::from(*len), rest),
        };
        match first {
            0x82 => data.extend_from_slice(&rest[..len]),
            0x88..=0x8a => control.push(wire[..2 + len].to_vec()),
            _ => panic!("a frame begins with {first:#x}"),
        }
        wire = &rest[len..];
    }
    assert!(wire.is_empty(), "a frame was cut short");
    (data, control)
}

impl Driver {
    /// Upgraded; the token is being looked up. The 101 has been taken from what was sent.
    pub(super) fn authorizing(settings: Settings) -> Self {
        let mut driver = Self::accept(settings);
        driver.receive(Side::Tenant, &upgrade());
        driver.flush();
        assert_eq!(driver.phase(), "authorizing");
        driver.take_101();
        driver
    }

    /// Takes the 101 from what was sent.
    pub(super) fn take_101(&mut self) {
        let sent = self.take_sent(Side::Tenant);
        let head_len = sent.windows(4).position(|four| four == b"\r\n\r\n").expect("a head was sent") + 4;
        assert!(sent.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
        self.tenant.taken = head_len;
    }

    pub(super) fn authorized(&mut self) {
        let info = connect_info(self.settings.console_type);
        self.answer(Input::Authorized(Admitted::boxed(info)));
    }

    /// Authorized; the name of the compute node is being resolved.
    pub(super) fn resolving(settings: Settings) -> Self {
        let mut driver = Self::authorizing(settings);
        driver.authorized();
        assert_eq!(driver.phase(), "connecting");
        driver
    }

    /// Resolved; one address is being dialled.
    pub(super) fn dialling(settings: Settings) -> Self {
        let mut driver = Self::resolving(settings);
        driver.answer(Input::Resolved(vec![COMPUTE.into()]));
        driver
    }

    /// Connected to a compute node behind a CONNECT preamble, which has been sent.
    pub(super) fn tunnelling(settings: Settings) -> Self {
        let mut driver = Self::authorizing(settings);
        let path = Some("/console?ref=OpaqueRef:1".to_owned());
        let info = ConnectInfo { internal_access_path: path, ..connect_info(driver.settings.console_type) };
        driver.answer(Input::Authorized(Admitted::boxed(info)));
        driver.answer(Input::Resolved(vec![COMPUTE.into()]));
        driver.connected();
        assert_eq!(driver.phase(), "tunnelling");
        driver
    }

    /// Connected to a VNC server that has said nothing yet.
    pub(super) fn securing() -> Self {
        let mut driver = Self::dialling(vnc());
        driver.connected();
        assert_eq!(driver.phase(), "securing");
        driver
    }

    /// A VNC session whose tenant has sent its version and is to choose.
    pub(super) fn choosing() -> Self {
        Self::choosing_with(vnc())
    }

    pub(super) fn choosing_with(settings: Settings) -> Self {
        let mut driver = Self::dialling(settings);
        driver.connected();
        driver.receive(Side::Compute, VERSION);
        driver.receive(Side::Compute, b"\x01\x01");
        driver.flush();
        driver.receive(Side::Tenant, &binary(VERSION));
        driver.flush();
        driver.take_sent(Side::Tenant);
        driver.take_sent(Side::Compute);
        driver
    }

    /// A session at rest in its relay.
    pub(super) fn relaying(settings: Settings) -> Self {
        let driver = if matches!(settings.security, Security::Rfb(_)) {
            let mut driver = Self::choosing();
            driver.settings = settings;
            driver.receive(Side::Tenant, &binary(b"\x01"));
            driver.flush();
            driver.receive(Side::Compute, &[0; 4]);
            driver.flush();
            driver.take_sent(Side::Tenant);
            driver.take_sent(Side::Compute);
            driver
        } else {
            let mut driver = Self::dialling(settings);
            driver.connected();
            driver
        };
        assert_eq!(driver.phase(), "relaying");
        driver
    }
}
