//! Random conversations: near-legal streams of both sides, randomly cut and interleaved.

use proptest::prelude::*;

use crate::invariants::{self, FROM_COMPUTE, Spoken};

const VERSION: &[u8] = b"RFB 003.008\n";

fn version() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => Just(VERSION.to_vec()),
        1 => (0u16..1000, 0u16..1000).prop_map(|(major, minor)| format!("RFB {major:03}.{minor:03}\n").into_bytes()),
        1 => Just(b"RFB 003.889\n".to_vec()),
        3 => prop::sample::select(&["RFB 003.003\n", "RFB 003.006\n", "RFB 003.007\n"]).prop_map(|old| old.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 12),
    ]
}

/// A length that is mostly right, and mostly so many bytes.
fn reason() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(b"Authentication failed\0".to_vec()),
        prop::collection::vec(any::<u8>(), 0..24),
        (250usize..300).prop_map(|len| vec![b'x'; len]),
    ];
    (text, prop_oneof![6 => Just(None), 1 => Just(Some(u32::MAX)), 1 => (0u32..40).prop_map(Some)]).prop_map(
        |(text, length)| {
            let length = length.unwrap_or(u32::try_from(text.len()).unwrap());
            [&length.to_be_bytes()[..], &text].concat()
        },
    )
}

fn security_types() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![3 => Just(1u8), 2 => Just(2u8), 2 => Just(19u8), 2 => any::<u8>()];
    prop_oneof![
        6 => prop::collection::vec(number, 1..6).prop_map(|list| [&[u8::try_from(list.len()).unwrap()][..], &list].concat()),
        1 => Just([&[255][..], &[13; 254], &[1]].concat()),
        2 => reason().prop_map(|reason| [&[0][..], &reason].concat()),
        // As 3.3 has it.
        2 => prop_oneof![3 => 1u32..3, 1 => any::<u32>()].prop_map(|number| number.to_be_bytes().to_vec()),
        1 => reason().prop_map(|reason| [&[0; 4][..], &reason].concat()),
    ]
}

/// A challenge where one may be due, and often none.
fn challenge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 16)]
}

fn security_result() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(vec![0; 4]),
        2 => (1u32..4, reason()).prop_map(|(result, reason)| [&result.to_be_bytes()[..], &reason].concat()),
        1 => Just(vec![]),
    ]
}

/// `VeNCrypt` from the choice of the type to TLS.
fn vencrypt() -> impl Strategy<Value = Vec<u8>> {
    let mostly = |right: &[u8]| prop_oneof![12 => Just(right.to_vec()), 1 => prop::collection::vec(any::<u8>(), right.len())];
    let number = prop_oneof![3 => Just(260u32), 3 => Just(261u32), 2 => 256u32..268, 1 => any::<u32>()];
    let subtypes = prop::collection::vec(number, 0..6).prop_map(|list| {
        let numbers = list.iter().flat_map(|number| number.to_be_bytes());
        [u8::try_from(list.len()).unwrap()].into_iter().chain(numbers).collect()
    });
    let longest = Just([&[255][..], &[0, 0, 1, 1].repeat(254), &[0, 0, 1, 4]].concat());
    let subtypes = prop_oneof![6 => subtypes, 1 => longest];
    let types = prop_oneof![Just(vec![1, 19]), Just(vec![2, 1, 19]), Just(vec![2, 19, 1])];
    (types, mostly(&[0, 2]), mostly(&[0]), subtypes, mostly(&[1]))
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

/// What Nova does not speak, without a fault up to the result.
fn beyond_nova() -> impl Strategy<Value = Vec<u8>> {
    let old = |version: &str, security: &[u8]| [version.as_bytes(), security].concat();
    let x509vnc = old("RFB 003.008\n", b"\x01\x13\0\x02\0\x01\0\0\x01\x05\x01");
    let password = prop::sample::select(vec![
        old("RFB 003.003\n", &[0, 0, 0, 2]),
        old("RFB 003.007\n", &[2, 1, 2]),
        old("RFB 003.008\n", &[1, 2]),
        x509vnc,
    ]);
    let challenge = prop::collection::vec(any::<u8>(), 16);
    let none = prop::sample::select(vec![old("RFB 003.005\n", &[0, 0, 0, 1]), old("RFB 003.007\n", &[1, 1])]);
    prop_oneof![
        2 => (password, challenge, security_result()).prop_map(|(a, b, c)| [a, b, c].concat()),
        1 => none,
    ]
}

fn compute_stream() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(any::<u8>(), 0..40);
    let security = prop_oneof![security_types(), vencrypt()];
    let any = (version(), security, challenge(), security_result(), tail)
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat());
    prop_oneof![4 => any, 1 => beyond_nova()]
}

