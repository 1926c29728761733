//! The program where nothing else is: a root that cannot be written to and holds the executable, its libraries, a web
//! root and a nova.conf, in mount, PID, IPC and UTS namespaces of its own, without capabilities, as user 0 and as one
//! that nobody has heard of. No /proc, no /dev, no /tmp, no /etc/passwd, no time zone, no resolver's files.
//!
//! Outside of it are a real QEMU, MariaDB, RabbitMQ and Nova's compute libraries, which answer the port check
//! (`CONSOLEGATE_TEST_PYTHON`, else `target/test-python/bin/python`); `scripts/install` installs them. Needs root.
//! The executable is the one that `CONSOLEGATE_BIN` names, else the build's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[macro_use]
#[path = "common/engines.rs"]
mod engines;

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "empty_root/container.rs"]
mod container;
#[path = "proxy/guest.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod guest;
#[path = "common/messaging.rs"]
mod messaging;
#[path = "rpc/peers.rs"]
#[allow(dead_code, reason = "shared with tests/rpc_real.rs, which uses the rest")]
mod peers;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;
#[path = "proxy/screen.rs"]
mod screen;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod service;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use client::Client;
use container::Root;
use guest::Guest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peers::{Peer, uuid, wait_until};
use service::Service;

const PROGRAM: &str = "/usr/bin/nova-novncproxy";
const NOVNC: &str = "/usr/share/novnc";

on_both_engines! {
    a_screen_is_relayed_from_an_empty_root_by_user_0,
    a_screen_is_relayed_from_an_empty_root_by_an_unknown_user,
}

fn a_screen_is_relayed_from_an_empty_root_by_user_0(engine: &str) {
    a_screen_is_relayed(engine, 0);
}

fn a_screen_is_relayed_from_an_empty_root_by_an_unknown_user(engine: &str) {
    a_screen_is_relayed(engine, 54_321);
}

/// What is outside, for all tests.
struct Cell {
    database: Service,
    broker: Service,
    compute: Peer,
}

fn cell() -> &'static Cell {
    static CELL: OnceLock<Cell> = OnceLock::new();
    CELL.get_or_init(|| {
        let (database, broker) = (Service::start("mariadb"), Service::start("rabbitmq"));
        let compute = Peer::nova(&broker, "host1", &[]);
        Cell { database, broker, compute }
    })
}

impl Cell {
    fn database_url(&self) -> String {
        let fact = |name| self.database.text(name);
        let password: String = fact("/password").bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (user, host, port, name) = (fact("/user"), fact("/host"), fact("/port"), fact("/database"));
        format!("mysql+pymysql://{user}:{password}@{host}:{port}/{name}?charset=utf8")
    }

    /// A token for the VNC console of `instance` on this port.
    fn token(&self, folder: &Path, instance: &str, port: u16) -> String {
        let (url, port) = (self.database_url(), port.to_string());
        let place = ["--host", "127.0.0.1", "--port", &port, "--instance-host", &self.compute.host];
        let arguments =
            ["token", "create", "--init", "--type", "novnc", "--instance", instance, "--database", &url];
        program::secrets::issue_passwords(&url);
        let (status, out, err) = program::run(folder, "consolegate", &[&arguments[..], &place].concat());
        assert_eq!(status, 0, "{err}");
        out.trim()[out.trim().len() - 36..].to_owned()
    }
}

/// The program in its root.
struct Contained {
    root: Root,
    log: PathBuf,
    child: Child,
}

