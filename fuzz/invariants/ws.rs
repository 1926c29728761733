//! What holds for the WebSocket deframer whatever bytes come: shared by the fuzz target `deframer` and
//! `tests/websocket.rs`.

use consolegate::proto::ws::{ControlPayload, Deframer, Event, FrameError, Opcode, TextPolicy};

use crate::reference::{self, Reading, Verdict};
use crate::split::Plan;

/// What a deframer made of a stream, with the pieces of a message joined up to the next control frame,
/// which is the form that does not depend on the reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Seen>,
    pub(crate) end: End,
    /// Data payload handed out, in bytes
    pub(crate) data_len: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Data { opcode: Opcode, first: bool, message_end: bool, bytes: Vec<u8> },
    Ping(ControlPayload),
    Pong(ControlPayload),
    Close { code: Option<u16>, reason: String },
}

/// In which state the end of the stream found the deframer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    BetweenFrames,
    InsideFrame,
    /// A Close was received; the number of bytes behind it
    Closed {
        unread: usize,
    },
    Failed(FrameError),
}

/// Every invariant, for any bytes: the first of them are the plan (see [`Plan::from_front`]).
pub(crate) fn deframer(data: &[u8]) {
    let (plan, stream) = Plan::from_front(data);
    for text in [TextPolicy::Accept, TextPolicy::Refuse] {
        let whole = run(stream, Plan::WHOLE, text);
        assert_eq!(whole, run(stream, Plan::WHOLE, text), "same input, same outcome");
        assert_eq!(whole, run(stream, plan, text), "cut as planned: {plan:?}");
        assert_eq!(whole, run(stream, Plan::BYTEWISE, text), "byte by byte");
        assert!(whole.data_len <= stream.len(), "handed out more than came in");
        agrees_with_the_reference(&whole, reference::read(stream, text == TextPolicy::Refuse));
        if let End::Failed(error) = whole.end {
            assert!(error.to_string().len() <= 80, "no room for the tenant's bytes: {error}");
            error_is_found_at_its_byte(stream, text, error);
        }
    }
}

/// The same frames, and the same verdict: by code, since that is what a client sees of it.
fn agrees_with_the_reference(outcome: &Outcome, reference: Reading) {
    let mut seen = Reading::default();
    for event in &outcome.events {
        let before = seen.data_len();
        match event {
            Seen::Data { opcode, first, message_end, bytes } => {
                if *first {
                    let opcode = if *opcode == Opcode::Text { 1 } else { 2 };
                    seen.messages.push((opcode, Vec::new(), false));
                }
                let (_, payload, complete) = seen.messages.last_mut().expect("a message begins first");
                payload.extend(bytes);
                *complete = *message_end;
            }
            Seen::Ping(payload) => seen.controls.push((before, 9, payload.as_slice().to_vec())),
            Seen::Pong(payload) => seen.controls.push((before, 10, payload.as_slice().to_vec())),
            Seen::Close { code, reason } => {
                let code = code.map(u16::to_be_bytes);
                let payload = code.iter().flatten().copied().chain(reason.bytes()).collect();
                seen.controls.push((before, 8, payload));
            }
        }
    }
    seen.verdict = match (outcome.end, &reference.verdict) {
        (End::Failed(error), Verdict::InLength) => {
            assert_eq!(error.close_code().as_u16(), 1002, "{error}");
            Verdict::InLength
        }
        (End::Failed(error), _) => Verdict::Failed(error.close_code().as_u16()),
        (End::Closed { unread }, _) => Verdict::Closed(unread),
        (End::BetweenFrames | End::InsideFrame, Verdict::InLength) => Verdict::InLength,
        (End::BetweenFrames | End::InsideFrame, _) => Verdict::Open,
    };
    let mut reference = reference;
    if reference.verdict == Verdict::Failed(1007)
        && let Some((_, broken, _)) =
            reference.messages.pop_if(|(_, text, _)| std::str::from_utf8(text).is_err())
        && let Some(place) = seen.messages.get(reference.messages.len()..)
    {
        // How much of a text in front of what breaks it is handed out is the deframer's own affair.
        assert!(place.iter().all(|(_, bytes, _)| broken.starts_with(bytes)), "{place:?} of {broken:?}");
        seen.messages.truncate(reference.messages.len());
    }
    // Of a message's begin alone nothing is known to anybody.
    let known = |(_, payload, complete): &(u8, Vec<u8>, bool)| *complete || !payload.is_empty();
    seen.messages.retain(known);
    reference.messages.retain(known);
    assert_eq!(seen, reference);
}

