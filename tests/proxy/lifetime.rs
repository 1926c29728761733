//! What ends a console by the clock, through the real program.

use std::io::Write;

use super::client::{Client, End};
use super::compute;
use super::program::{Options, Program};

on_both_engines! {
    an_enforced_session_ends_with_its_token_as_if_the_target_had,
    an_idle_console_ends_when_the_operator_wants_that,
    a_tenant_that_answers_no_pings_is_let_go_where_that_is_strict,
}

fn start(engine: &str, own: &str, extra: &str) -> Program {
    let own = format!("port_check = off\n{own}");
    Program::start(&Options {
        name: "nova-serialproxy",
        default: "",
        own: &own,
        extra,
        ..Options::on(engine)
    })
}

/// A console that says one thing and then waits for its end.
fn console(program: &Program, ttl: u32) -> (Client, std::thread::JoinHandle<Vec<u8>>) {
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(b"login:").unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("serial", port, ttl);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x82, b"login:".to_vec()));
    (client, compute)
}

fn assert_closes(mut client: Client, code: u16, reason: &str) {
    let frame = loop {
        let frame = client.read_frame();
        if frame.0 != 0x89 {
            break frame;
        }
    };
    assert_eq!(frame, (0x88, [&code.to_be_bytes(), reason.as_bytes()].concat()));
    client.frame(8, &code.to_be_bytes());
    assert_eq!(client.rest(), (vec![], End::Fin));
}

fn an_enforced_session_ends_with_its_token_as_if_the_target_had(engine: &str) {
    let program = start(engine, "", "[consoleauth]\nenforce_session_timeout = true");
    let (client, compute) = console(&program, 3);
    assert_closes(client, 1000, "Target closed");
    assert_eq!(compute.join().unwrap(), b"");
    program.wait_for_log(" seconds to terminate connection.");
    program.wait_for_log("the token expired");
}

fn an_idle_console_ends_when_the_operator_wants_that(engine: &str) {
    let program = start(engine, "idle_timeout_ms = 700\nping_interval_ms = 200", "");
    let (client, compute) = console(&program, 600);
    assert_closes(client, 1000, "Idle for too long");
    assert_eq!(compute.join().unwrap(), b"");
}

fn a_tenant_that_answers_no_pings_is_let_go_where_that_is_strict(engine: &str) {
    let program = start(engine, "ping_strict = true\nping_interval_ms = 200", "");
    let (client, compute) = console(&program, 600);
    assert_closes(client, 1008, "Pings not answered");
    assert_eq!(compute.join().unwrap(), b"");
}
