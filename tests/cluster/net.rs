//! Network namespaces without names: the kernel removes each with its last process and descriptor, however we end.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// The bridge in the test's own namespace, and its address there.
pub(crate) const BRIDGE: &str = "cluster";
pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A machine on the bridge.
pub(crate) struct Namespace {
    namespace: File,
    pub(crate) address: Ipv4Addr,
}

/// Takes this thread, and what it will start, to a namespace of its own with a loopback and the bridge.
pub(crate) fn leave() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up");
    ip(&format!("link add {BRIDGE} type bridge"));
    ip(&format!("address add {HUB}/24 dev {BRIDGE}"));
    ip(&format!("link set {BRIDGE} up"));
    Ok(())
}

impl Namespace {
    /// One with the address 10.77.0.`host`, connected to the bridge.
    pub(crate) fn new(host: u8) -> Self {
        let [a, b, c, _] = HUB.octets();
        let address = Ipv4Addr::new(a, b, c, host);
        let namespace = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            inside.join().unwrap()
        });
        let made = Self { namespace, address };
        let path = format!("/proc/{}/fd/{}", std::process::id(), made.namespace.as_raw_fd());
        ip(&format!("link add port{host} type veth peer name eth0 netns {path}"));
        ip(&format!("link set port{host} master {BRIDGE} up"));
        made.inside(|| {
            ip("link set lo up");
            ip(&format!("address add {address}/24 dev eth0"));
            ip("link set eth0 up");
        });
        made
    }

    /// Runs `f` in there, with the processes that it starts.
    pub(crate) fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn ip(arguments: &str) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("ip")
        .env("PATH", path)
        .args(arguments.split(' '))
        .output()
        .expect("ip: scripts/install");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
