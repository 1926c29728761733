//! Messages of 64 bytes there and back. Each carries the time it was sent at.
//!
//! With a rate the sends keep to their schedule and never wait for answers, so a proxy that falls behind
//! shows it in every message that waits. Without one the next message leaves when the last came back.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use crate::Outcome;
use crate::account::{Account, Used};
use crate::args::Args;
use crate::station::{Role, Station};
use crate::tenant::Tenant;
use crate::wire::{Unframer, message};

const MESSAGE_BYTES: usize = 64;

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
    let mut sessions = Sessions::new(args, Tenant::connect_all(args, args.sessions, true)?)?;
    let account = Account::new(args);
    let mut measured = Measured::new()?;
    let figures = if args.idle == 0 {
        sessions.window(args, &account, &mut measured)?;
        measured.figures()
    } else {
        beside_idle(args, &mut sessions, &account)
    };
    drop((stalled, sessions));
    node.stop()?;
    figures
}

/// The same sessions alone and beside idle ones, by turns: what the machine does meanwhile meets both alike.
fn beside_idle(args: &Args, sessions: &mut Sessions, account: &Account) -> Outcome<Value> {
    let (mut alone, mut beside) = (Measured::new()?, Measured::new()?);
    for _ in 0..TURNS {
        sessions.window(args, account, &mut alone)?;
        let idle = Tenant::connect_all(args, args.idle, true)?;
        thread::sleep(CALM);
        sessions.window(args, account, &mut beside)?;
        drop(idle);
        thread::sleep(CALM);
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

/// The tenants, and what takes their answers.
enum Sessions {
    /// The next message leaves when the last came back.
    OneByOne {
        tenants: Vec<Tenant>,
        begun: Instant,
    },
    OnSchedule(Scheduled),
}

impl Sessions {
    fn new(args: &Args, tenants: Vec<Tenant>) -> Outcome<Self> {
        if args.rate == 0 {
            return Ok(Self::OneByOne { tenants, begun: Instant::now() });
        }
        Scheduled::new(args, tenants).map(Self::OnSchedule)
    }

    /// Measures for the window of time.
    fn window(&mut self, args: &Args, account: &Account, measured: &mut Measured) -> Outcome<()> {
        let before = account.used();
        measured.sent += match self {
            Self::OneByOne { tenants, begun } => one_by_one(args, tenants, *begun, &mut measured.latencies)?,
            Self::OnSchedule(sessions) => sessions.window(args, &mut measured.latencies)?,
        };
        measured.used = measured.used.and(account.used().since(before));
        Ok(())
    }
}

/// Returns how many messages were sent.
fn one_by_one(
    args: &Args,
    tenants: &mut [Tenant],
    begun: Instant,
    latencies: &mut Latencies,
) -> Outcome<u64> {
    let mut sent = 0;
    let bytes = [0x5a; MESSAGE_BYTES];
    let end = Instant::now() + args.window;
    loop {
        for tenant in &mut *tenants {
            if Instant::now() >= end {
                return Ok(sent);
            }
            let wire = message(&bytes, tenant.framed)?;
            let at = nanos(begun.elapsed());
            tenant.send(&wire)?;
            tenant.take(MESSAGE_BYTES)?;
            latencies.record(at, nanos(begun.elapsed()))?;
            sent += 1;
        }
    }
}

/// Sessions that send on a schedule, whether or not answers come.
struct Scheduled {
    senders: Arc<[Arc<TcpStream>]>,
    receivers: HashMap<usize, Receiver>,
    poll: Poll,
    framed: bool,
    begun: Instant,
}

impl Scheduled {
    fn new(args: &Args, tenants: Vec<Tenant>) -> Outcome<Self> {
        let poll = Poll::new()?;
        let mut receivers = HashMap::new();
        let mut senders = Vec::new();
        for (index, tenant) in tenants.into_iter().enumerate() {
            tenant.stream.set_nonblocking(true)?;
            // One descriptor for both: there may be as many sessions as descriptors allow.
            let stream = Arc::new(tenant.stream);
            senders.push(Arc::clone(&stream));
            poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(index), Interest::READABLE)?;
            receivers.insert(index, Receiver { stream, unframer: Unframer::default(), partial: Vec::new() });
        }
        let framed = args.upgrade.is_some();
        Ok(Self { senders: senders.into(), receivers, poll, framed, begun: Instant::now() })
    }

    /// Returns how many messages were sent.
    fn window(&mut self, args: &Args, latencies: &mut Latencies) -> Outcome<u64> {
        let (rate, window, framed, begun) = (args.rate, args.window, self.framed, self.begun);
        let senders = Arc::clone(&self.senders);
        let sending = thread::spawn(move || send_on_schedule(&senders, framed, rate, window, begun));
        let (started, before) = (Instant::now(), latencies.all.len());
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 65_536];
        let mut sent = None;
        let mut sending = Some(sending);
        while sent.is_none_or(|sent| latencies.all.len() - before < sent)
            && started.elapsed() < window + STRAGGLERS
        {
            if sending.as_ref().is_some_and(thread::JoinHandle::is_finished)
                && let Some(thread) = sending.take()
            {
                sent = Some(joined(thread)?);
                continue;
            }
            match self.poll.poll(&mut events, Some(Duration::from_millis(20))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if let Some(receiver) = self.receivers.get_mut(&event.token().0) {
                    receiver.receive(framed, begun, &mut buffer, latencies)?;
                }
            }
        }
        if let Some(thread) = sending.take() {
            sent = Some(joined(thread)?);
        }
        Ok(sent.unwrap_or(0))
    }
}

fn joined(thread: thread::JoinHandle<Outcome<u64>>) -> Outcome<u64> {
    thread.join().unwrap_or_else(|_| Err("the sender panicked".into()))
}

/// Returns how many messages were sent.
fn send_on_schedule(
    streams: &[Arc<TcpStream>],
    framed: bool,
    rate: u64,
    window: Duration,
    begun: Instant,
) -> Outcome<u64> {
    let messages = rate * nanos(window) / 1_000_000_000;
    let started = Instant::now();
    let mut payload = [0x5a; MESSAGE_BYTES];
    for number in 0..messages {
        let due = started + Duration::from_nanos(number * 1_000_000_000 / rate);
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        payload[..8].copy_from_slice(&nanos(begun.elapsed()).to_le_bytes());
        let index = usize::try_from(number)? % streams.len();
        // 64 bytes find no room only when thousands of messages wait already: then the run is void.
        (&*streams[index]).write_all(&message(&payload, framed)?)?;
    }
    Ok(messages)
}

struct Receiver {
    stream: Arc<TcpStream>,
    unframer: Unframer,
    /// The front of a message
    partial: Vec<u8>,
}

impl Receiver {
    fn receive(
        &mut self,
        framed: bool,
        begun: Instant,
        buffer: &mut [u8],
        latencies: &mut Latencies,
    ) -> Outcome<()> {
        loop {
            let len = match (&*self.stream).read(buffer) {
                Ok(0) => return Err("the proxy ended a connection".into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let partial = &mut self.partial;
            if framed {
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
