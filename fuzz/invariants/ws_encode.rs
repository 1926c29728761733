//! What holds for the frames that go out, and for frames that go round: shared by the fuzz target `encoder` and
//! `tests/fuzzed.rs`.

use consolegate::proto::ws::{
    ControlPayload, Deframer, Event, FrameHeader, Opcode, Outgoing, StatusCode, TextPolicy, close, ping,
};

use crate::split::Plan;
use crate::ws::{self, Seen};

/// Longest payload of one made-up frame.
const PAYLOAD_BYTES_MAX: usize = 300;

/// Every invariant: the first bytes are a read plan, the rest is read as steps.
pub(crate) fn encoder(data: &[u8]) {
    let (plan, steps) = Plan::from_front(data);
    frames_go_round(plan, steps);
    owed_frames_are_bounded_and_legal(steps);
}

/// Legal messages with any keys and any fragmentation, control frames between the fragments, come out as they went
/// in. Our own headers are the shortest there are.
fn frames_go_round(plan: Plan<'_>, steps: &[u8]) {
    let mut wire = Vec::new();
    let (mut data, mut controls) = (Vec::new(), Vec::new());
    let mut open = false;
    let mut rest = steps;
    while let Some((step, after)) = rest.split_first_chunk::<6>() {
        let (kind, key) = (step[0], [step[2], step[3], step[4], step[5]]);
        let wanted = usize::from(step[1]) + if kind & 0x08 == 0 { 0 } else { PAYLOAD_BYTES_MAX - 255 };
        let (payload, after) = after.split_at(wanted.min(after.len()));
        rest = after;
        if kind & 0x03 == 0 {
            let payload = &payload[..payload.len().min(125)];
            let opcode = if kind & 0x04 == 0 { Opcode::Ping } else { Opcode::Pong };
            frame(&mut wire, opcode, true, key, payload);
            controls.push((opcode, payload.to_vec()));
        } else {
            let fin = kind & 0x10 == 0;
            frame(&mut wire, if open { Opcode::Continuation } else { Opcode::Binary }, fin, key, payload);
            data.extend_from_slice(payload);
            open = !fin;
        }
    }
    let outcome = ws::run_with(Deframer::new(TextPolicy::Refuse), &wire, plan);
    assert_eq!(outcome.end, ws::End::BetweenFrames, "what is legal is taken");
    ws::deframer(&[&[0], &wire[..]].concat());
    let (mut data_seen, mut controls_seen) = (Vec::new(), Vec::new());
    for seen in outcome.events {
        match seen {
            Seen::Data { bytes, .. } => data_seen.extend(bytes),
            Seen::Ping(payload) => controls_seen.push((Opcode::Ping, payload.as_slice().to_vec())),
            Seen::Pong(payload) => controls_seen.push((Opcode::Pong, payload.as_slice().to_vec())),
            Seen::Close { .. } => unreachable!("none was sent"),
        }
    }
    assert!(data_seen == data, "{} data bytes in, {} out", data.len(), data_seen.len());
    assert!(controls_seen == controls, "control frames differ");
}

/// A masked frame behind a header of ours, which is checked on the way.
fn frame(wire: &mut Vec<u8>, opcode: Opcode, fin: bool, key: [u8; 4], payload: &[u8]) {
    let header = FrameHeader::new(opcode, fin, payload.len() as u64);
    check_header(header.as_slice(), payload.len() as u64);
    let masked_at = wire.len() + 1;
    wire.extend_from_slice(header.as_slice());
    wire[masked_at] |= 0x80;
    wire.extend(key);
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Never masked, and no longer than it has to be.
fn check_header(header: &[u8], payload_len: u64) {
    let (expected_len, short) = match payload_len {
        0..=125 => (2, u8::try_from(payload_len).unwrap_or(0)),
        126..=0xffff => (4, 126),
        _ => (10, 127),
    };
    assert_eq!((header.len(), header[1]), (expected_len, short));
    let long = header[2..].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    assert!(expected_len == 2 || long == payload_len, "the long form says {long}");
}

/// However many pings come and whenever a Close is asked for: at most one pong is owed, a Close is the last frame,
/// and every frame is one that a client may take.
fn owed_frames_are_bounded_and_legal(steps: &[u8]) {
    let mut outgoing = Outgoing::default();
    let mut latest_ping = None;
    let mut close_asked = false;
    let mut rest = steps;
    while let Some((step, after)) = rest.split_first() {
        let (text, after) = after.split_at((usize::from(*step) >> 2).min(after.len()));
        rest = after;
        match step & 0x03 {
            0 => {
                let Some(payload) = ControlPayload::new(text) else { continue };
                if !close_asked {
                    latest_ping = Some(text.to_vec());
                }
                outgoing.queue_pong(Box::new(payload));
            }
            1 => {
                let reason = String::from_utf8_lossy(text).repeat(3);
                outgoing.queue_close(close(StatusCode::POLICY_VIOLATION, &reason));
                close_asked = true;
            }
            2 => {
                let sent = take_all(&mut outgoing);
                let pongs: Vec<_> = sent.iter().filter(|frame| frame[0] == 0x8a).collect();
                assert!(pongs.len() <= 1 && sent.len() <= 2, "{} frames were owed", sent.len());
                assert_eq!(pongs.first().map(|pong| pong[2..].to_vec()), latest_ping.take());
                assert_eq!(outgoing.is_close_sent(), close_asked);
            }
            _ => {
                let header = outgoing.data_header(u64::from(*step) << 9);
                assert_eq!(header.is_none(), close_asked, "no data behind a Close, all before it");
                if let Some(header) = header {
                    check_header(header.as_slice(), u64::from(*step) << 9);
                }
            }
        }
    }
    check_control(ping().as_slice());
}

fn take_all(outgoing: &mut Outgoing) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let Some(frame) = outgoing.next_control() {
        check_control(frame.as_slice());
        sent.push(frame.as_slice().to_vec());
    }
    if let Some(at) = sent.iter().position(|frame| frame[0] == 0x88) {
        assert_eq!(at + 1, sent.len(), "the Close is the last frame");
    }
    sent
}

/// A control frame that our own deframer, told that it is a client's, takes for what it is.
fn check_control(sent: &[u8]) {
    let [first, len, payload @ ..] = sent else { unreachable!("a frame has two bytes at least") };
    assert!(matches!(first, 0x88..=0x8a) && usize::from(*len) == payload.len() && payload.len() <= 125);
    let mut masked = vec![*first, len | 0x80, 0, 0, 0, 0];
    masked.extend_from_slice(payload);
    let (consumed, event) = Deframer::new(TextPolicy::Refuse).next(&mut masked).unwrap_or((0, None));
    assert_eq!(consumed, masked.len(), "{}", sent.escape_ascii());
    assert!(matches!(
        (first, event),
        (0x88, Some(Event::Close(_))) | (0x89, Some(Event::Ping(_))) | (0x8a, Some(Event::Pong(_)))
    ));
}
