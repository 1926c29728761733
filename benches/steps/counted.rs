//! What goes through an engine while a step is made.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use consolegate::engine::{Engine, Event, SessionId, Wake};
use consolegate::session::{Input, Output};

/// An engine, and what went through it: tells when a step is over.
pub(crate) struct Counted<E> {
    engine: E,
    received: usize,
    /// By slot
    sent: Vec<usize>,
    writes_open: usize,
}

impl<E> Counted<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self { engine, received: 0, sent: Vec::new(), writes_open: 0 }
    }

    pub(crate) fn start_counting(&mut self) {
        self.received = 0;
        self.sent.fill(0);
    }

    /// Whether so many bytes were received, and all that follows from them is written.
    pub(crate) fn has_moved(&self, waiting: usize) -> bool {
        let moved = self.received >= waiting && self.writes_open == 0;
        assert!(!moved || self.received == waiting, "bytes out of nowhere");
        moved
    }

    /// Bytes written in the connection of that slot.
    pub(crate) fn sent(&self, slot: usize) -> usize {
        self.sent[slot]
    }

    fn count(&mut self, input: &Input) {
        match input {
            Input::Received { chunk, .. } => self.received += chunk.len(),
            Input::Piped { len, .. } => self.received += usize::try_from(*len).unwrap(),
            Input::Written { .. } | Input::Spliced { .. } => self.writes_open -= 1,
            _ => {}
        }
    }
}

impl<E: Engine> Engine for Counted<E> {
    fn now(&self) -> Instant {
        self.engine.now()
    }

    fn submit(&mut self, id: SessionId, output: Output) -> Option<Input> {
        let len = match &output {
            Output::Write { chunk, .. } => chunk.len(),
            Output::SpliceOut { header, len, .. } => header.as_slice().len() + usize::try_from(*len).unwrap(),
            _ => 0,
        };
        let slot = usize::try_from(id.index).unwrap();
        self.sent.resize(self.sent.len().max(slot + 1), 0);
        self.sent[slot] += len;
        self.writes_open += usize::from(len > 0);
        let answer = self.engine.submit(id, output);
        answer.iter().for_each(|input| self.count(input));
        answer
    }

    fn wait(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        self.engine.wait(deadline, events)?;
        for event in events.iter() {
            if let Event::Completed { input, .. } = event {
                self.count(input);
            }
        }
        Ok(())
    }

    fn stop_accepting(&mut self) {
        self.engine.stop_accepting();
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.engine.waker()
    }
}
