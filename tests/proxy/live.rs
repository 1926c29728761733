//! A serial console that is open, and echoes.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use super::client::{Client, End};
use super::compute;
use super::program::Program;

pub(crate) struct Live {
    pub(crate) client: Client,
    compute: JoinHandle<()>,
}

impl Live {
    /// Opens one through `program`, which must be the serial proxy.
    pub(crate) fn open(program: &Program) -> Self {
        let (port, compute) = compute::serve(|mut stream| {
            stream.set_read_timeout(None).unwrap();
            let mut buffer = [0; 4_096];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
        });
        let token = program.token("serial", port, 600);
        let client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        let mut live = Self { client, compute };
        live.assert_echoes();
        live
    }

    pub(crate) fn assert_echoes(&mut self) {
        self.client.frame(2, b"alive");
        assert_eq!(self.next_frame(), (0x82, b"alive".to_vec()));
    }

    /// The next frame that is no ping: on a busy machine the proxy may find a session idle.
    fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let frame = self.client.read_frame();
            if frame.0 != 0x89 {
                return frame;
            }
        }
    }

    /// The tenant closes.
    pub(crate) fn close(mut self) {
        self.client.frame(8, &[0x03, 0xe8]);
        assert_eq!(self.next_frame(), (0x88, vec![0x03, 0xe8]));
        assert_eq!(self.client.rest(), (vec![], End::Fin));
        self.compute.join().unwrap();
    }

    /// The proxy closes with this code.
    pub(crate) fn assert_closed(mut self, code: u16) {
        let (opcode, payload) = self.client.read_frame();
        assert_eq!((opcode, &payload[..2]), (0x88, code.to_be_bytes().as_slice()));
        self.client.frame(8, &code.to_be_bytes());
        assert_eq!(self.client.rest(), (vec![], End::Fin));
        self.compute.join().unwrap();
    }
}
