//! Many logins at once against pools that nobody has used yet.

use std::process::Command;
use std::time::{Duration, Instant};

use consolegate::session::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::Client;
use crate::program::Program;
use crate::world::{BUSY, World};

on_both_engines! {
    five_hundred_logins_at_once_find_cold_pools,
    two_thousand_logins_are_no_storm_on_the_database_or_the_broker,
}

/// What a look-up and a call may take together, however many wait with it.
const BOUND: Duration = Duration::from_secs(60);

/// The same of two thousand.
const BURST: Duration = Duration::from_secs(180);

fn five_hundred_logins_at_once_find_cold_pools(engine: &str) {
    raise_descriptors();
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
        assert_eq!(data(client), b"all is well");
    }
    world.wait_for_admission(&program);
    probes_see_the_process(&world, &program);
    let log = program.log();
    assert!(!log.contains("refused a token") && !log.contains("panicked"), "{log}");
}

/// Both ends of each session are ours.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// The next data frame. The server asks those who have waited for long whether they are there.
fn data(client: &mut Client) -> Vec<u8> {
    loop {
        match client.read_frame() {
            (0x89, _) => {}
            (first, payload) => {
                assert_eq!(first, 0x82, "{payload:?}");
                return payload;
            }
        }
    }
}

/// Users who all come at once, each with a token of their own.
const USERS: usize = 2_000;

fn two_thousand_logins_are_no_storm_on_the_database_or_the_broker(engine: &str) {
    raise_descriptors();
    let world = World::new();
    // The compute service in Python answers a few hundred a second.
    let program = world.proxy(engine, BURST.as_secs() / 2);
    let first = world.token(&program);
    world.wait_for_admission(&program);
    // The same row again under other tokens.
    let columns =
        "console_type, host, port, internal_access_path, instance_uuid, expires, access_url_base, created_at";
    let sql = |statement: &str| world.database.command(&format!("sql {statement}"));
    sql(&format!(
        "INSERT INTO console_auth_tokens (token_hash, {columns}) SELECT SHA2(CONCAT('user-', seq), 256), {columns} \
         FROM console_auth_tokens, seq_1_to_{USERS} WHERE token_hash = SHA2('{}', 256)",
        first.text
    ));
    let status = |name: &str| world.database.status(name);
    let compute = world.compute.as_ref().unwrap();
    let asked = |instance: &str| compute.calls(instance).len();
    sql("FLUSH STATUS");
    let (executed, calls) = (status("Com_stmt_execute"), asked(&first.instance));

    let begun = Instant::now();
    let mut clients: Vec<_> = (1..=USERS)
        .map(|user| Client::upgrade(program.address, &format!("/?token=user-{user}"), &[]))
        .collect();
    for client in &mut clients {
        client.stream.set_read_timeout(Some(BURST)).unwrap();
        assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()), "{}", program.log());
    }
    let took = begun.elapsed();
    let (executed, calls) = (status("Com_stmt_execute") - executed, asked(&first.instance) - calls);
    let most = status("Max_used_connections");
    let brokers = broker_connections(&world, &program).len();
    println!(
        "{engine}: {USERS} logins in {took:?}: {executed} queries, {calls} calls to the compute service, at most {most} \
         connections to the database, {brokers} to the broker"
    );
    // A token and its instance in one, and what each new connection asks the catalogue.
    let most_queries = USERS as u64 + Limits::default().database_connections_max;
    assert!(executed <= most_queries, "{executed} queries");
    assert!(calls <= USERS, "{calls} calls");
    // One more is this test's own.
    assert!(most <= Limits::default().database_connections_max + 1, "{most} connections to the database");
    assert_eq!(brokers, 1, "connections to the broker");
    for client in &mut clients {
        client.frame(2, b"all is well");
        assert_eq!(data(client), b"all is well");
    }
    let log = program.log();
    assert!(!log.contains("refused a token") && !log.contains("panicked"), "{log}");
}

/// What Kolla's and TripleO's health checks join: the process by its name, its port, its connection to the broker.
fn probes_see_the_process(world: &World, program: &Program) {
    let pid = program.pid().to_string();
    let pids = said("pgrep", &["-f", "nova-serialproxy"]);
    assert!(pids.lines().any(|line| line == pid), "{pid} is not among {pids:?}");
    let listens = said("ss", &["-Hlntp", &format!("sport = :{}", program.address.port())]);
    assert!(listens.contains(&format!("pid={pid},")), "{listens}");
    assert_ne!(broker_connections(world, program), [] as [String; 0]);
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The program's own, as ss(8) shows them to root.
fn broker_connections(world: &World, program: &Program) -> Vec<String> {
    let all = said("ss", &["-Hntp", &format!("dport = :{}", world.broker.text("/port"))]);
    let mark = format!("pid={},", program.pid());
    all.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect()
}
