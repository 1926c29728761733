//! A raw relay on the program's engines: no session, no frame, else the same calls in the same order.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use consolegate::engine::{Engine, Event, SessionId, listener};
use consolegate::session::{Input, Limits, Output, Side};

use crate::counted::Counted;
use crate::harness::{Direction, Ends, Relay};
use crate::ours;

/// On every engine this machine has.
pub(crate) fn all(sessions: usize) -> Vec<Box<dyn Relay>> {
    let mut relays: Vec<Box<dyn Relay>> = vec![Box::new(Unframed::new("epoll raw", sessions, ours::epoll))];
    if ours::has_uring() {
        relays.push(Box::new(Unframed::new("io_uring raw", sessions, ours::uring)));
    }
    relays
}

/// An engine whose connections are relayed as they come, and their other ends.
struct Unframed<E> {
    name: &'static str,
    engine: Counted<E>,
    events: Vec<Event>,
    ends: Vec<Ends>,
}

impl<E: Engine> Unframed<E> {
    fn new(name: &'static str, sessions: usize, engine: fn(TcpListener, &Limits) -> io::Result<E>) -> Self {
        let console = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listener = listener::bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let limits = Limits { sessions_max: ours::SESSIONS_MAX, ..Limits::default() };
        let engine = Counted::new(engine(listener, &limits).unwrap());
        let mut unframed = Self { name, engine, events: Vec::new(), ends: Vec::new() };
        for _ in 0..sessions {
            unframed.open(address, &console);
        }
        unframed
    }

    fn open(&mut self, address: SocketAddr, console: &TcpListener) {
        let tenant = TcpStream::connect(address).unwrap();
        let (id, _) = self.awaited(|event| match event {
            Event::Accepted { id, peer } => Some((id, peer)),
            _ => None,
        });
        let address = console.local_addr().unwrap();
        self.submit(id, Output::Connect { address, within: Duration::from_secs(5) });
        self.awaited(|event| matches!(event, Event::Completed { input: Input::Connected, .. }).then_some(()));
        let (compute, _) = console.accept().unwrap();
        for stream in [&tenant, &compute] {
            stream.set_nodelay(true).unwrap();
        }
        self.submit(id, Output::Read(Side::Tenant));
        self.submit(id, Output::Read(Side::Compute));
        self.ends.push(Ends { tenant, compute });
    }

    /// Turns until an event is the one.
    fn awaited<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            self.engine.wait(None, &mut self.events).unwrap();
            if let Some(found) = self.events.drain(..).find_map(&mut wanted) {
                return found;
            }
        }
    }

    fn submit(&mut self, id: SessionId, output: Output) {
        let mut next = Some(output);
        while let Some(output) = next.take() {
            let Some(input) = self.engine.submit(id, output) else { return };
            next = answer(input);
        }
    }
}

/// What a relay does next: what it read is written, and when that is done it reads again.
fn answer(input: Input) -> Option<Output> {
    match input {
        Input::Received { from: Side::Tenant, chunk } => Some(Output::Write { to: Side::Compute, chunk }),
        Input::Received { from: Side::Compute, chunk } => Some(Output::Write { to: Side::Tenant, chunk }),
        Input::Written { to: Side::Compute } => Some(Output::Read(Side::Tenant)),
        Input::Written { to: Side::Tenant } => Some(Output::Read(Side::Compute)),
        _ => None,
    }
}

impl<E: Engine> Relay for Unframed<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn framed(&self) -> bool {
        false
    }

    fn ends(&mut self) -> &mut [Ends] {
        &mut self.ends
    }

    fn run(&mut self, _direction: Direction, waiting: usize) {
        self.engine.start_counting();
        while !self.engine.has_moved(waiting) {
            let mut events = std::mem::take(&mut self.events);
            self.engine.wait(None, &mut events).unwrap();
            for event in events.drain(..) {
                if let Event::Completed { id, input } = event
                    && let Some(output) = answer(input)
                {
                    self.submit(id, output);
                }
            }
            self.events = events;
        }
    }

    fn sent(&self, session: usize) -> usize {
        self.engine.sent(session)
    }
}
