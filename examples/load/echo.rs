//! Messages of 64 bytes there and back. Each carries the time it was sent at.
//!
//! With a rate the sends keep to their schedule and never wait for answers, so a proxy that falls behind
//! shows it in every message that waits. Without one the next message leaves when the last came back.
//!
//! Tenants and compute node are one thread that asks its sockets over and over: to wake a process is an interrupt
//! of another processor, which costs the proxy that sends to it more than an echo does. Outside of this machine
//! they are not the proxy's to wake.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use crate::Outcome;
use crate::account::{Account, Used};
use crate::args::Args;
use crate::station::{Floor, Role, Station};
use crate::tenant::Tenant;
use crate::wire::{Unframer, message};

const MESSAGE_BYTES: usize = 64;

const NODE: Token = Token(usize::MAX);

/// How long tenants and compute node sleep at most while nothing comes.
const TICK: Duration = Duration::from_millis(20);

/// How long the last answers may take after the last message was sent.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// What a tenant that stalls sends at a time.
const STALL_BYTES: usize = 65_536;

/// A write that waits this long has found all buffers on the way full.
const STALLED_AFTER: Duration = Duration::from_millis(300);

/// Points of the distribution that is drawn.
const QUANTILES: [f64; 12] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999];

/// How often the sessions are measured alone, and as often beside idle ones.
const TURNS: usize = 2;

/// How long a proxy has for what a crowd of tenants that came or went left it to do.
const CALM: Duration = Duration::from_secs(1);

/// Long enough for some hundred messages at the rates that are measured.
const SLICE: Duration = Duration::from_millis(250);

/// Nanoseconds, three digits: of all messages, and of those sent in each slice of time.
struct Latencies {
    all: Histogram<u64>,
    slices: Vec<Histogram<u64>>,
}

impl Latencies {
    fn new() -> Outcome<Self> {
        Ok(Self { all: Histogram::new(3)?, slices: Vec::new() })
    }

    /// A message that was sent so long after the run began has come back now.
    fn record(&mut self, sent_ns: u64, now_ns: u64) -> Outcome<()> {
        let took = now_ns.saturating_sub(sent_ns);
        self.all.record(took)?;
        let slice = usize::try_from(sent_ns / nanos(SLICE))?;
        while self.slices.len() <= slice {
            self.slices.push(Histogram::new(3)?);
        }
        self.slices[slice].record(took)?;
        Ok(())
    }

    /// The median of the slices' quantile: a pause of the machine is in one or two of them.
    fn of_slices(&self, quantile: f64) -> u64 {
        let full = self.slices.iter().filter(|slice| !slice.is_empty());
        let mut values: Vec<_> = full.map(|slice| slice.value_at_quantile(quantile)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }
}

/// What one or several windows of time showed.
struct Measured {
    latencies: Latencies,
    sent: u64,
    used: Used,
}

impl Measured {
    fn new() -> Outcome<Self> {
        Ok(Self { latencies: Latencies::new()?, sent: 0, used: Used::default() })
    }

    fn p99_of_slices(&self) -> f64 {
        self.latencies.of_slices(0.99) as f64 / 1e3
    }

    fn figures(&self) -> Outcome<Value> {
        let us = |quantile| self.latencies.all.value_at_quantile(quantile) as f64 / 1e3;
        let answered = self.latencies.all.len();
        if answered == 0 {
            return Err("no message came back".into());
        }
        Ok(json!({
            "sent": self.sent,
            "unanswered": self.sent.saturating_sub(answered),
            "p50_us": us(0.5),
            "p99_us": us(0.99),
            "p99_slices_us": self.p99_of_slices(),
            "p999_us": us(0.999),
            "max_us": us(1.0),
            "distribution": QUANTILES.map(|quantile| [quantile, us(quantile)]),
            "cpu_us_per_echo": self.used.cpu_ns as f64 / 1e3 / answered as f64,
        }))
    }
}

pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let node = Station::listen(args.listen, Role::Echo)?;
    let stalled = stall(args)?;
    let tenants = Tenant::connect_all(args, args.sessions, true)?;
    let mut sessions = Sessions::new(tenants, node.take_over()?)?;
    let account = Account::new(args);
    let mut measured = Measured::new()?;
    let figures = if args.idle == 0 {
        sessions.window(args, &account, &mut measured)?;
        measured.figures()
    } else {
        beside_idle(args, sessions, &account)
    };
    drop(stalled);
    figures
}

/// The same sessions alone and beside idle ones, by turns: what the machine does meanwhile meets both alike.
fn beside_idle(args: &Args, mut sessions: Sessions, account: &Account) -> Outcome<Value> {
    let (mut alone, mut beside) = (Measured::new()?, Measured::new()?);
    for _ in 0..TURNS {
        sessions.window(args, account, &mut alone)?;
        let idle;
        (sessions, idle) = sessions.meanwhile(|| Tenant::connect_all(args, args.idle, true))?;
        sessions.window(args, account, &mut beside)?;
        (sessions, ()) = sessions.meanwhile(|| {
            drop(idle);
            Ok(())
        })?;
    }
    let mut figures = beside.figures()?;
    figures["alone"] = alone.figures()?;
    figures["p99_times_alone"] = json!(beside.p99_of_slices() / alone.p99_of_slices());
    Ok(figures)
}