fn tenant_stream() -> impl Strategy<Value = Vec<u8>> {
    let choice = prop_oneof![6 => Just(1u8), 1 => any::<u8>()];
    let tail = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..8), 1 => prop::collection::vec(any::<u8>(), 60..70)];
    (version(), choice, tail).prop_map(|(a, b, c)| [a, vec![b], c].concat())
}

/// Two streams, the lengths to cut them at and whose turn it is, as an input for the invariants.
fn schedule() -> impl Strategy<Value = Vec<u8>> {
    let turns = prop::collection::vec((any::<bool>(), 1usize..30), 0..24);
    (0..Spoken::COUNT, compute_stream(), tenant_stream(), turns).prop_map(
        |(schemes, compute, tenant, turns)| {
            let mut data = vec![schemes];
            let (mut compute, mut tenant) = (&compute[..], &tenant[..]);
            // What the turns leave over follows at the end.
            let rest = [(true, 100); 12].into_iter().chain([(false, 100)]);
            for (from_compute, len) in turns.into_iter().chain(rest) {
                let (stream, tag) =
                    if from_compute { (&mut compute, FROM_COMPUTE) } else { (&mut tenant, 0) };
                let (chunk, behind) = stream.split_at(len.min(stream.len()));
                *stream = behind;
                data.push(tag | u8::try_from(chunk.len()).unwrap());
                data.extend(chunk);
            }
            data
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn invariants_hold_for_near_legal_conversations(data in schedule()) {
        invariants::check(&data);
    }

    #[test]
    fn invariants_hold_when_a_byte_is_flipped(
        mut data in schedule(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let at = at.index(data.len());
        data[at] = byte;
        invariants::check(&data);
    }

    #[test]
    fn invariants_hold_for_noise(data in prop::collection::vec(any::<u8>(), 0..200)) {
        invariants::check(&data);
    }

    #[test]
    fn versions_are_taken_by_the_letter(
        at in any::<[prop::sample::Index; 2]>(),
        bytes in (any::<u8>(), prop::sample::select(b"0123456789.\n\r +-".to_vec())),
    ) {
        let mut version = *b"RFB 003.008\n";
        for (at, byte) in at.iter().zip([bytes.0, bytes.1]) {
            version[at.index(12)] = byte;
        }
        invariants::check_version(&version);
    }
}

/// Random cases are worth little if they all fail at the first step.
#[test]
fn schedules_reach_every_end() {
    use std::collections::BTreeMap;

    use invariants::{End, Schedule, converse};
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut ends = BTreeMap::<&str, u32>::new();
    for _ in 0..3_000 {
        let schedule = Schedule::read(&schedule().new_tree(&mut runner).unwrap().current());
        let seen = converse(&schedule.spoken, &schedule.chunks);
        let end = match seen.end {
            End::Waiting(_) => "waiting",
            End::Established { .. } => match &seen.to_compute[..] {
                [version, ..] if version == b"RFB 003.003\n" => "established in 3.3",
                [version, ..] if version == b"RFB 003.007\n" => "established in 3.7",
                [_, kind, _] if *kind == [2] => "established with a password",
                [_, _, _, _] => "established inside TLS",
                [_, _, _, _, _] => "established with a password inside TLS",
                _ => "established",
            },
            End::Failed(kind) => kind,
        };
        *ends.entry(end).or_default() += 1;
    }
    for end in [
        "waiting",
        "established",
        "not-rfb",
        "version",
        "refused",
        "no-common-type",
        "type-not-offered",
        "auth-failed",
        "ven-version",
        "ven-subtype",
        "established inside TLS",
        "established with a password",
        "established with a password inside TLS",
        "established in 3.3",
        "established in 3.7",
    ] {
        assert!(ends.get(end) >= Some(&5), "{end} is hardly reached: {ends:?}");
    }
}
