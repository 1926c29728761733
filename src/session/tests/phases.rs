//! Which input leads from which phase to which, as a table that is kept beside this file, and the time
//! that each phase has.

use std::fmt::Write as _;
use std::path::Path;

use super::conversation::*;
use super::encrypting::encrypting;
use super::*;
use crate::proto::http::FileMeta;

/// Builds a session in some state.
type Build = fn() -> Driver;

/// Applies an input. False, and nothing done, when the contract rules it out in the session's state.
type Apply = fn(&mut Driver) -> bool;

fn requesting() -> Driver {
    Driver::accept(vnc())
}

fn half_a_head() -> Driver {
    let mut driver = requesting();
    driver.receive(Side::Tenant, b"GET / HT");
    driver
}

fn opening() -> Driver {
    let mut driver = requesting();
    driver.receive(Side::Tenant, b"GET /vnc.html HTTP/1.1\r\nHost: h\r\n\r\n");
    driver
}

fn sending_the_last_piece() -> Driver {
    let mut driver = opening();
    driver.answer(file_of(4, b"file"));
    driver.written(Side::Tenant);
    driver
}

fn reading_a_piece() -> Driver {
    let mut driver = opening();
    driver.answer(file_of(8, b"file"));
    driver.flush();
    driver
}

fn kept_alive() -> Driver {
    let mut driver = sending_the_last_piece();
    driver.flush();
    driver
}

fn file_of(len: u64, first: &[u8]) -> Input {
    Input::File(FileEvent::Opened {
        file: FileHandle::new(()),
        meta: Box::new(FileMeta { len, modified_unix_ns: 0, gzip: false, media_type: "text/html" }),
        first: Chunk::copied_from(first),
    })
}

fn authorizing() -> Driver {
    Driver::authorizing(vnc())
}

fn holding_early_bytes() -> Driver {
    let mut driver = Driver::authorizing(serial());
    driver.receive(Side::Tenant, &binary(b"early"));
    driver
}

fn resolving() -> Driver {
    Driver::resolving(vnc())
}

fn dialling_a_vnc_server() -> Driver {
    Driver::dialling(vnc())
}

fn dialling_a_serial_port() -> Driver {
    Driver::dialling(serial())
}

fn dialling_the_first_of_two() -> Driver {
    let mut driver = resolving();
    driver.answer(Input::Resolved(vec![COMPUTE.into(); 2]));
    driver
}

fn handshake_due() -> Driver {
    encrypting().0
}

fn tunnelling_to_vnc() -> Driver {
    Driver::tunnelling(vnc())
}

fn tunnelling_to_serial() -> Driver {
    Driver::tunnelling(serial())
}

fn compute_version() -> Driver {
    Driver::securing()
}

fn security_types() -> Driver {
    let mut driver = Driver::securing();
    driver.receive(Side::Compute, VERSION);
    driver
}

fn tenant_version() -> Driver {
    let mut driver = security_types();
    driver.receive(Side::Compute, b"\x01\x01");
    driver
}

fn tenant_version_of_a_refused_one() -> Driver {
    let mut driver = security_types();
    driver.receive(Side::Compute, b"\x00\x00\x00\x00\x04full");
    driver
}

fn tenant_choice() -> Driver {
    Driver::choosing()
}

fn security_result() -> Driver {
    let mut driver = tenant_choice();
    driver.receive(Side::Tenant, &binary(b"\x01"));
    driver
}

fn at_rest() -> Driver {
    Driver::relaying(vnc())
}

fn writing_both_ways() -> Driver {
    let mut driver = at_rest();
    driver.receive(Side::Tenant, &binary(b"typed"));
    driver.receive(Side::Compute, b"output");
    driver
}

fn flushing() -> Driver {
    let mut driver = writing_both_ways();
    driver.input(Input::Kill(CloseReason::ShuttingDown));
    driver
}

