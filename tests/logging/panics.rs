//! A panic in any thread is logged as Nova logs an exception that nobody catches.

use consolegate::telemetry::{LogSettings, log};

use crate::peer::Scratch;

#[test]
fn a_panic_is_a_critical_line_and_its_text_has_the_exceptions_prefix() {
    let scratch = Scratch::new();
    let settings = LogSettings { file: Some(scratch.path("x.log")), ..LogSettings::default() };
    // The process's own log: no other test of this program takes that.
    let logger = log::init(&settings).unwrap();
    assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
    logger.flush();
    let text = scratch.read("x.log");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" nova "))
        .map(|line| line.splitn(4, ' ').nth(3).unwrap())
        .collect();
    assert!(lines[0].starts_with("CRITICAL nova [-] Unhandled error: panicked at "), "{text}");
    assert!(lines[1].starts_with("ERROR nova panicked at "), "{text}");
    assert_eq!(lines[2], "ERROR nova on purpose", "{text}");
    assert!(matches!(log::init(&settings), Err(log::LogError::Twice)));
}
