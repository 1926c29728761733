//! A proxy under attack, and a neighbour who wants to work meanwhile.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use consolegate::engine::descriptors;

use crate::client::{Client, tcp};
use crate::compute;
use crate::pair::{self, Pair, Tls, connect};
use crate::program::{Options, Program};

/// Over what the tenants come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Plain, Transport::Tls];

/// The longest that a neighbour's keystroke may take, ninety-nine times in a hundred. It takes a millisecond; the
/// rest is for machines that run other tests beside. Whatever holds a worker up for long is found.
const NEIGHBOUR_P99: Duration = Duration::from_millis(1_500);

/// Keystrokes that say something about a percentile.
const KEYSTROKES_MIN: usize = 250;

/// What a program that has nothing to do may use of a processor, in hundredths.
const REST_PERCENT: u64 = 40;

/// One connection of a tenant's.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Wire {
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // An end without close_notify is what a cut-off looks like.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The proxy, its neighbour, and what both were like before the attack.
pub(crate) struct Arena {
    pub(crate) program: Program,
    pub(crate) transport: Transport,
    is_vnc: bool,
    pair: Pair,
    neighbour: Neighbour,
    /// Sockets that the program may have when all is over
    pub(crate) sockets: usize,
    memory: u64,
}

impl Arena {
    /// The proxy called `name`, with `limits` in `[consolegate]`.
    pub(crate) fn new(engine: &str, name: &str, transport: Transport, limits: &str) -> Self {
        Self::on_database(engine, name, transport, limits, None)
    }

    /// The same, on another cell database than the program's own.
    pub(crate) fn on_database(
        engine: &str,
        name: &str,
        transport: Transport,
        limits: &str,
        database_url: Option<String>,
    ) -> Self {
        // Both ends of every connection may be this process's.
        let _ = descriptors::raise();
        let pair = Pair::new();
        let default = pair.options();
        let own = format!("port_check = off\n{limits}");
        let extra =
            database_url.as_ref().map_or_else(String::new, |url| format!("[database]\nconnection = {url}"));
        let mut program =
            Program::start(&Options { engine, name, default: &default, own: &own, extra: &extra });
        if let Some(url) = database_url {
            program.database_url = url;
        }
        let is_vnc = name == "nova-novncproxy";
        let neighbour = Neighbour::open(&program, is_vnc);
        let sockets = program.sockets_at_rest();
        let memory = program.peak_memory();
        Self { program, transport, is_vnc, pair, neighbour, sockets, memory }
    }

    /// A connection, under TLS where that is what tenants use.
    pub(crate) fn connect(&self) -> Wire {
        match self.transport {
            Transport::Plain => Wire::Plain(tcp(self.program.address)),
            Transport::Tls => {
                Wire::Tls(Box::new(connect(self.program.address, &self.pair.certificate).unwrap()))
            }
        }
    }

    /// What a tenant says first under TLS.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let config = pair::trusting(std::slice::from_ref(&self.pair.certificate));
        let mut hello = Vec::new();
        pair::tenant(&config).write_tls(&mut hello).unwrap();
        hello
    }

    /// A connection on which a console of the program's type was asked for with `token`.
    pub(crate) fn upgraded(&self, token: &str) -> Client<Wire> {
        Client::over(self.connect()).upgraded(&format!("/?token={token}"), &[])
    }

    /// A token for a console of `console_type` on `port`.
    pub(crate) fn token(&self, console_type: &str, port: u16) -> String {
        self.program.token(console_type, port, 600)
    }

    /// Processor time that the program has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.program.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Asserts that what goes on, the neighbour's keystrokes too, costs next to nothing.
    pub(crate) fn assert_rests(&self) {
        let (used, since) = (self.cpu(), Instant::now());
        thread::sleep(Duration::from_millis(500));
        let (used, took) = (self.cpu() - used, since.elapsed());
        let most = took * u32::try_from(REST_PERCENT).unwrap() / 100;
        assert!(used <= most, "used {used:?} of {took:?}");
    }

    /// Ends the attack: the neighbour has not noticed, memory grew by `growth` bytes at most, no descriptor is
    /// left, and nothing goes on.
    pub(crate) fn end(mut self, growth: u64) {
        let what = format!("{:?}", self.transport);
        self.neighbour.end(&what);
        let grown = self.program.peak_memory() - self.memory;
        assert!(grown <= growth, "{what}: memory grew by {grown} bytes");
        // The neighbour's two are gone as well.
        let until = Instant::now() + Duration::from_secs(30);
        while self.program.sockets() > self.sockets - 2 {
            assert!(Instant::now() < until, "{what}: {} sockets of {}", self.program.sockets(), self.sockets);
            thread::sleep(Duration::from_millis(20));
        }
        self.assert_rests();
        let log = self.program.log();
        assert!(!log.contains("panicked") && !log.contains(" CRITICAL "), "{log}");
        // It still works, and ends when it is asked to.
        Neighbour::open(&self.program, self.is_vnc).end(&what);
        assert_eq!(self.program.end(nix::sys::signal::Signal::SIGTERM), 0);
    }
}

