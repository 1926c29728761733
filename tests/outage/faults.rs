//! One fault after the other, in the same process.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::peers::{Peer, wait_until};
use crate::program::Program;
use crate::world::{Fate, HOST, Live, World, fate, open, send};

/// What a look-up may take, and a call, in seconds.
const BOUND: u64 = 4;

/// Look-up and call together, and what a machine that is busy with other tests adds.
const BOUND_OF_A_SESSION: Duration = Duration::from_secs(2 * BOUND + 8);

on_both_engines! {
    nobody_is_there_at_first,
    each_fault_costs_new_sessions_a_bounded_wait_and_open_ones_nothing,
}

const DATABASE_REFUSES: &str =
    "could not connect to the database: error communicating with database: Connection refused";

/// What goes wrong, and what the log then says: of each line's ways to say it, one.
struct Fault {
    name: &'static str,
    harm: fn(&mut World),
    mend: fn(&mut World),
    causes: &'static [&'static [&'static str]],
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "the database stops",
        harm: |world| drop(world.database.command("stop")),
        mend: |world| drop(world.database.command("start")),
        causes: &[&[DATABASE_REFUSES]],
    },
    Fault {
        name: "the database crashes",
        harm: |world| drop(world.database.command("kill")),
        mend: |world| drop(world.database.command("start")),
        causes: &[&[DATABASE_REFUSES]],
    },
    Fault {
        name: "the database goes silent",
        harm: |world| drop(world.database.command("pause")),
        mend: |world| drop(world.database.command("resume")),
        causes: &[&[
            "the database did not answer a query within ",
            "could not connect to the database: no answer within ",
        ]],
    },
    Fault {
        name: "the broker stops",
        harm: |world| drop(world.broker.command("stop")),
        mend: |world| drop(world.broker.command("start")),
        causes: &[
            // A broker that is stopped may be gone before its farewell is read.
            &[
                "ended the connection: 320 CONNECTION_FORCED",
                "ended the connection: Connection reset by peer",
            ],
            &["validate_console_port on host1 failed: the message bus could not be reached: "],
            // The other host, which is never there, refuses too.
            &["127.0.0.1:BROKER: Connection refused"],
        ],
    },
    Fault {
        name: "the broker goes silent",
        harm: |world| drop(world.broker.command("pause")),
        mend: |world| drop(world.broker.command("resume")),
        causes: &[&[
            "validate_console_port on host1 failed: the broker did not take the request in time",
            "validate_console_port on host1 failed: timed out waiting for a reply from compute.host1",
        ]],
    },
    Fault {
        name: "the compute service ends",
        harm: |world| drop(world.compute.take()),
        mend: |world| world.compute = Some(Peer::nova(&world.broker, HOST, &[])),
        causes: &[&[
            "validate_console_port on host1 failed: timed out waiting for a reply from compute.host1",
        ]],
    },
];

/// Waits until what was logged from `start` on says all of `causes`. `BROKER` stands for its port.
fn wait_for_causes(world: &World, program: &Program, start: usize, fault: &str, causes: &[&[&str]]) {
    let port = world.broker.text("/port");
    for ways in causes {
        let ways: Vec<String> = ways.iter().map(|way| way.replace("BROKER", &port)).collect();
        wait_until(&format!("{fault}: {ways:?} in the log"), || {
            ways.iter().any(|way| program.log()[start..].contains(way))
        });
    }
}

