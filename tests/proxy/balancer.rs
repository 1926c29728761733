//! A real HAProxy in front of the program.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::program::{Program, free_port};

/// A running HAProxy.
pub(crate) struct HaProxy {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl HaProxy {
    /// Starts one in front of `program`. `listener` goes behind the bind address, `extra` into the section.
    pub(crate) fn before(program: &Program, mode: &str, listener: &str, server: &str, extra: &str) -> Self {
        let port = free_port();
        let text = format!(
            "global\n  nbthread 1\n  log stderr local0\ndefaults\n  mode {mode}\n  log global\n  timeout connect 5s\n  \
             timeout client 60s\n  timeout server 60s\n  timeout tunnel 2s\nlisten console\n  \
             bind 127.0.0.1:{port} {listener}\n  {extra}\n  server gate {} {server}\n",
            program.address
        );
        Self::start(&program.directory, &text, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Starts one with this configuration, which listens at `address`. Its files go to `directory`.
    pub(crate) fn start(directory: &Path, text: &str, address: SocketAddr) -> Self {
        let config = directory.join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let log = fs::File::create(directory.join("haproxy.log")).unwrap();
        let child = Command::new("haproxy")
            .env("PATH", path)
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("haproxy: scripts/install");
        let mut started = Self { child, address };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = started.child.try_wait().unwrap();
            let log = || fs::read_to_string(directory.join("haproxy.log")).unwrap();
            assert!(ended.is_none() && Instant::now() < until, "HAProxy does not listen:\n{}", log());
            thread::sleep(Duration::from_millis(20));
        }
        started
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
