//! Handshakes of a burst wait for their turn, and nobody waits for more than a turn's share of them. The engine is a
//! script, so that a turn's work can be counted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use consolegate::console::ConsoleType;
use consolegate::engine::{Engine, Event, HANDSHAKES_PER_TURN, SessionId, Wake, Worker, WorkerSettings};
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::session::{Input, Output, Settings};

use super::harness::Everybody;
use super::tls;

/// Reports one list of events a turn, and notes to whom something was written in it.
#[derive(Default)]
struct Script {
    turns: VecDeque<Vec<Event>>,
    written: Vec<u32>,
    /// Whether the last turn was to begin at once
    hurried: bool,
}

impl Engine for Script {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input> {
        let Output::Write { to, .. } = output else { return None };
        self.written.push(id.index);
        Some(Input::Written { to })
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        self.hurried = deadline.is_some_and(|at| at <= Instant::now());
        events.extend(self.turns.pop_front().unwrap_or_default());
        Ok(())
    }

    fn stop_accepting(&mut self) {}

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Nobody)
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

#[test]
fn a_burst_takes_its_turns_behind_everybody_else() {
    let share = u32::try_from(HANDSHAKES_PER_TURN).unwrap();
    let burst = 2 * share + 1;
    let id = |index| SessionId { index, generation: 0 };
    let received = |index, bytes: &[u8]| Event::Completed {
        id: id(index),
        input: Input::Received { from: Side::Tenant, chunk: Chunk::copied_from(bytes) },
    };
    let (tls, config) = tls::ends();
    let settings = Settings { tls, ..Settings::for_console(ConsoleType::Serial) };
    let shared = WorkerSettings {
        settings: Arc::new(settings),
        authorizer: Arc::new(Everybody(Vec::new())),
        numbers: Arc::new(AtomicU64::new(0)),
    };
    let mut worker = Worker::new(Script::default(), shared);
    let peer = ([192, 0, 2, 7], 40_000).into();
    let accepted = (0..=burst).map(|index| Event::Accepted { id: id(index), peer });
    let hellos = (0..burst).map(|index| {
        let mut hello = Vec::new();
        tls::tenant(&config).write_tls(&mut hello).unwrap();
        received(index, &hello)
    });
    let plain = received(burst, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let script = worker.engine_mut();
    script.turns.push_back(accepted.collect());
    script.turns.push_back(hellos.chain([plain]).collect());
    let mut turn = || {
        worker.turn().unwrap();
        let script = worker.engine_mut();
        (std::mem::take(&mut script.written), script.hurried)
    };
    assert_eq!(turn(), (vec![], false));
    // Whoever does not shake hands is served first, though the others came before.
    assert_eq!(turn(), ([burst].into_iter().chain(0..share).collect(), false));
    assert_eq!(turn(), ((share..2 * share).collect(), true));
    assert_eq!(turn(), ((2 * share..burst).collect(), true));
    assert_eq!(turn(), (vec![], false));
}