fn draining() -> Driver {
    let mut driver = at_rest();
    driver.end(Side::Compute);
    driver.flush();
    driver
}

const STATES: &[(&str, Build)] = &[
    ("nothing received", requesting),
    ("half a head received", half_a_head),
    ("kept alive", kept_alive),
    ("opening a file", opening),
    ("reading a piece", reading_a_piece),
    ("sending the last piece", sending_the_last_piece),
    ("nothing held", authorizing),
    ("early bytes held", holding_early_bytes),
    ("resolving", resolving),
    ("dialling the first of two", dialling_the_first_of_two),
    ("dialling VNC", dialling_a_vnc_server),
    ("dialling serial", dialling_a_serial_port),
    ("handshake due", handshake_due),
    ("to VNC", tunnelling_to_vnc),
    ("to serial", tunnelling_to_serial),
    ("compute version due", compute_version),
    ("security types due", security_types),
    ("tenant version due", tenant_version),
    ("tenant version due, refused", tenant_version_of_a_refused_one),
    ("tenant choice due", tenant_choice),
    ("security result due", security_result),
    ("at rest", at_rest),
    ("writing both ways", writing_both_ways),
    ("flushing", flushing),
    ("draining", draining),
];

fn from_tenant(driver: &mut Driver, bytes: &[u8]) -> bool {
    driver.tenant.reading && {
        driver.receive(Side::Tenant, bytes);
        true
    }
}

fn from_compute(driver: &mut Driver, bytes: &[u8]) -> bool {
    driver.compute.reading && {
        driver.receive(Side::Compute, bytes);
        true
    }
}

/// Answers the open question if it is one of `names`.
fn to_question(driver: &mut Driver, names: &[&str], input: Input) -> bool {
    let fits = driver.question.as_ref().is_some_and(|question| names.contains(&question_name(question)));
    if fits {
        driver.answer(input);
    }
    fits
}

fn authorize(driver: &mut Driver, console_type: ConsoleType) -> bool {
    to_question(driver, &["authorize"], Input::Authorized(Admitted::boxed(connect_info(console_type))))
}

fn to_file(driver: &mut Driver, event: FileEvent) -> bool {
    to_question(driver, &["open", "read"], Input::File(event))
}

fn fits(possible: bool, driver: &mut Driver, apply: impl FnOnce(&mut Driver)) -> bool {
    if possible {
        apply(driver);
    }
    possible
}

