//! The recorded openings of `tests/data/websocket/upgrade.json`, through whole sessions.

use super::conversation::*;
use super::*;

/// One case of the file.
struct Vector {
    name: String,
    request: Vec<u8>,
    later: Option<Vec<u8>>,
    expect: serde_json::Value,
    note: String,
}

fn bytes(value: &serde_json::Value) -> Option<Vec<u8>> {
    let hex = value.as_str()?;
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    Some((0..hex.len()).step_by(2).map(byte).collect())
}

fn vectors() -> Vec<Vector> {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/data/websocket/upgrade.json")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|case| {
            Some(Vector {
                name: text(&case["name"]),
                // Over-long heads are not in the file.
                request: bytes(&case["request_hex"])?,
                later: bytes(&case["later_hex"]),
                expect: case["expect"].clone(),
                note: text(&case["note"]),
            })
        })
        .collect()
}

/// What came of a session: what the tenant and the compute node were sent behind the 101.
struct Outcome {
    /// Behind the 101
    to_tenant: Vec<u8>,
    to_compute: Vec<u8>,
    phase: &'static str,
}

/// Sends `later` to a session that relays already, or, with `early`, while its token is being looked up.
fn run(settings: Settings, vector: &Vector, later: &[u8], early: bool) -> Outcome {
    let mut driver = Driver::accept(settings);
    driver.receive(Side::Tenant, &vector.request);
    driver.flush();
    driver.take_101();
    if early {
        driver.receive(Side::Tenant, later);
    }
    if driver.phase() == "authorizing" {
        driver.authorized();
        driver.answer(Input::Resolved(vec![COMPUTE.into()]));
        driver.connected();
    }
    if !early {
        driver.receive(Side::Tenant, later);
    }
    driver.flush();
    let phase = driver.phase();
    Outcome { to_tenant: driver.take_sent(Side::Tenant), to_compute: driver.take_sent(Side::Compute), phase }
}

#[test]
fn the_documented_close_code_answers_each_broken_frame() {
    let mut closed = 0;
    for vector in vectors() {
        let (Some(later), Some(code)) = (&vector.later, vector.note.strip_prefix("then close ")) else {
            continue;
        };
        let code: u16 = code.split(';').next().unwrap().parse().expect("a close code");
        for settings in [serial(), spice(), vnc()] {
            for early in [false, true] {
                let outcome = run(settings.clone(), &vector, later, early);
                assert_eq!(outcome.to_tenant, close_sent(code, ""), "{}, early: {early}", vector.name);
                assert_eq!((outcome.to_compute, outcome.phase), (Vec::new(), "closing"), "{}", vector.name);
            }
        }
        closed += 1;
    }
    assert_eq!(closed, 8, "the file has lost cases");
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).expect("a case of this name")
}

#[test]
fn text_is_delivered_to_serial_consoles_and_closes_others_with_1003() {
    let vector = vector("text frame");
    assert!(vector.note.contains("serial: payload delivered as bytes; VNC and SPICE"));
    let later = vector.later.as_deref().unwrap();
    for early in [false, true] {
        let outcome = run(serial(), &vector, later, early);
        assert_eq!((outcome.to_compute, outcome.phase), (b"a".to_vec(), "relaying"));
        assert_eq!(outcome.to_tenant, b"");
        for settings in [vnc(), spice()] {
            let outcome = run(settings, &vector, later, early);
            assert_eq!(outcome.to_tenant, close_sent(1003, ""));
            assert_eq!(outcome.to_compute, b"");
        }
    }
}

#[test]
fn an_empty_close_gets_an_empty_close() {
    let vector = vector("close empty");
    for early in [false, true] {
        let outcome = run(spice(), &vector, vector.later.as_deref().unwrap(), early);
        assert_eq!((outcome.to_tenant.as_slice(), outcome.phase), (EMPTY_CLOSE, "closing"));
    }
}

#[test]
fn frames_behind_the_request_are_delivered_wherever_they_arrive() {
    for (name, expected) in [("frame later", b"abc".as_slice()), ("empty frag start", b"a")] {
        let vector = vector(name);
        for early in [false, true] {
            let outcome = run(serial(), &vector, vector.later.as_deref().unwrap(), early);
            assert_eq!((outcome.to_compute.as_slice(), outcome.phase), (expected, "relaying"), "{name}");
        }
    }
    let vector = vector("frame in same segment");
    let mut driver = Driver::accept(serial());
    driver.receive(Side::Tenant, &vector.request);
    driver.authorized();
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
    assert_eq!(driver.take_sent(Side::Compute), b"abc");
}

#[test]
fn every_request_of_the_file_is_answered_as_it_says() {
    for vector in vectors() {
        // Without a web root, requests for files are answered with 405.
        let expected = vector.expect.as_u64().unwrap_or(405);
        let mut driver = Driver::accept(serial());
        driver.receive(Side::Tenant, &vector.request);
        let upgraded = driver.phase() != "closing";
        driver.flush();
        let sent = driver.take_sent(Side::Tenant);
        let status = std::str::from_utf8(&sent[..12]).unwrap();
        assert_eq!(status, format!("HTTP/1.1 {expected}"), "{}", vector.name);
        assert_eq!(upgraded, expected == 101, "{}", vector.name);
    }
}
