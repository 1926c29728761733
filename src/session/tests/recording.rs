//! What a session hands over to be recorded, and when.

use super::conversation::*;
use super::*;

fn recorded(mut settings: Settings) -> Settings {
    settings.record = Some("/var/lib/nova/rec".into());
    settings
}

/// What was handed over since the last call: `open`, `end`, or the mark of the side and its bytes, with `…` behind
/// a piece that others follow.
fn handed(driver: &mut Driver) -> Vec<String> {
    let word = |notice| match notice {
        Notice::Record { event: RecordEvent::Open, .. } => Some("open".to_owned()),
        Notice::Record { event: RecordEvent::End, .. } => Some("end".to_owned()),
        Notice::Record { event: RecordEvent::Message { from, bytes, more }, .. } => {
            let mark = if from == Side::Tenant { '}' } else { '{' };
            Some(format!("{mark}{}{}", bytes.escape_ascii(), if more { "…" } else { "" }))
        }
        _ => None,
    };
    std::mem::take(&mut driver.told).into_iter().filter_map(word).collect()
}

#[test]
fn every_message_is_recorded_whole_and_no_control_frame_is() {
    let mut driver = Driver::relaying(recorded(serial()));
    driver.receive(Side::Tenant, &frame(0x02, b"ls"));
    driver.flush();
    driver.receive(Side::Tenant, &[frame(0x89, b"ping"), frame(0x80, b" -l")].concat());
    driver.flush();
    driver.receive(Side::Tenant, &[binary(b"one"), binary(b""), binary(b"two")].concat());
    driver.flush();
    driver.receive(Side::Compute, b"total 0");
    driver.flush();
    driver.expire();
    driver.flush();
    driver.receive(Side::Tenant, &close_frame(1000, ""));
    assert_eq!(handed(&mut driver), ["open", "}ls…", "} -l", "}one", "}", "}two", "{total 0", "end"]);
}

#[test]
fn the_handshake_is_recorded_from_the_first_message_on() {
    let mut driver = Driver::choosing_with(recorded(vnc()));
    driver.receive(Side::Tenant, &binary(&[1]));
    assert_eq!(handed(&mut driver), ["open", "{RFB 003.008\\n", "}RFB 003.008\\n", "{\\x01\\x01", "}\\x01"]);
}

#[test]
fn a_refused_token_leaves_nothing() {
    let mut driver = Driver::authorizing(recorded(serial()));
    driver.receive(Side::Tenant, &binary(b"too early"));
    driver.answer(Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)));
    driver.flush();
    assert_eq!(handed(&mut driver), [""; 0]);
}

#[test]
fn what_came_too_early_is_recorded_once_the_token_is_accepted() {
    let mut driver = Driver::authorizing(recorded(serial()));
    driver.receive(Side::Tenant, &[binary(b"early"), binary(b"bird")].concat());
    assert_eq!(handed(&mut driver), [""; 0]);
    driver.answer(Input::Authorized(Admitted::boxed(connect_info(ConsoleType::Serial))));
    assert_eq!(handed(&mut driver), ["open", "}early", "}bird"]);
}

#[test]
fn every_end_completes_the_recording() {
    let ends: [fn(&mut Driver); 6] = [
        |driver| driver.end(Side::Compute),
        |driver| driver.end(Side::Tenant),
        |driver| driver.reset(Side::Compute),
        |driver| driver.reset(Side::Tenant),
        |driver| driver.receive(Side::Tenant, &[0xff; 20]),
        |driver| driver.input(Input::Kill(CloseReason::ShuttingDown)),
    ];
    for end in ends {
        let mut driver = Driver::relaying(recorded(serial()));
        end(&mut driver);
        assert_eq!(handed(&mut driver), ["open", "end"], "{:?}", driver.trace);
    }
    let mut driver = Driver::dialling(recorded(serial()));
    driver.connect_fails();
    assert_eq!(handed(&mut driver), ["open", "end"]);
}

#[test]
fn a_recorded_session_never_splices() {
    let mut driver = Driver::relaying(recorded(serial()));
    for _ in 0..10 {
        assert!(driver.compute.reading && !driver.compute.may_pipe);
        driver.receive(Side::Compute, &[0x55; 65_536]);
        driver.flush();
    }
}

#[test]
fn nothing_is_copied_when_nothing_is_recorded() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Tenant, &binary(b"typed"));
    driver.receive(Side::Compute, b"shown");
    assert_eq!(handed(&mut driver), [""; 0]);
}
