//! What sessions tell the control thread, checked as it comes: each relay begins and ends once, each recording is
//! opened, filled and completed in that order.

use std::collections::HashMap;

use consolegate::session::{Notice, RecordEvent};

/// Who has told what so far, by connection number.
#[derive(Default)]
pub(crate) struct Notices {
    relays: HashMap<u64, bool>,
    recordings: HashMap<u64, bool>,
    messages: usize,
    fault: Option<String>,
}

impl Notices {
    pub(crate) fn take(&mut self, notice: &Notice) {
        let fine = match notice {
            Notice::Relaying { number, .. } => self.relays.insert(*number, true).is_none(),
            Notice::Ended { number } => self.relays.insert(*number, false) == Some(true),
            Notice::Record { stream, event } => {
                let number = stream.number;
                match event {
                    RecordEvent::Open => self.recordings.insert(number, true).is_none(),
                    RecordEvent::Message { .. } => {
                        self.messages += 1;
                        self.recordings.get(&number) == Some(&true)
                    }
                    RecordEvent::End => self.recordings.insert(number, false) == Some(true),
                }
            }
        };
        if !fine {
            self.fault.get_or_insert(format!("{notice:?} out of its turn"));
        }
    }

    /// What is wrong when everything is over. Sessions that a worker's end has cut off are told of all the same.
    pub(crate) fn fault(&mut self) -> Option<String> {
        let open = |of: &HashMap<u64, bool>| of.iter().find(|(_, open)| **open).map(|(number, _)| *number);
        let left = |what: &str, number: u64| format!("{what} {number} was never ended");
        let fault = self.fault.take();
        fault
            .or_else(|| open(&self.relays).map(|number| left("relay", number)))
            .or_else(|| open(&self.recordings).map(|number| left("recording", number)))
    }

    /// Messages that were recorded.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }
}