fn each_fault_costs_new_sessions_a_bounded_wait_and_open_ones_nothing(engine: &str) {
    let mut world = World::new();
    let program = world.proxy(engine, BOUND);
    world.wait_for_admission(&program);
    let live = Live::open(&program, &world.token(&program).text);
    for Fault { name, harm, mend, causes } in FAULTS {
        let token = world.token(&program).text;
        let start = program.log().len();
        harm(&mut world);
        let (fate, took) = open(&program, &token);
        assert_eq!(fate, Fate::Refused, "{name}");
        assert!(took < BOUND_OF_A_SESSION, "{name}: {took:?}");
        wait_for_causes(&world, &program, start, name, causes);
        live.assert_goes_on(name);
        mend(&mut world);
        world.wait_for_admission(&program);
        live.assert_goes_on(name);
    }
    late_and_lost_replies(&world, &program);
    database_dies_in_mid_query(&world, &program);
    live.assert_goes_on("the database dies in mid-query");
    broker_dies_in_mid_call(&world, &program);
    live.close();
    let log = program.log();
    // The first host of `transport_url`, whichever that was for us, is met at the latest when the other is away.
    let dead = format!("AMQP server on 127.0.0.1:{} is unreachable: Connection refused", world.dead_port);
    assert!(log.contains(&dead), "{log}");
    assert!(!log.contains("pa55-wort") && !log.contains(&world.database.text("/password")), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// A reply that comes when nobody waits for it any more.
fn late_and_lost_replies(world: &World, program: &Program) {
    let compute = world.compute.as_ref().unwrap();
    let start = program.log().len();
    let late = world.token(program);
    compute.answers(&late.instance, &json!(["delay", BOUND + 2]));
    let (fate, took) = open(program, &late.text);
    assert_eq!(fate, Fate::Refused);
    assert!(took >= Duration::from_secs(BOUND - 1) && took < BOUND_OF_A_SESSION, "{took:?}");
    let causes: &[&[&str]] =
        &[&["timed out waiting for a reply from compute.host1"], &["No calling threads waiting for msg_id"]];
    wait_for_causes(world, program, start, "a late reply", causes);
    same_request_id(&program.log()[start..], "refused a token: ", "handler exception: ");
    compute.answers(&late.instance, &json!(["true"]));
    assert_eq!(open(program, &late.text).0, Fate::Admitted, "the same token, later");
}

/// Both lines are of one session, and say so.
fn same_request_id(log: &str, one: &str, other: &str) {
    let id = |text: &str| {
        let line =
            log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {log}"));
        line.split_once(" req-")
            .unwrap_or_else(|| panic!("{line}"))
            .1
            .split_once([' ', ']'])
            .unwrap()
            .0
            .to_owned()
    };
    assert_eq!(id(one), id(other), "{log}");
}

/// The query has been sent, and is never answered.
fn database_dies_in_mid_query(world: &World, program: &Program) {
    let token = world.token(program).text;
    // The connection that the look-up takes is known to be good.
    world.wait_for_admission(program);
    let start = program.log().len();
    world.database.command("pause");
    let asked = Instant::now();
    let waiting = send(program, &token);
    // A query takes longer than this only if it hangs, which is what is wanted.
    thread::sleep(Duration::from_millis(500));
    world.database.command("kill");
    assert_eq!(fate(waiting), Fate::Refused);
    assert!(asked.elapsed() < BOUND_OF_A_SESSION, "{:?}", asked.elapsed());
    wait_for_causes(world, program, start, "in mid-query", &[&["SQL connection failed: "]]);
    world.database.command("start");
    world.wait_for_admission(program);
}

/// The request has been taken, and its answer has nobody to come from.
fn broker_dies_in_mid_call(world: &World, program: &Program) {
    let token = world.token(program);
    let compute = world.compute.as_ref().unwrap();
    compute.answers(&token.instance, &json!(["delay", BOUND + 2]));
    let start = program.log().len();
    let asked = Instant::now();
    let waiting = send(program, &token.text);
    wait_until("the compute service is asked", || !compute.calls(&token.instance).is_empty());
    world.broker.command("kill");
    assert_eq!(fate(waiting), Fate::Refused);
    assert!(asked.elapsed() < BOUND_OF_A_SESSION, "{:?}", asked.elapsed());
    let causes: &[&[&str]] = &[&["ended the connection: "], &["validate_console_port on host1 failed: "]];
    wait_for_causes(world, program, start, "in mid-call", causes);
    world.broker.command("start");
    world.wait_for_admission(program);
}

fn nobody_is_there_at_first(engine: &str) {
    let world = World::new();
    world.database.command("stop");
    world.broker.command("stop");
    let program = world.proxy(engine, BOUND);
    let refused = |token: &str, causes: &[&[&str]]| {
        let start = program.log().len();
        let (fate, took) = open(&program, token);
        assert_eq!(fate, Fate::Refused);
        assert!(took < BOUND_OF_A_SESSION, "{took:?}");
        wait_for_causes(&world, &program, start, "at first", causes);
    };
    refused("any", &[&[DATABASE_REFUSES]]);
    world.database.command("start");
    let token = world.token(&program).text;
    wait_until("the database is found", || {
        refused(&token, &[]);
        program.log().contains("the message bus could not be reached: ")
    });
    world.broker.command("start");
    world.wait_for_admission(&program);
    let port = world.broker.text("/port");
    for cause in [
        format!("AMQP server on 127.0.0.1:{} is unreachable: Connection refused", world.dead_port),
        format!("AMQP server on 127.0.0.1:{port} is unreachable: Connection refused"),
        "SQL connection failed: ".to_owned(),
    ] {
        assert!(program.log().contains(&cause), "{cause}:\n{}", program.log());
    }
}
