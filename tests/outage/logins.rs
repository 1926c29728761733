//! Many logins at once against pools that nobody has used yet.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::Client;
use crate::program::Program;
use crate::world::{BUSY, World};

on_both_engines! {
    five_hundred_logins_at_once_find_cold_pools,
}

/// What a look-up and a call may take together, however many wait with it.
const BOUND: Duration = Duration::from_secs(60);

fn five_hundred_logins_at_once_find_cold_pools(engine: &str) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Both ends of each session are ours.
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let world = World::new();
    let program = world.proxy(engine, BOUND.as_secs() / 2);
    let token = world.token(&program).text;
    let asked = Instant::now();
    let mut clients: Vec<_> =
        (0..500).map(|_| Client::upgrade(program.address, &format!("/?token={token}"), &[])).collect();
    for client in &mut clients {
        client.stream.set_read_timeout(Some(BUSY)).unwrap();
        assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()), "{}", program.log());
    }
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    // All of them go on, and so do those that come now.
    for client in &mut clients {
        client.frame(2, b"all is well");
        assert_eq!(client.read_frame(), (0x82, b"all is well".to_vec()));
    }
    world.wait_for_admission(&program);
    probes_see_the_process(&world, &program);
    let log = program.log();
    assert!(!log.contains("refused a token") && !log.contains("panicked"), "{log}");
}

/// What Kolla's and TripleO's health checks join: the process by its name, its port, its connection to the broker.
fn probes_see_the_process(world: &World, program: &Program) {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let pid = program.pid().to_string();
    let pids = said("pgrep", &["-f", "nova-serialproxy"]);
    assert!(pids.lines().any(|line| line == pid), "{pid} is not among {pids:?}");
    let mark = format!("pid={pid},");
    let listens = said("ss", &["-Hlntp", &format!("sport = :{}", program.address.port())]);
    assert!(listens.contains(&mark), "{listens}");
    let asks = said("ss", &["-Hntp", &format!("dport = :{}", world.broker.text("/port"))]);
    assert!(asks.contains(&mark), "{asks}");
}
