//! A process that has run out of descriptors.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::program::{Options, Program};

on_both_engines! {
    a_program_without_descriptors_rests_and_serves_again,
}

/// So few that connections use them up before the engine's own limit is met.
const DESCRIPTORS: u64 = 64;
/// Descriptors that the program is started with.
const INHERITED: usize = 28;

fn a_program_without_descriptors_rests_and_serves_again(engine: &str) {
    let own = "port_check = off\nworkers = 1\nsessions_max = 1000\nfirst_byte_timeout_ms = 60000";
    let program = Program::start_with(&Options { own, ..Options::on(engine) }, |command| {
        // A shell makes them: here any number may be some other test's.
        let inherited: String = (0..INHERITED).map(|fd| format!("exec {}<&0; ", fd + 10)).collect();
        let script = format!("{inherited} ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
        shell.current_dir(command.get_current_dir().unwrap());
        *command = shell;
    });
    let held: Vec<_> = (0..DESCRIPTORS).map(|_| TcpStream::connect(program.address).unwrap()).collect();
    program.wait_for_log("no connection can be accepted for 1s");
    // Resting means that the log does not fill up.
    thread::sleep(Duration::from_millis(1_500));
    let told = program.log().matches("no connection can be accepted").count();
    assert!((1..=3).contains(&told), "told {told} times");
    drop(held);
    let mut client = Client::upgrade(program.address, "/?token=unknown", &[]);
    assert_eq!(client.rest().0, [0x88, 0]);
}
