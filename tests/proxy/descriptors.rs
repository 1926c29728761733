//! A process that has run out of descriptors.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
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
        // SAFETY: between fork and exec these are system calls only: nothing allocates or takes a lock.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS };
                if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                for _ in 0..INHERITED {
                    libc::dup(0);
                }
                Ok(())
            });
        }
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