impl Contained {
    fn command(log: &Path, arguments: &[&str]) -> Command {
        let output = fs::File::create(log).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["--config-file", "/etc/nova/nova.conf"]).args(arguments).env_clear();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        command
    }

    fn start(root: Root, log: PathBuf, id: u32) -> Self {
        let child = root.start(Self::command(&log, &[]), id);
        Self { root, log, child }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    fn wait_for_listener(&mut self, address: SocketAddr) {
        wait_until("the program listens", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}:\n{}", self.log());
            TcpStream::connect(address).is_ok()
        });
    }

    /// It has this user's rights and no more, sees one file system, and is the first of its processes.
    fn assert_confined(&self, id: u32) {
        let status = self.proc("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for name in ["Uid:", "Gid:"] {
            assert_eq!(field(name), vec![id.to_string(); 4], "{name}");
        }
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(name), ["0000000000000000"], "{name}");
        }
        assert_eq!(field("NoNewPrivs:"), ["1"]);
        assert_eq!(field("Groups:"), [""; 0]);
        assert_eq!(field("NSpid:").last().unwrap(), "1");
        let mounts = self.proc("mountinfo");
        let [mount] = mounts.lines().collect::<Vec<_>>()[..] else { panic!("{mounts}") };
        let fields: Vec<_> = mount.split(' ').collect();
        assert_eq!(fields[4], "/");
        assert!(fields[5].starts_with("ro,"), "{mount}");
    }

    fn end(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        wait_until("the program ends", || self.child.try_wait().unwrap().is_some());
        program::secrets::assert_silent("the program", self.log().as_bytes());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the program\n{}", self.log());
        }
    }
}

/// The root, and the address that the program in it is to listen on.
fn make_root(folder: &Path, engine: &str) -> (Root, SocketAddr) {
    let executable =
        std::env::var_os("CONSOLEGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_consolegate").into());
    let root = Root::with_executable(folder.join("root"), Path::new(&executable), PROGRAM);
    root.copy(Path::new(NOVNC), NOVNC);
    let port = program::free_port();
    // The defaults wherever they will do: the web root's is noVNC's folder, the admin socket's a folder that is not there.
    let config = format!(
        "[DEFAULT]\ntransport_url = {}\n[vnc]\nnovncproxy_host = 127.0.0.1\nnovncproxy_port = {port}\n\
         [database]\nconnection = {}\n[consolegate]\nio_engine = {engine}\n",
        cell().broker.text("/url"),
        cell().database_url(),
    );
    root.write("/etc/nova/nova.conf", &config);
    (root, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn a_screen_is_relayed(engine: &str, id: u32) {
    if let Some(reason) = container::denied() {
        println!("SKIPPED: no namespaces, so no empty root: {reason}");
        return;
    }
    let folder = program::directory();
    let guest = Guest::open(&folder);
    let instance = uuid();
    let token = cell().token(&folder, &instance, guest.port);
    let (root, address) = make_root(&folder, engine);
    let before = root.listing();

    let mut check = root.start(Contained::command(&folder.join("check"), &["--check"]), id);
    let status = check.wait().unwrap();
    let lines = fs::read_to_string(folder.join("check")).unwrap();
    assert!(status.success(), "--check: {status}\n{lines}");

    let mut program = Contained::start(root, folder.join("log"), id);
    program.wait_for_listener(address);
    program.assert_confined(id);

    let mut page = Client::connect(address);
    page.send(b"GET /vnc_lite.html HTTP/1.1\r\nHost: console\r\nConnection: close\r\n\r\n");
    let head = page.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(page.rest().0, fs::read(format!("{NOVNC}/vnc_lite.html")).unwrap());

    screen::see_the_screen(&mut Client::upgrade(address, &format!("/?token={token}"), &[]));
    assert_eq!(cell().compute.calls(&instance).len(), 1, "the port check has been asked for");

    assert_eq!(program.end(), Some(0));
    let log = program.log();
    assert!(log.contains(&format!("workers on {engine}")), "{log}");
    for level in [" WARNING ", " ERROR ", " CRITICAL ", "Traceback", "panicked"] {
        assert!(!log.contains(level), "{log}");
    }
    assert_eq!(program.root.listing(), before, "something was written");
    drop(guest);
    fs::remove_dir_all(folder).unwrap();
}
