//! Many at once: connections that say nothing, tokens that open nothing, and sources that want more than theirs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, TRANSPORTS, Transport, echoes, until_cut_off};
use crate::client::{Client, End, tcp};
use crate::service::Service;

on_both_engines! {
    five_thousand_that_say_nothing_are_let_go,
    five_thousand_dead_tokens_cost_few_queries,
    guesses_cost_little_and_all_look_alike,
    a_source_over_its_limit_is_refused_and_others_are_not,
    a_burst_of_connections_waits_in_the_queue,
    bursts_of_handshakes_are_not_noticed,
}

fn five_thousand_that_say_nothing_are_let_go(engine: &str) {
    const LIMIT: Duration = Duration::from_secs(3);
    for transport in TRANSPORTS {
        let limits = "first_byte_timeout_ms = 3000\ntls_handshake_timeout_ms = 3000\nsessions_max = 6000";
        let arena = Arena::new(engine, "nova-serialproxy", transport, limits);
        let started = Instant::now();
        let mut silent: Vec<TcpStream> = (0..5_000)
            .map(|_| {
                let mut stream = tcp(arena.program.address);
                if transport == Transport::Tls {
                    // The first byte of a hello, and no more.
                    stream.write_all(&[22]).unwrap();
                }
                stream
            })
            .collect();
        let last = Instant::now();
        for stream in &mut silent {
            assert_eq!(until_cut_off(stream).1, 0);
        }
        // Nobody before his time; the first came when all the others were still to come.
        assert!(started.elapsed() + Duration::from_millis(50) >= LIMIT);
        assert!(last.elapsed() < LIMIT + Duration::from_secs(10), "{:?}", last.elapsed());
        drop(silent);
        arena.end(64 << 20);
    }
}

/// The same dead token, which a client retries for ever, and one of each client's own.
fn five_thousand_dead_tokens_cost_few_queries(engine: &str) {
    const CLIENTS: usize = 5_000;
    let server = Service::start("mariadb");
    let url = server.cell_url(&server.text("/host"));
    let limits = "authorize_timeout_ms = 300000\ndatabase_timeout_ms = 300000\ncontrol_queue_max = 10000\n\
                  unknown_token_ms = 60000";
    let mut arena = Arena::on_database(engine, "nova-serialproxy", Transport::Plain, limits, Some(url));
    let queries = || usize::try_from(server.status("Com_stmt_execute")).unwrap();
    // Until the first answer is there each of the four connections may ask, and what the tables are like before that.
    for (dead, most) in [("one", 8), ("their own", CLIENTS + 200)] {
        let (before, begun) = (queries(), Instant::now());
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let number = if dead == "one" { 0 } else { client };
                arena.upgraded(&format!("00000000-0000-4000-8000-{number:012x}"))
            })
            .collect();
        for client in &mut clients {
            client.stream.socket().set_read_timeout(Some(Duration::from_secs(300))).unwrap();
            assert_eq!(client.read_frame(), (0x88, vec![]));
        }
        drop(clients);
        let asked = queries() - before;
        // What is known of a token is forgotten after a minute, which a busy machine may take for this.
        let minutes = 1 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
        assert!(asked <= most * minutes, "{dead}: {asked} queries");
    }
    // Never more connections than it may have, whoever waits; one was there at first.
    arena.sockets += 3;
    let connections = server.status("Max_used_connections");
    assert!(connections <= 4 + 3, "{connections} connections");
    arena.end(64 << 20);
}

fn guesses_cost_little_and_all_look_alike(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "unknown_tokens_max = 100");
        let arena_ref = &arena;
        thread::scope(|scope| {
            for guesser in 0..8 {
                scope.spawn(move || {
                    for guess in 0..50 {
                        let token = format!("{guesser:08x}-0000-4000-8000-{guess:012x}");
                        let mut client = arena_ref.upgraded(&token);
                        let said = client.read_frame();
                        client.frame(8, &[]);
                        assert_eq!((said, until_cut_off(&mut client.stream).1), ((0x88, vec![]), 0));
                    }
                });
            }
        });
        let log = arena.program.log();
        assert!(!log.contains("-0000-4000-8000-"), "a guess is in the log");
        arena.end(16 << 20);
    }
}

fn a_source_over_its_limit_is_refused_and_others_are_not(engine: &str) {
    for transport in TRANSPORTS {
        // The neighbour is from elsewhere only if a proxy in front says so.
        let limits = "consoles_per_source_max = 3\nconsoles_per_instance_max = 100\nexplain_refusals = true";
        let arena = Arena::new(engine, "nova-serialproxy", transport, limits);
        let token = arena.token("serial", echoes(false));
        let open = |arena: &Arena| {
            let mut client = arena.upgraded(&token);
            client.frame(2, b"is anybody there?");
            client
        };
        // The neighbour is the first of three.
        let mut held: Vec<_> = (0..2).map(|_| open(&arena)).collect();
        for client in &mut held {
            assert_eq!(client.read_frame().1, b"is anybody there?");
        }
        for _ in 0..20 {
            let mut client = open(&arena);
            let (opcode, payload) = client.read_frame();
            assert_eq!((opcode, &payload[..2]), (0x88, 1013_u16.to_be_bytes().as_slice()));
        }
        arena.program.wait_for_log("too many consoles are open from this source (consoles_per_source_max)");
        // One leaves, and another may come.
        let mut left = held.pop().unwrap();
        left.frame(8, &[0x03, 0xe8]);
        assert_eq!(left.read_frame().0, 0x88);
        drop(left);
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let mut client = open(&arena);
            if client.read_frame().1 == b"is anybody there?" {
                break;
            }
            assert!(Instant::now() < until, "its place stays taken");
        }
        drop(held);
        arena.end(8 << 20);
    }
}

fn a_burst_of_connections_waits_in_the_queue(engine: &str) {
    for transport in TRANSPORTS {
        let arena =
            Arena::new(engine, "nova-serialproxy", transport, "workers = 1\naccepts_per_second_max = 50");
        let started = Instant::now();
        // A second's worth is taken at once, and two more are to come.
        let clients: Vec<_> = (0..150).map(|_| tcp(arena.program.address)).collect();
        for stream in clients {
            let mut client = Client::over(stream);
            client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 405 "));
            assert_eq!(client.rest(), (vec![], End::Fin));
        }
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(1_500), "{took:?}");
        arena.end(8 << 20);
    }
}

/// Hellos that were made before, so that the proxy alone computes.
fn bursts_of_handshakes_are_not_noticed(engine: &str) {
    let arena = Arena::new(engine, "nova-serialproxy", Transport::Tls, "workers = 1");
    let hello = arena.hello();
    for _ in 0..4 {
        let mut tenants: Vec<TcpStream> = (0..500).map(|_| tcp(arena.program.address)).collect();
        tenants.iter_mut().for_each(|tenant| tenant.write_all(&hello).unwrap());
        for tenant in &mut tenants {
            let mut record = [0];
            tenant.read_exact(&mut record).unwrap();
            assert_eq!(record, [22], "an answer to the hello");
        }
    }
    arena.end(64 << 20);
}
