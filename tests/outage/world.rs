//! A cloud of the test's own: the database, the broker, a compute service, consoles that echo, and the proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, End};
use crate::peers::{Peer, uuid, wait_until};
use crate::program::{self, Options, Program};
use crate::service::Service;

pub(crate) const HOST: &str = "host1";

/// Generous: machines that run tests are busy.
pub(crate) const BUSY: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) database: Service,
    pub(crate) broker: Service,
    pub(crate) compute: Option<Peer>,
    pub(crate) console: SocketAddr,
    /// A broker of the same cluster that is not there
    pub(crate) dead_port: u16,
}

impl World {
    pub(crate) fn new() -> Self {
        let (database, broker) = thread::scope(|scope| {
            let database = scope.spawn(|| Service::start("mariadb"));
            let broker = Service::start("rabbitmq");
            (database.join().unwrap(), broker)
        });
        let compute = Some(Peer::nova(&broker, HOST, &[]));
        Self { database, broker, compute, console: echoing_consoles(), dead_port: program::free_port() }
    }

    fn database_url(&self) -> String {
        self.database.cell_url("127.0.0.1")
    }

    /// The proxy, which waits for each part for at most `seconds`.
    pub(crate) fn proxy(&self, engine: &str, seconds: u64) -> Program {
        let nova = "nova:pa55-wort@127.0.0.1";
        let (port, dead) = (self.broker.text("/port"), self.dead_port);
        let default = format!(
            "web =\ntransport_url = rabbit://{nova}:{dead},{nova}:{port}/nova\nrpc_response_timeout = {seconds}"
        );
        let milliseconds = seconds * 1_000;
        let extra = format!(
            "database_timeout_ms = {milliseconds}\nauthorize_timeout_ms = {}\n[database]\nconnection = {}\n[oslo_messaging_rabbit]\n\
             rabbit_interval_max = 1\nheartbeat_timeout_threshold = 4",
            2 * milliseconds,
            self.database_url()
        );
        let options = Options { name: "nova-serialproxy", default: &default, own: "", extra: &extra, engine };
        Program::start(&options)
    }

    /// A token for a serial console of an instance of its own.
    pub(crate) fn token(&self, program: &Program) -> Token {
        self.token_at(program, "127.0.0.1")
    }

    /// The same, with that name for the machine of the console.
    pub(crate) fn token_at(&self, program: &Program, node: &str) -> Token {
        let instance = uuid();
        let arguments = [
            "token",
            "create",
            "--init",
            "--database",
            &self.database_url(),
            "--type",
            "serial",
            "--host",
            node,
            "--port",
            &self.console.port().to_string(),
            "--instance",
            &instance,
            "--instance-host",
            HOST,
        ];
        let (status, out, err) = program::run(&program.directory, "consolegate", &arguments);
        assert_eq!(status, 0, "{err}");
        let out = out.trim();
        Token { text: out[out.len() - 36..].to_owned(), instance }
    }

    /// Opens sessions, with a token each, until one is admitted.
    pub(crate) fn wait_for_admission(&self, program: &Program) {
        wait_until("a session is admitted", || open(program, &self.token(program).text).0 == Fate::Admitted);
    }
}

pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) instance: String,
}

/// Consoles on one port, each of which greets and echoes until its end.
fn echoing_consoles() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                stream.write_all(b"hello").unwrap();
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

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Admitted,
    /// With an empty Close and FIN, as every refusal looks
    Refused,
}

/// Opens a session and says how it went and how long that took.
pub(crate) fn open(program: &Program, token: &str) -> (Fate, Duration) {
    let asked = Instant::now();
    let fate = fate(send(program, token));
    (fate, asked.elapsed())
}

/// Asks for a session.
pub(crate) fn send(program: &Program, token: &str) -> Client {
    let client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.stream.set_read_timeout(Some(BUSY)).unwrap();
    client
}

/// Waits for what becomes of a session that was asked for.
pub(crate) fn fate(mut client: Client) -> Fate {
    let (opcode, payload) = client.read_frame();
    match opcode {
        0x82 => {
            assert_eq!(payload, b"hello");
            Fate::Admitted
        }
        0x88 => {
            assert_eq!((payload, client.rest()), (vec![], (vec![], End::Fin)));
            Fate::Refused
        }
        opcode => panic!("{opcode:#x} {payload:?}"),
    }
}

/// A session that says something all the time, and wants to hear it.
pub(crate) struct Live {
    is_over: Arc<AtomicBool>,
    echoed: Arc<AtomicUsize>,
    tenant: JoinHandle<()>,
}

impl Live {
    pub(crate) fn open(program: &Program, token: &str) -> Self {
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()));
        let (is_over, echoed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, counts) = (Arc::clone(&is_over), Arc::clone(&echoed));
        let tenant = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let text = format!("{:08}", counts.load(Ordering::Relaxed));
                client.frame(2, text.as_bytes());
                let mut heard = client.read_frame();
                // The console has been quiet for long enough that the server asks whether anybody is there.
                while heard.0 == 0x89 {
                    client.frame(10, &heard.1);
                    heard = client.read_frame();
                }
                assert_eq!(heard, (0x82, text.into_bytes()));
                counts.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            client.frame(8, &[0x03, 0xe8]);
            assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
        });
        Self { is_over, echoed, tenant }
    }

    /// Waits until it has heard ten more.
    pub(crate) fn assert_goes_on(&self, meanwhile: &str) {
        let goal = self.echoed.load(Ordering::Relaxed) + 10;
        wait_until("the live session goes on", || {
            assert!(!self.tenant.is_finished(), "the live session noticed: {meanwhile}");
            self.echoed.load(Ordering::Relaxed) >= goal
        });
    }

    /// The tenant closes.
    pub(crate) fn close(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.tenant.join().unwrap();
    }
}