/// Tenants whose whole way to the compute node and back is full, since they never read.
fn stall(args: &Args) -> Outcome<Vec<Tenant>> {
    let mut tenants = Tenant::connect_all(args, args.stalled, true)?;
    for tenant in &mut tenants {
        let wire = message(&[0x5a; STALL_BYTES], tenant.framed)?;
        tenant.stream.set_write_timeout(Some(STALLED_AFTER))?;
        loop {
            match tenant.stream.write_all(&wire) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(tenants)
}

/// The tenants and the compute node.
struct Sessions {
    tenants: Vec<Sender>,
    node: Floor,
    poll: Poll,
    events: Events,
    begun: Instant,
    buffer: Vec<u8>,
}

impl Sessions {
    fn new(tenants: Vec<Tenant>, node: Floor) -> Outcome<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&node.as_raw_fd()), NODE, Interest::READABLE)?;
        let mut senders = Vec::new();
        for (index, tenant) in tenants.into_iter().enumerate() {
            let Tenant { stream, framed, .. } = tenant;
            stream.set_nonblocking(true)?;
            poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(index), Interest::READABLE)?;
            senders.push(Sender { stream, framed, unframer: Unframer::default(), partial: Vec::new() });
        }
        Ok(Self {
            tenants: senders,
            node,
            poll,
            events: Events::with_capacity(1_024),
            begun: Instant::now(),
            buffer: vec![0; 65_536],
        })
    }

    /// Does this, which needs the compute node, and lets the proxy come to rest.
    fn meanwhile<T>(self, act: impl FnOnce() -> Outcome<T>) -> Outcome<(Self, T)> {
        let Self { tenants, node, poll, events, begun, buffer } = self;
        let node = Station::resume(node);
        let done = act()?;
        thread::sleep(CALM);
        let node = node.take_over()?;
        Ok((Self { tenants, node, poll, events, begun, buffer }, done))
    }

    /// Measures for the window of time.
    fn window(&mut self, args: &Args, account: &Account, measured: &mut Measured) -> Outcome<()> {
        let before = account.used();
        measured.sent += self.exchange(args, &mut measured.latencies)?;
        measured.used = measured.used.and(account.used().since(before));
        Ok(())
    }

    /// Returns how many messages were sent.
    fn exchange(&mut self, args: &Args, latencies: &mut Latencies) -> Outcome<u64> {
        let rest = if args.asleep { TICK } else { Duration::ZERO };
        let (started, before) = (Instant::now(), latencies.all.len());
        let scheduled = (args.rate > 0).then(|| args.rate * nanos(args.window) / 1_000_000_000);
        let mut sent = 0;
        let mut last = Duration::ZERO;
        loop {
            let elapsed = started.elapsed();
            let answered = latencies.all.len() - before;
            let over = scheduled.map_or(elapsed >= args.window, |messages| sent == messages);
            if over && (answered == sent || elapsed >= last + STRAGGLERS) {
                return Ok(sent);
            }
            let due = match args.rate {
                _ if over => Duration::MAX,
                0 if answered == sent => elapsed,
                0 => Duration::MAX,
                rate => Duration::from_nanos(sent * 1_000_000_000 / rate),
            };
            if due <= elapsed {
                let index = usize::try_from(sent)? % self.tenants.len();
                self.tenants[index].send(self.begun)?;
                (sent, last) = (sent + 1, elapsed);
            }
            self.turn(rest.min(due.saturating_sub(elapsed)), latencies)?;
        }
    }

    /// What has come to anybody. Waits for something at most so long.
    fn turn(&mut self, wait: Duration, latencies: &mut Latencies) -> Outcome<()> {
        self.node.turn(Duration::ZERO)?;
        let wait = if self.node.is_busy() { Duration::ZERO } else { wait };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for Token(index) in self.events.iter().map(Event::token) {
            if let Some(tenant) = self.tenants.get_mut(index) {
                tenant.receive(self.begun, &mut self.buffer, latencies)?;
            }
        }
        Ok(())
    }
}

/// A tenant that does not wait for answers.
struct Sender {
    stream: TcpStream,
    framed: bool,
    unframer: Unframer,
    /// The front of a message
    partial: Vec<u8>,
}

impl Sender {
    fn send(&mut self, begun: Instant) -> Outcome<()> {
        let mut payload = [0x5a; MESSAGE_BYTES];
        payload[..8].copy_from_slice(&nanos(begun.elapsed()).to_le_bytes());
        // 64 bytes find no room only when thousands of messages wait already: then the run is void.
        Ok(self.stream.write_all(&message(&payload, self.framed)?)?)
    }

    fn receive(&mut self, begun: Instant, buffer: &mut [u8], latencies: &mut Latencies) -> Outcome<()> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err("the proxy ended a connection".into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let partial = &mut self.partial;
            if self.framed {
                self.unframer.feed(&buffer[..len], |payload| partial.extend(payload))?;
            } else {
                partial.extend(&buffer[..len]);
            }
            let now = nanos(begun.elapsed());
            let whole = partial.len() / MESSAGE_BYTES * MESSAGE_BYTES;
            for message in partial.drain(..whole).as_slice().chunks_exact(MESSAGE_BYTES) {
                let mut sent = [0; 8];
                sent.copy_from_slice(&message[..8]);
                latencies.record(u64::from_le_bytes(sent), now)?;
            }
            if len < buffer.len() {
                return Ok(());
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
