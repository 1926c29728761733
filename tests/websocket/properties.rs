//! Round trips of random conversations, and what the encoder may produce.

use proptest::prelude::*;

use consolegate::proto::ws::{
    ControlPayload, FrameHeader, Opcode, REASON_LEN_MAX, StatusCode, TextPolicy, close, ping, pong,
};

use crate::client_frame;
use crate::split::Plan;
use crate::ws::{self, End, Seen, run};

/// One frame that a client sends, before masking.
#[derive(Clone, Debug)]
struct Sent {
    fin: bool,
    opcode: Opcode,
    key: [u8; 4],
    payload: Vec<u8>,
}

/// A message cut into fragments at any byte, with control frames before each of them.
fn message() -> impl Strategy<Value = Vec<Sent>> {
    let content = prop_oneof![
        any::<String>().prop_map(|text| (Opcode::Text, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (Opcode::Binary, bytes)),
    ];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let controls = prop::collection::vec((0..5_usize, any::<bool>(), control_payload()), 0..3);
    (content, cuts, controls, any::<[u8; 4]>()).prop_map(|((opcode, bytes), cuts, controls, key)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let fragments = cuts.len() - 1;
        let mut sent = Vec::new();
        for (number, cut) in cuts.windows(2).enumerate() {
            for (_, is_ping, payload) in controls.iter().filter(|(at, ..)| *at == number) {
                let opcode = if *is_ping { Opcode::Ping } else { Opcode::Pong };
                sent.push(Sent { fin: true, opcode, key, payload: payload.clone() });
            }
            sent.push(Sent {
                fin: number + 1 == fragments,
                opcode: if number == 0 { opcode } else { Opcode::Continuation },
                key: key.map(|byte| byte.rotate_left(u32::try_from(number).unwrap())),
                payload: bytes[cut[0]..cut[1]].to_vec(),
            });
        }
        sent
    })
}

fn control_payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=125)
}

fn expected(sent: &[Sent]) -> Vec<Seen> {
    let mut events = Vec::new();
    let mut open = None;
    for frame in sent {
        let control = || ControlPayload::new(&frame.payload).unwrap();
        let message = match frame.opcode {
            Opcode::Ping => {
                events.push(Seen::Ping(control()));
                continue;
            }
            Opcode::Pong => {
                events.push(Seen::Pong(control()));
                continue;
            }
            Opcode::Continuation => open.unwrap(),
            opcode => opcode,
        };
        open = (!frame.fin).then_some(message);
        let first = frame.opcode != Opcode::Continuation;
        if let Some(Seen::Data { message_end, bytes, .. }) = events.last_mut()
            && !first
        {
            bytes.extend_from_slice(&frame.payload);
            *message_end = frame.fin;
        } else if first || frame.fin || !frame.payload.is_empty() {
            let bytes = frame.payload.clone();
            events.push(Seen::Data { opcode: message, first, message_end: frame.fin, bytes });
        }
    }
    events
}

/// Reads a server frame the way a client does, sharing nothing with the encoder.
fn read_server_frame(bytes: &[u8]) -> (u8, usize, &[u8]) {
    assert_eq!(bytes[1] & 0x80, 0, "a server never masks");
    let (len, header_len) = match bytes[1] {
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes[2..10].try_into().unwrap())).unwrap(), 10),
        len => (usize::from(len), 2),
    };
    let shortest = if len < 126 {
        2
    } else if len < 1 << 16 {
        4
    } else {
        10
    };
    assert_eq!(header_len, shortest, "length {len}");
    (bytes[0], len, &bytes[header_len..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn conversations_arrive_as_sent(
        messages in prop::collection::vec(message(), 0..4),
        sizes in prop::collection::vec(any::<u8>(), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let sent = messages.concat();
        let frames: Vec<Vec<u8>> =
            sent.iter().map(|frame| client_frame(frame.fin, frame.opcode, frame.key, &frame.payload)).collect();
        let stream = frames.concat();
        let payload_len: usize =
            sent.iter().filter(|frame| !frame.opcode.is_control()).map(|frame| frame.payload.len()).sum();
        for plan in [Plan::WHOLE, Plan::new(&sizes), Plan::BYTEWISE] {
            let outcome = run(&stream, plan, TextPolicy::Accept);
            prop_assert_eq!(outcome.end, End::BetweenFrames);
            prop_assert_eq!(outcome.data_len, payload_len);
            prop_assert_eq!(outcome.events, expected(&sent));
        }

        // A stream that stops elsewhere than between two frames was cut off.
        let cut = cut.index(stream.len() + 1);
        let mut boundaries = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) });
        let clean = cut == 0 || boundaries.any(|end| end == cut);
        let expected = if clean { End::BetweenFrames } else { End::InsideFrame };
        prop_assert_eq!(run(&stream[..cut], Plan::WHOLE, TextPolicy::Accept).end, expected);
    }

    #[test]
    fn any_bytes_hold_the_invariants(data in prop::collection::vec(any::<u8>(), 0..200)) {
        ws::deframer(&data);
    }

    #[test]
    fn nothing_is_delivered_behind_a_close(
        messages in prop::collection::vec(message(), 0..3),
        behind in prop::collection::vec(any::<u8>(), 0..50),
        sizes in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let sent = messages.concat();
        let mut stream = Vec::new();
        for frame in &sent {
            stream.extend(client_frame(frame.fin, frame.opcode, frame.key, &frame.payload));
        }
        stream.extend(client_frame(true, Opcode::Close, [1, 2, 3, 4], b"\x03\xe9"));
        stream.extend(&behind);
        let outcome = run(&stream, Plan::new(&sizes), TextPolicy::Accept);
        prop_assert_eq!(outcome.end, End::Closed { unread: behind.len() });
        let mut events = expected(&sent);
        events.push(Seen::Close { code: Some(1001), reason: String::new() });
        prop_assert_eq!(outcome.events, events);
    }

    #[test]
    fn headers_are_read_back_by_a_client(
        len in prop_oneof![0..300_u64, 65_000..66_000_u64, 0..=i64::MAX.unsigned_abs()],
        fin: bool,
    ) {
        let header = FrameHeader::new(Opcode::Binary, fin, len);
        let (first, read, behind) = read_server_frame(header.as_slice());
        prop_assert_eq!((first, read as u64), (if fin { 0x82 } else { 0x02 }, len));
        prop_assert!(behind.is_empty());
    }

    #[test]
    fn control_frames_are_read_back_by_a_client(
        payload in control_payload(),
        reason: String,
        code in (0..=u16::MAX).prop_filter_map("sendable", |code| StatusCode::try_from(code).ok()),
    ) {
        let answer = pong(&ControlPayload::new(&payload).unwrap());
        prop_assert_eq!(read_server_frame(answer.as_slice()), (0x8A, payload.len(), payload.as_slice()));
        let question = ping();
        prop_assert_eq!(question.as_slice(), b"\x89\x00");

        let frame = close(code, &reason.repeat(8));
        let (first, len, body) = read_server_frame(frame.as_slice());
        prop_assert_eq!((first, len), (0x88, body.len()));
        prop_assert_eq!(u16::from_be_bytes([body[0], body[1]]), code.as_u16());
        let sent = str::from_utf8(&body[2..]).unwrap();
        let whole = reason.repeat(8);
        prop_assert!(whole.starts_with(sent));
        prop_assert!(sent == whole || sent.len() + 4 > REASON_LEN_MAX, "cut further than a character needs");
    }
}