const INPUTS: &[(&str, Apply)] = &[
    ("tenant half a head", |d| from_tenant(d, b"GET / HT")),
    ("tenant rest of a head", |d| from_tenant(d, b"TP/1.1\r\nHost: h\r\n\r\n")),
    ("tenant GET", |d| from_tenant(d, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")),
    ("tenant upgrade", |d| from_tenant(d, &upgrade())),
    ("tenant RFB version", |d| from_tenant(d, &binary(VERSION))),
    ("tenant RFB choice", |d| from_tenant(d, &binary(b"\x01"))),
    ("tenant 200 bytes", |d| from_tenant(d, &binary(&[b'x'; 200]))),
    ("tenant text", |d| from_tenant(d, &frame(0x81, b"x"))),
    ("tenant ping", |d| from_tenant(d, &frame(0x89, b""))),
    ("tenant pong", |d| from_tenant(d, &frame(0x8a, b""))),
    ("tenant Close", |d| from_tenant(d, &close_frame(1000, ""))),
    ("tenant unmasked", |d| from_tenant(d, b"\x82\x01x")),
    ("tenant FIN", |d| fits(d.tenant.reading, d, |d| d.end(Side::Tenant))),
    ("tenant reset", |d| fits(d.tenant.reading, d, |d| d.reset(Side::Tenant))),
    ("tenant written", |d| fits(d.tenant.writing, d, |d| d.written(Side::Tenant))),
    ("tenant write failed", |d| fits(d.tenant.writing, d, |d| d.write_fails(Side::Tenant))),
    ("compute 200", |d| from_compute(d, b"HTTP/1.1 200 OK\r\n\r\n")),
    ("compute 403", |d| from_compute(d, b"HTTP/1.1 403 No\r\n\r\n")),
    ("compute RFB version", |d| from_compute(d, VERSION)),
    ("compute RFB types", |d| from_compute(d, b"\x01\x01")),
    ("compute RFB result 0", |d| from_compute(d, &[0; 4])),
    ("compute FIN", |d| fits(d.compute.reading, d, |d| d.end(Side::Compute))),
    ("compute reset", |d| fits(d.compute.reading, d, |d| d.reset(Side::Compute))),
    ("compute written", |d| fits(d.compute.writing, d, |d| d.written(Side::Compute))),
    ("compute write failed", |d| fits(d.compute.writing, d, |d| d.write_fails(Side::Compute))),
    ("authorized", |d| authorize(d, d.settings.console_type)),
    ("authorized as RDP", |d| authorize(d, ConsoleType::RdpHtml5)),
    ("token invalid", |d| {
        let error = AuthorizeError::TokenInvalid;
        to_question(d, &["authorize"], Input::Failed(Failure::Authorize(error)))
    }),
    ("resolved", |d| to_question(d, &["resolve"], Input::Resolved(vec![COMPUTE.into()]))),
    ("resolved to nothing", |d| to_question(d, &["resolve"], Input::Resolved(Vec::new()))),
    ("resolve failed", |d| {
        to_question(d, &["resolve"], Input::Failed(Failure::Resolve("no such host".to_owned())))
    }),
    ("overloaded", |d| {
        let input = Input::Failed(Failure::Overloaded(Overloaded));
        to_question(d, &["authorize", "resolve", "open", "read"], input)
    }),
    ("file opened", |d| to_question(d, &["open"], file_of(4, b"file"))),
    ("piece", |d| to_question(d, &["read"], Input::File(FileEvent::Piece(Chunk::copied_from(b"file"))))),
    ("empty piece", |d| to_question(d, &["read"], Input::File(FileEvent::Piece(Chunk::default())))),
    ("directory", |d| to_question(d, &["open"], Input::File(FileEvent::Directory))),
    ("file missing", |d| to_file(d, FileEvent::Missing)),
    ("file failed", |d| to_file(d, FileEvent::Failed)),
    ("connected", |d| fits(d.connecting.is_some(), d, Driver::connected)),
    ("connect failed", |d| fits(d.connecting.is_some(), d, Driver::connect_fails)),
    ("killed", |d| fits(true, d, |d| d.input(Input::Kill(CloseReason::ShuttingDown)))),
    ("deadline", |d| fits(d.wait.is_some(), d, Driver::expire)),
];

/// For each state the phases that one input leads to, in the order of [`PHASE_NAMES`], each with its
/// inputs. An input that is missing cannot come in that state.
fn table() -> String {
    let mut table = String::new();
    for (state, build) in STATES {
        let _ = writeln!(table, "{}: {state}", build().phase());
        let mut edges = Vec::new();
        for (name, apply) in INPUTS {
            let mut driver = build();
            if apply(&mut driver) {
                edges.push((driver.phase(), *name));
            }
        }
        for phase in PHASE_NAMES {
            let inputs: Vec<_> = edges.iter().filter(|(to, _)| *to == phase).map(|(_, name)| *name).collect();
            if !inputs.is_empty() {
                let _ = writeln!(table, "    -> {phase}: {}", inputs.join(", "));
            }
        }
    }
    table
}

#[test]
fn the_table_of_phases_is_the_stored_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session/tests/phases.txt");
    let table = table();
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    for (got, stored) in table.lines().zip(stored.lines()) {
        assert_eq!(got, stored, "an edge has changed; UPDATE_SNAPSHOT=1 stores the new table for review");
    }
    assert_eq!(table.len(), stored.len(), "states came or went; UPDATE_SNAPSHOT=1 stores the new table");
}

#[test]
fn every_phase_is_a_state_of_the_table() {
    let mut phases: Vec<_> = STATES.iter().map(|(_, build)| build().phase()).collect();
    phases.dedup();
    assert_eq!(phases, PHASE_NAMES[..PHASE_NAMES.len() - 1]);
}

#[test]
fn every_state_has_its_time_and_ends_when_that_has_passed() {
    for (name, build, seconds, farewell, reason) in [
        ("first byte", requesting as Build, 3, Vec::new(), "http"),
        ("head", half_a_head, 10, Vec::new(), "http"),
        ("keep-alive", kept_alive, 15, Vec::new(), "http"),
        ("opening a file", opening, 30, Vec::new(), "http"),
        ("token and port check", authorizing, 60, EMPTY_CLOSE.to_vec(), "refused"),
        ("resolving", resolving, 10, EMPTY_CLOSE.to_vec(), "refused"),
        ("connect", dialling_a_vnc_server, 10, EMPTY_CLOSE.to_vec(), "refused"),
        ("TLS with a compute node", handshake_due, 10, EMPTY_CLOSE.to_vec(), "refused"),
        ("CONNECT", tunnelling_to_vnc, 10, EMPTY_CLOSE.to_vec(), "timed_out"),
        ("compute version", compute_version, 10, close_sent(1000, ""), "rfb"),
        ("tenant version", tenant_version, 15, close_sent(1000, ""), "rfb"),
        ("tenant choice", tenant_choice, 15, close_sent(1000, ""), "rfb"),
    ] {
        let mut driver = build();
        driver.flush();
        driver.take_sent(Side::Tenant);
        assert_eq!(driver.waits(), Some(Duration::from_secs(seconds)), "{name}");
        driver.expire();
        assert_eq!(driver.phase(), "closing", "{name}");
        driver.flush();
        assert_eq!(driver.take_sent(Side::Tenant), farewell, "{name}");
        assert_eq!(driver.finish().name(), reason, "{name}");
    }
}

#[test]
fn a_slow_head_has_ten_seconds_in_all() {
    let mut driver = half_a_head();
    driver.sleep(Duration::from_secs(6));
    driver.receive(Side::Tenant, b"TP/1.1\r\n");
    assert_eq!(driver.waits(), Some(Duration::from_secs(4)), "more bytes win no time");
}

#[test]
fn the_compute_node_has_ten_seconds_for_all_its_steps_together() {
    let mut driver = compute_version();
    driver.sleep(Duration::from_secs(6));
    driver.receive(Side::Compute, VERSION);
    assert_eq!(driver.waits(), Some(Duration::from_secs(4)));
}

#[test]
fn the_tenants_time_is_not_taken_from_the_compute_node() {
    let mut driver = Driver::securing();
    driver.sleep(Duration::from_secs(3));
    driver.receive(Side::Compute, VERSION);
    driver.receive(Side::Compute, b"\x01\x01");
    driver.flush();
    for answer in [VERSION.as_slice(), b"\x01"] {
        assert_eq!(driver.waits(), Some(Duration::from_secs(15)), "for each step");
        driver.sleep(Duration::from_secs(14));
        driver.receive(Side::Tenant, &binary(answer));
        driver.flush();
    }
    assert_eq!(driver.waits(), Some(Duration::from_secs(7)), "what three seconds have left of ten");
    driver.sleep(Duration::from_secs(6));
    driver.receive(Side::Compute, &[0; 4]);
    assert_eq!(driver.phase(), "relaying");
}

#[test]
fn a_compute_node_that_owes_its_result_is_told_of_to_the_tenant() {
    let mut driver = security_result();
    driver.take_sent(Side::Tenant);
    driver.expire();
    driver.flush();
    let text = b"\x00\x00\x00\x01\x00\x00\x00\x28Unable to negotiate security with server";
    assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(text), close_sent(1000, "")].concat());
}