/// The read that holds everything up to the offending byte fails, the one that stops before it does not.
fn error_is_found_at_its_byte(stream: &[u8], text: TextPolicy, error: FrameError) {
    let mut deframer = Deframer::new(text);
    let at = stream.iter().position(|byte| feed(&mut deframer, &[*byte], &mut |_, _| ()).is_err());
    let at = at.expect("failed as a whole, so fails byte by byte");
    assert_eq!(run(&stream[..=at], Plan::WHOLE, text).end, End::Failed(error));
    assert!(!matches!(run(&stream[..at], Plan::WHOLE, text).end, End::Failed(_)), "failed too early");
}

/// Runs a deframer over `stream`, cut by `plan`, checking each call.
pub(crate) fn run(stream: &[u8], plan: Plan<'_>, text: TextPolicy) -> Outcome {
    run_with(Deframer::new(text), stream, plan)
}

/// [`run`] for a deframer with settings of its own.
pub(crate) fn run_with(mut deframer: Deframer, stream: &[u8], plan: Plan<'_>) -> Outcome {
    let mut outcome = Outcome { events: Vec::new(), end: End::BetweenFrames, data_len: 0 };
    let mut unread = 0;
    for read in plan.reads(stream) {
        match feed(&mut deframer, read, &mut |event, input| outcome.add(event, input)) {
            Ok(consumed) => unread += read.len() - consumed,
            Err(error) => {
                outcome.end = End::Failed(error);
                break;
            }
        }
    }
    if deframer.is_ended() {
        assert_eq!(deframer.retained_len(), 0);
        assert_eq!(deframer.next(&mut [0x82; 8]), Ok((0, None)), "the end is final");
        if !matches!(outcome.end, End::Failed(_)) {
            outcome.end = End::Closed { unread };
        }
    } else if !deframer.is_between_frames() {
        outcome.end = End::InsideFrame;
    }
    outcome
}

/// Gives one read to the deframer, checks every call, and returns how much was taken.
pub(crate) fn feed(
    deframer: &mut Deframer,
    read: &[u8],
    on_event: &mut impl FnMut(Event, &[u8]),
) -> Result<usize, FrameError> {
    let mut input = read.to_vec();
    let mut start = 0;
    loop {
        let rest = &mut input[start..];
        let before = rest.to_vec();
        let result = deframer.next(rest);
        assert!(deframer.retained_len() <= Deframer::RETAINED_LEN_MAX);
        let (consumed, event) = result.inspect_err(|_| assert!(deframer.is_ended()))?;
        only_payload_changed(&before, rest, consumed, event.as_ref());
        start += consumed;
        match event {
            Some(event) => {
                assert!(consumed > 0, "an event without a byte: {event:?}");
                assert_eq!(deframer.is_ended(), matches!(event, Event::Close(_)));
                on_event(event, rest);
            }
            None if deframer.is_ended() => {
                assert_eq!(consumed, 0, "behind the end");
                return Ok(start);
            }
            None => {
                assert_eq!(start, input.len(), "wants more with bytes unread");
                return Ok(start);
            }
        }
    }
}

fn only_payload_changed(before: &[u8], after: &[u8], consumed: usize, event: Option<&Event>) {
    let payload = match event {
        Some(Event::Data { range, .. }) => range.clone(),
        _ => consumed..consumed,
    };
    assert!(payload.start <= payload.end && payload.end <= consumed && consumed <= after.len());
    assert_eq!(before[..payload.start], after[..payload.start]);
    assert_eq!(before[payload.end..], after[payload.end..]);
}

impl Outcome {
    fn add(&mut self, event: Event, input: &[u8]) {
        let seen = match event {
            Event::Data { range, opcode, first, message_end } => {
                let piece = &input[range];
                self.data_len += piece.len();
                match self.events.last_mut() {
                    Some(Seen::Data { message_end: ended, bytes, .. }) if !*ended => {
                        assert!(!first, "a message began inside another");
                        bytes.extend_from_slice(piece);
                        *ended = message_end;
                        return;
                    }
                    _ => Seen::Data { opcode, first, message_end, bytes: piece.to_vec() },
                }
            }
            Event::Ping(payload) => Seen::Ping(*payload),
            Event::Pong(payload) => Seen::Pong(*payload),
            Event::Close(close) => {
                Seen::Close { code: close.code.map(|code| code.as_u16()), reason: close.reason().to_owned() }
            }
        };
        self.events.push(seen);
    }
}