/// A tenant who types all the time and sees what he typed.
struct Neighbour {
    is_over: Arc<AtomicBool>,
    tenant: Option<JoinHandle<Vec<Duration>>>,
}

impl Neighbour {
    fn open(program: &Program, is_vnc: bool) -> Self {
        let port = echoes(is_vnc);
        let token = program.token(if is_vnc { "novnc" } else { "serial" }, port, 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        if is_vnc {
            client.rfb_handshake();
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let tenant = thread::spawn(move || {
            let mut times = Vec::new();
            while !ends.load(Ordering::Relaxed) || times.len() < KEYSTROKES_MIN {
                let typed = Instant::now();
                client.frame(2, b"a key");
                assert_eq!(heard(&mut client), (0x82, b"a key".to_vec()));
                times.push(typed.elapsed());
                thread::sleep(Duration::from_millis(5));
            }
            client.frame(8, &[0x03, 0xe8]);
            assert_eq!(heard(&mut client), (0x88, vec![0x03, 0xe8]));
            times
        });
        Self { is_over, tenant: Some(tenant) }
    }

    fn end(&mut self, what: &str) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut times = self.tenant.take().unwrap().join().expect("the neighbour noticed");
        times.sort_unstable();
        let p99 = times[(times.len() - 1) * 99 / 100];
        println!("{what}: the neighbour's p99 of {} keystrokes: {p99:?}", times.len());
        assert!(p99 < NEIGHBOUR_P99, "{what}: the neighbour's p99 of {} keystrokes is {p99:?}", times.len());
    }
}

/// A port whose consoles echo, behind an RFB handshake or not.
pub(crate) fn echoes(is_vnc: bool) -> u16 {
    consoles(move |mut stream| {
        if is_vnc {
            compute::rfb_handshake(&mut stream);
        }
        let mut buffer = [0; 16_384];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
    })
}

/// A port whose consoles follow `script`.
pub(crate) fn consoles(script: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, script) = (stream.unwrap(), script.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || script(stream));
        }
    });
    port
}

/// Reads until the connection is over, however it ends, and says when that was and how much came.
pub(crate) fn until_cut_off(wire: &mut impl Read) -> (Instant, usize) {
    let mut buffer = [0; 65_536];
    let mut read = 0;
    loop {
        match wire.read(&mut buffer) {
            Ok(0) => return (Instant::now(), read),
            Ok(len) => read += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("not cut off after {read} bytes")
            }
            Err(_) => return (Instant::now(), read),
        }
    }
}

/// The next frame that is no ping: those come when they are due.
fn heard(client: &mut Client) -> (u8, Vec<u8>) {
    loop {
        let frame = client.read_frame();
        if frame.0 != 0x89 {
            return frame;
        }
    }
}

/// Asserts that something took as long as the limit that ends it, and not much more than a busy machine adds.
pub(crate) fn assert_cut_off_at(took: Duration, limit: Duration) {
    // A coarse clock may be a few milliseconds ahead.
    assert!(took + Duration::from_millis(50) >= limit, "too early: {took:?}");
    assert!(took <= limit + Duration::from_secs(5), "too late: {took:?}");
}
