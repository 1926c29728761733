//! The cloud of the test: database, broker and compute service at the bridge, proxies and balancer around it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use nix::sys::signal::Signal;

use crate::balancer::HaProxy;
use crate::net::{HUB, Namespace};
use crate::peers::{Peer, uuid};
use crate::program::{self, Options, Program};
use crate::service::Service;

const HOST: &str = "host1";
const PROXIES: u8 = 3;
const PROXY_PORT: u16 = 6083;
const ADMIN_PORT: u16 = 6090;
const BALANCER_PORT: u16 = 443;

pub(crate) struct Lab {
    engine: String,
    database: Service,
    broker: Service,
    // Ends with the lab.
    _compute: Peer,
    consoles: SocketAddr,
    machines: Vec<Namespace>,
    proxies: Vec<Option<Program>>,
    directory: PathBuf,
    balancer: Option<HaProxy>,
    balancer_address: SocketAddr,
}

impl Lab {
    pub(crate) fn new(engine: &str) -> Self {
        let hub = HUB.to_string();
        let database = Service::start_with("mariadb", &[&hub]);
        let broker = Service::start_with("rabbitmq", &[&hub]);
        let compute = Peer::nova(&broker, HOST, &[]);
        let machines: Vec<_> = (0..PROXIES).map(|index| Namespace::new(11 + index)).collect();
        let edge = Namespace::new(10);
        let mut lab = Self {
            engine: engine.to_owned(),
            database,
            broker,
            _compute: compute,
            consoles: consoles(),
            machines,
            proxies: (0..PROXIES).map(|_| None).collect(),
            directory: program::directory(),
            balancer: None,
            balancer_address: SocketAddr::from((edge.address, BALANCER_PORT)),
        };
        for index in 0..lab.proxies.len() {
            lab.start(index);
        }
        let (directory, address, config) = (&lab.directory, lab.balancer_address, lab.balancer_config());
        lab.balancer = Some(edge.inside(|| HaProxy::start(directory, &config, address)));
        lab
    }

    /// As docs/SCALING.md has it, with shorter intervals.
    fn balancer_config(&self) -> String {
        let mut text = format!(
            "global\n  nbthread 1\n  log stderr local0\n  stats socket {}\n\
             defaults\n  mode http\n  log global\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout tunnel 1h\n  retries 3\n  option redispatch 1\n  retry-on conn-failure empty-response\n\
             listen console\n  bind {}\n  balance leastconn\n  option httpchk GET /readyz\n",
            self.directory.join("haproxy.sock").display(),
            self.balancer_address,
        );
        for (index, machine) in self.machines.iter().enumerate() {
            let address = machine.address;
            writeln!(
                text,
                "  server proxy{index} {address}:{PROXY_PORT} check port {ADMIN_PORT} inter 500ms fall 2 rise 2"
            )
            .unwrap();
        }
        text
    }

    /// Starts a proxy on its machine.
    pub(crate) fn start(&mut self, index: usize) {
        let hub = HUB.to_string();
        let url = self.broker.text("/url").replace("127.0.0.1", &hub);
        let default = format!("web =\ntransport_url = {url}");
        let own = format!("admin_listen = 0.0.0.0:{ADMIN_PORT}\ntrusted_proxies = 10.77.0.10");
        // The last of an option's values counts.
        let extra = format!(
            "[database]\nconnection = {}\n[serial_console]\nserialproxy_host = 0.0.0.0",
            self.database.cell_url(&hub)
        );
        let engine = &self.engine;
        let options =
            Options { name: "nova-serialproxy", default: &default, own: &own, extra: &extra, engine };
        self.proxies[index] =
            Some(self.machines[index].inside(|| Program::start_at(&options, PROXY_PORT, |_| ())));
    }

    /// Ends a proxy.
    pub(crate) fn end(&mut self, index: usize, signal: Signal) {
        self.proxies[index].take().unwrap().end(signal);
    }

    pub(crate) fn proxies(&self) -> usize {
        self.proxies.len()
    }

    /// The machine that a proxy is on.
    pub(crate) fn address(&self, index: usize) -> IpAddr {
        self.machines[index].address.into()
    }

    pub(crate) fn balancer(&self) -> SocketAddr {
        self.balancer_address
    }

    /// `UP` or `DOWN`, as the balancer sees a proxy.
    pub(crate) fn balancer_says(&self, index: usize) -> String {
        let mut socket = UnixStream::connect(self.directory.join("haproxy.sock")).unwrap();
        socket.write_all(b"show stat -1 4 -1\n").unwrap();
        let mut table = String::new();
        socket.read_to_string(&mut table).unwrap();
        let column = |line: &str, number: usize| line.split(',').nth(number).unwrap_or_default().to_owned();
        let head = table.lines().next().unwrap().trim_start_matches("# ");
        let status = head.split(',').position(|name| name == "status").unwrap();
        let line = table.lines().find(|line| column(line, 1) == format!("proxy{index}")).unwrap();
        // While it is not sure yet: `UP 1/2`.
        column(line, status)
    }

    /// A token for a serial console of an instance of its own.
    pub(crate) fn token(&self) -> String {
        let (url, instance) = (self.database.cell_url("127.0.0.1"), uuid());
        let (node, port) = (self.consoles.ip().to_string(), self.consoles.port().to_string());
        let arguments = [
            &["token", "create", "--init", "--database", &url, "--type", "serial"][..],
            &["--host", &node, "--port", &port, "--instance", &instance, "--instance-host", HOST],
        ];
        let (status, out, err) = program::run(&self.directory, "consolegate", &arguments.concat());
        assert_eq!(status, 0, "{err}");
        let out = out.trim();
        out[out.len() - 36..].to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.balancer = None;
        if thread::panicking() {
            eprintln!("--- HAProxy's log is in {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Consoles on one port, each of which tells who connected and then echoes until its end.
fn consoles() -> SocketAddr {
    let listener = TcpListener::bind((HUB, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                let proxy = stream.peer_addr().unwrap().ip();
                stream.set_nodelay(true).unwrap();
                stream.write_all(proxy.to_string().as_bytes()).unwrap();
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}
