//! Sessions that count what they say and compare what they hear, and logins one after the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{masked, request};

/// Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two rounds of a thread's sessions, and between two logins.
const PAUSE: Duration = Duration::from_millis(20);

/// A tenant's side of a session. Its errors are what ended it.
pub(crate) struct Session {
    stream: TcpStream,
    /// Where the console saw the connection come from
    pub(crate) proxy: IpAddr,
    said: u64,
    pub(crate) worst: Duration,
    pub(crate) end: Option<(Instant, String)>,
}

impl Session {
    /// Opens one, up to the console's first words.
    pub(crate) fn open(address: SocketAddr, token: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request(&format!("/?token={token}"), &[]).as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&head)));
        }
        let nobody = IpAddr::from([0; 4]);
        let mut session = Self { stream, proxy: nobody, said: 0, worst: Duration::ZERO, end: None };
        let greeting = session.payload()?;
        session.proxy = String::from_utf8_lossy(&greeting).parse().map_err(io::Error::other)?;
        Ok(session)
    }

    /// The payload of the next data frame.
    fn payload(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let len = if head[1] == 126 {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len)?;
                usize::from(u16::from_be_bytes(len))
            } else {
                usize::from(head[1])
            };
            let mut payload = vec![0; len];
            self.stream.read_exact(&mut payload)?;
            match head[0] {
                0x82 => return Ok(payload),
                0x89 => self.stream.write_all(&masked(0x8a, &payload))?,
                first => return Err(io::Error::other(format!("a frame {first:#x} {payload:?}"))),
            }
        }
    }

    /// What it says next: no two sessions and no two numbers have the same bytes.
    fn words(&self, number: u64) -> Vec<u8> {
        let name = self.stream.local_addr().map_or(0, |address| address.port());
        let len = usize::try_from(1 + (number * 37 + u64::from(name)) % 1_500).unwrap();
        format!("{name}:{number} ").bytes().cycle().take(len).collect()
    }

    fn say(&mut self) -> io::Result<()> {
        self.said += 1;
        let words = self.words(self.said);
        self.stream.write_all(&masked(0x82, &words))
    }

    fn hear(&mut self) -> io::Result<()> {
        let words = self.words(self.said);
        let mut heard = Vec::new();
        while heard.len() < words.len() {
            heard.extend(self.payload()?);
        }
        assert!(heard == words, "message {}: said {words:?}, heard {heard:?}", self.said);
        Ok(())
    }

    /// Keeps the error, if that is what it came to.
    fn unless_over(&mut self, what: impl FnOnce(&mut Self) -> io::Result<()>) -> bool {
        if self.end.is_some() {
            return false;
        }
        match what(self) {
            Ok(()) => true,
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "no answer");
                self.end = Some((Instant::now(), error.to_string()));
                false
            }
        }
    }
}

/// Lets sessions echo, round after round. Returns them as they are at the end.
pub(crate) fn carry(mut sessions: Vec<Session>, stop: &AtomicBool, echoes: &AtomicU64) -> Vec<Session> {
    let _stop = StopAtPanic(stop);
    while !stop.load(Ordering::Relaxed) {
        let mut said_at = Vec::with_capacity(sessions.len());
        for session in &mut sessions {
            said_at.push(Instant::now());
            session.unless_over(Session::say);
        }
        for (session, at) in sessions.iter_mut().zip(said_at) {
            if session.unless_over(Session::hear) {
                session.worst = session.worst.max(at.elapsed());
                echoes.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(PAUSE);
    }
    sessions
}

/// What became of a login.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    /// The proxy that took it
    pub(crate) outcome: Result<IpAddr, String>,
}

/// Logs in, exchanges a message, leaves, and again.
pub(crate) fn keep_logging_in(
    address: SocketAddr,
    tokens: &[String],
    stop: &AtomicBool,
    logins: &Mutex<Vec<Login>>,
) {
    let _stop = StopAtPanic(stop);
    for token in tokens.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let outcome = Session::open(address, token).and_then(|mut session| {
            session.say()?;
            session.hear()?;
            session.stream.write_all(&masked(0x88, &1000_u16.to_be_bytes()))?;
            Ok(session.proxy)
        });
        let outcome = outcome.map_err(|error| error.to_string());
        logins.lock().unwrap().push(Login { begun, ended: Instant::now(), outcome });
        thread::sleep(PAUSE);
    }
}

/// Sets the flag when it goes.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sets the flag when it goes in a panic, so that the others do not wait for ever.
struct StopAtPanic<'a>(&'a AtomicBool);

impl Drop for StopAtPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
