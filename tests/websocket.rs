//! The WebSocket deframer through its public API: recorded vectors, the table of errors, properties.
//! The invariants themselves are in `fuzz/invariants/ws.rs`, shared with the fuzz target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

#[path = "../fuzz/invariants/ws_reference.rs"]
mod reference;
#[path = "../fuzz/invariants/split.rs"]
mod split;
#[path = "../fuzz/invariants/ws.rs"]
mod ws;

#[path = "websocket/properties.rs"]
mod properties;
#[path = "websocket/vectors.rs"]
mod vectors;

use consolegate::proto::ws::{
    Deframer, EMPTY_FRAMES_MAX, Event, FrameError, FrameHeader, Opcode, StatusCode, TextPolicy,
};

use split::Plan;
use ws::{End, run, run_with};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame, as a client sends it.
fn client_frame(fin: bool, opcode: Opcode, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = FrameHeader::new(opcode, fin, payload.len() as u64).as_slice().to_vec();
    frame[1] |= 0x80;
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[test]
fn every_rule_has_its_error_and_close_code() {
    let binary = Opcode::Binary;
    let ping = Opcode::Ping;
    let cases: [(&[u8], FrameError, u16); 15] = [
        (b"\xf2", FrameError::ReservedBits { bits: 0x70 }, 1002),
        (b"\x8b", FrameError::ReservedOpcode(0xB), 1002),
        (b"\x82\x00", FrameError::Unmasked { opcode: binary }, 1002),
        (b"\x09", FrameError::FragmentedControl { opcode: ping }, 1002),
        (b"\x89\xfe", FrameError::ControlTooLong { opcode: ping }, 1002),
        (b"\x00", FrameError::NothingToContinue, 1002),
        (b"\x02\x80KEY!\x82", FrameError::MessageUnfinished { opcode: binary }, 1002),
        (b"\x82\xfe\x00\x7d", FrameError::NonMinimalLength { len: 125 }, 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", FrameError::LengthOutOfRange, 1002),
        (b"\x88\x81\x00\x00\x00\x00\x03", FrameError::CloseTruncated, 1002),
        (b"\x88\x82\x00\x00\x00\x00\x03\xed", FrameError::CloseCode(1005), 1002),
        (b"\x88\x83\x00\x00\x00\x00\x03\xe8\xff", FrameError::CloseReasonNotUtf8, 1007),
        (b"\x81\x82\x00\x00\x00\x00\xed\xa0", FrameError::TextNotUtf8, 1007),
        (b"\x01\x81\x00\x00\x00\x00\xe2\x80\x80KEY!", FrameError::TextNotUtf8, 1007),
        (b"\x82\xfe\x03\xe9KEY!", FrameError::FrameTooLong { len: 1001, max: 1000 }, 1009),
    ];
    for (stream, error, code) in cases {
        for plan in [Plan::WHOLE, Plan::BYTEWISE] {
            let deframer = Deframer::new(TextPolicy::Accept).with_frame_len_max(1000);
            assert_eq!(run_with(deframer, stream, plan).end, End::Failed(error), "{stream:02x?}");
        }
        assert_eq!(error.close_code().as_u16(), code, "{error}");
    }
}

#[test]
fn refused_text_fails_at_its_first_byte() {
    assert_eq!(run(b"\x81", Plan::WHOLE, TextPolicy::Refuse).end, End::Failed(FrameError::TextRefused));
    assert_eq!(FrameError::TextRefused.close_code(), StatusCode::UNSUPPORTED_DATA);
}

#[test]
fn frame_cap_leaves_control_frames_and_equal_lengths_alone() {
    let capped = || Deframer::new(TextPolicy::Refuse).with_frame_len_max(4);
    let ping = client_frame(true, Opcode::Ping, KEY, &[0; 125]);
    assert_eq!(run_with(capped(), &ping, Plan::WHOLE).end, End::BetweenFrames);
    let data = client_frame(true, Opcode::Binary, KEY, &[0; 4]);
    assert_eq!(run_with(capped(), &data, Plan::WHOLE).end, End::BetweenFrames);
}

#[test]
fn largest_length_is_streamed_without_being_kept() {
    let mut deframer = Deframer::new(TextPolicy::Refuse);
    let mut header = *b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(deframer.next(&mut header), Ok((14, None)));
    let mut read = vec![7; 1 << 16];
    for number in 0..100 {
        let piece =
            Event::Data { range: 0..1 << 16, opcode: Opcode::Binary, first: number == 0, message_end: false };
        assert_eq!(deframer.next(&mut read), Ok((1 << 16, Some(piece))));
        assert_eq!(deframer.retained_len(), 0);
    }
    assert!(!deframer.is_between_frames());
}

#[test]
fn a_long_run_of_empty_frames_fails_the_connection() {
    let limit = usize::from(EMPTY_FRAMES_MAX);
    let first = client_frame(false, Opcode::Binary, KEY, b"");
    let empty = client_frame(false, Opcode::Continuation, KEY, b"");
    let allowed = [first.clone(), empty.repeat(limit - 1)].concat();
    assert_eq!(run(&allowed, Plan::WHOLE, TextPolicy::Refuse).end, End::BetweenFrames);
    let over = [allowed, empty].concat();
    assert_eq!(run(&over, Plan::WHOLE, TextPolicy::Refuse).end, End::Failed(FrameError::EmptyFrames));
    assert_eq!(FrameError::EmptyFrames.close_code(), StatusCode::POLICY_VIOLATION);
    let messages = client_frame(true, Opcode::Binary, KEY, b"").repeat(limit + 1);
    assert_eq!(run(&messages, Plan::WHOLE, TextPolicy::Refuse).end, End::Failed(FrameError::EmptyFrames));
}

#[test]
fn a_million_nearly_all_empty_fragments_are_taken_in_constant_memory() {
    let empty = client_frame(false, Opcode::Continuation, KEY, b"");
    let byte = client_frame(false, Opcode::Continuation, KEY, b"x");
    let round = [empty.repeat(usize::from(EMPTY_FRAMES_MAX)), byte].concat();
    let mut deframer = Deframer::new(TextPolicy::Accept);
    deframer.next(&mut client_frame(false, Opcode::Text, KEY, b"x")).unwrap();
    for _ in 0..1000 {
        let mut input = round.clone();
        let len = input.len();
        // Empty fragments inside a message are no events, so each round is one.
        let piece =
            Event::Data { range: len - 1..len, opcode: Opcode::Text, first: false, message_end: false };
        assert_eq!(deframer.next(&mut input), Ok((len, Some(piece))));
        assert_eq!(deframer.retained_len(), 0);
    }
}

#[test]
fn bytes_before_an_invalid_character_are_handed_out() {
    let stream = client_frame(true, Opcode::Text, KEY, b"good\xE2\x28 not");
    let outcome = run(&stream, Plan::WHOLE, TextPolicy::Accept);
    assert_eq!((outcome.data_len, outcome.end), (5, End::Failed(FrameError::TextNotUtf8)));
}
