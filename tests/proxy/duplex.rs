//! Connections on which one thread writes while another reads: TCP, and TLS by a real OpenSSL.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) trait Duplex: Read + Write + Send + 'static {
    /// Another handle to write by.
    fn writer(&self) -> impl Write + Send + 'static;
}

impl Duplex for TcpStream {
    fn writer(&self) -> impl Write + Send + 'static {
        self.try_clone().unwrap()
    }
}

/// `openssl s_client` between its standard input and output.
pub(crate) struct OpenSsl {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl OpenSsl {
    /// Connects, trusting the certificate in that file alone.
    pub(crate) fn connect(address: SocketAddr, trusted: &Path) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"])
            .args(["-connect", &address.to_string(), "-CAfile"])
            .arg(trusted)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl: scripts/install");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output }
    }
}

impl Read for OpenSsl {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Write for OpenSsl {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}

impl Duplex for OpenSsl {
    fn writer(&self) -> impl Write + Send + 'static {
        File::from(self.input.as_fd().try_clone_to_owned().unwrap())
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
