//! A tenant that looks at the screen of a real QEMU.

use std::io::{Read, Write};

use super::client::{Client, End};

/// Negotiates, looks at QEMU's screen until all of it has come, and closes.
pub(crate) fn see_the_screen<S: Read + Write>(client: &mut Client<S>) {
    see_the_screen_of(client, "QEMU (instance-0000002a)");
}

/// The same with a server that calls its screen `name`.
pub(crate) fn see_the_screen_of<S: Read + Write>(client: &mut Client<S>, name: &str) {
    client.rfb_handshake();
    client.frame(2, &[1]);
    let mut stream = Console { client, bytes: Vec::new() };
    let server_init = stream.take(24);
    let size = [&server_init[..2], &server_init[2..4]].map(|two| u16::from_be_bytes(two.try_into().unwrap()));
    let name_len = u32::from_be_bytes(server_init[20..].try_into().unwrap());
    assert_eq!(stream.take(name_len as usize), name.as_bytes());
    // All of it, raw.
    let [width, height] = size;
    let request = [&[3, 0, 0, 0, 0, 0][..], &width.to_be_bytes(), &height.to_be_bytes()].concat();
    stream.client.frame(2, &[&[2, 0, 0, 1, 0, 0, 0, 0][..], &request].concat());
    let mut missing = u32::from(width) * u32::from(height);
    while missing > 0 {
        let head = stream.take(4);
        assert_eq!(head[..2], [0, 0], "a framebuffer update");
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let rectangle = stream.take(12);
            let area = u32::from(u16::from_be_bytes([rectangle[4], rectangle[5]]))
                * u32::from(u16::from_be_bytes([rectangle[6], rectangle[7]]));
            assert_eq!(rectangle[8..], [0; 4], "raw");
            stream.take(area as usize * 4);
            missing -= area;
        }
    }
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
    assert_eq!(client.rest(), (vec![], End::Fin));
}

/// The console's bytes, whatever frames they come in.
struct Console<'a, S> {
    client: &'a mut Client<S>,
    bytes: Vec<u8>,
}

impl<S: Read + Write> Console<'_, S> {
    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.bytes.len() < len {
            let (opcode, payload) = self.client.read_frame();
            assert_eq!(opcode, 0x82);
            self.bytes.extend(payload);
        }
        let rest = self.bytes.split_off(len);
        std::mem::replace(&mut self.bytes, rest)
    }
}
