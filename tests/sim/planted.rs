//! Four bugs of a relay and one of a log, planted between the real sessions and the engine: what a session with that bug
//! would do is done to its inputs and outputs, so the product needs no switch for them.

use std::collections::VecDeque;

use consolegate::proto::Side;
use consolegate::session::Input;

use crate::conn::Write;
use crate::oracle::Violation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Bytes that arrive with the end of a phase do not reach the next one
    ResidueLost,
    /// A frame is written at once although others wait
    FrameOvertakes,
    /// FIN does not wait for what is queued
    FinBeforeFlush,
    /// The relay turns to splicing while copied bytes are queued
    SpliceOvertakes,
    /// A request is traced as it came
    RequestTraced,
}

pub(crate) const BUGS: [Bug; 5] =
    [Bug::ResidueLost, Bug::FrameOvertakes, Bug::FinBeforeFlush, Bug::SpliceOvertakes, Bug::RequestTraced];

impl Bug {
    /// Traces a request, or drops what came in one read with the head that ends a phase.
    pub(crate) fn corrupt(self, phase: &str, input: &mut Input) {
        if let (Self::RequestTraced, "request", Input::Received { chunk, .. }) = (self, phase, &*input) {
            tracing::trace!("received {}", chunk.bytes().escape_ascii());
        }
        if self != Self::ResidueLost {
            return;
        }
        let phase_side = match phase {
            "request" => Side::Tenant,
            "tunnelling" => Side::Compute,
            _ => return,
        };
        if let Input::Received { from, chunk } = input
            && *from == phase_side
            && let Some(at) = chunk.bytes().windows(4).position(|end| end == b"\r\n\r\n")
        {
            chunk.truncate(at + 4);
        }
    }

    /// Bytes and ends are what a relay's bugs show in. A splice that overtakes must show in the bytes; that its
    /// session does not wait for its last frame is another bug's sign.
    pub(crate) fn is_shown_by(self, violation: &Violation) -> bool {
        match self {
            Self::RequestTraced => violation.invariant == "S1",
            Self::SpliceOvertakes => violation.text.ends_with("is another one"),
            _ => matches!(violation.invariant, "L1" | "L4"),
        }
    }

    /// Starts a write to the tenant. True when the session is told at once that it is done, and so does not
    /// wait for it: the other half of these bugs.
    pub(crate) fn start_write(self, writes: &mut VecDeque<Write>, write: Write) -> bool {
        let first = writes.is_empty() && !(self == Self::SpliceOvertakes && write.spliced);
        let write = Write { reported: first && self != Self::ResidueLost, ..write };
        let reported = write.reported;
        if self == Self::FrameOvertakes || (self == Self::SpliceOvertakes && write.spliced) {
            writes.push_front(write);
        } else {
            writes.push_back(write);
        }
        reported
    }
}
