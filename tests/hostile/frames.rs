//! Tenants whose console is open: floods, broken frames, output that nobody reads, an end that never comes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::arena::{Arena, TRANSPORTS, assert_cut_off_at, consoles, echoes, until_cut_off};
use crate::client::masked;

on_both_engines! {
    a_flood_of_pings_is_bounded_and_leaves_the_neighbour_alone,
    output_that_nobody_reads_is_bounded_and_cut_off,
    a_frame_of_two_to_the_63rd_is_relayed_as_it_comes,
    a_million_empty_fragments_end_the_session,
    frames_without_a_mask_end_the_session,
    a_client_that_never_closes_is_cut_off,
}

fn a_flood_of_pings_is_bounded_and_leaves_the_neighbour_alone(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "");
        let token = arena.token("serial", echoes(false));
        let floods: Vec<_> = (0..4)
            .map(|_| {
                let mut client = arena.upgraded(&token);
                let timeout = Some(Duration::from_secs(2));
                client.stream.socket().set_write_timeout(timeout).unwrap();
                thread::spawn(move || {
                    let pings = masked(0x89, &[7; 125]).repeat(500);
                    let started = Instant::now();
                    // Nobody reads the pongs; sooner or later the proxy takes no more pings.
                    while started.elapsed() < Duration::from_secs(2)
                        && client.stream.write_all(&pings).is_ok()
                    {}
                })
            })
            .collect();
        for flood in floods {
            flood.join().unwrap();
        }
        arena.end(24 << 20);
    }
}

/// A hypervisor that streams, and browsers that have stopped.
fn output_that_nobody_reads_is_bounded_and_cut_off(engine: &str) {
    const TENANTS: usize = 50;
    const LIMIT: Duration = Duration::from_secs(2);
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "stall_timeout_ms = 2000");
        let port = consoles(|mut stream| {
            let bytes = vec![7; 65_536];
            while stream.write_all(&bytes).is_ok() {}
        });
        let token = arena.token("serial", port);
        let tenants: Vec<_> = (0..TENANTS)
            .map(|_| {
                let client = arena.upgraded(&token);
                setsockopt(client.stream.socket(), sockopt::RcvBuf, &16_384).unwrap();
                client
            })
            .collect();
        let started = Instant::now();
        for _ in 0..TENANTS {
            arena.program.wait_for_log("the tenant took nothing for too long");
        }
        let told = || arena.program.log().matches("the tenant took nothing for too long").count();
        while told() < TENANTS {
            assert!(started.elapsed() < LIMIT + Duration::from_secs(30), "{} of {TENANTS}", told());
            thread::sleep(Duration::from_millis(50));
        }
        drop(tenants);
        // At most two buffers for each, and as many under TLS again.
        arena.end(TENANTS as u64 * 4 * 65_536 + (8 << 20));
    }
}

fn a_frame_of_two_to_the_63rd_is_relayed_as_it_comes(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "");
        let token = arena.token("serial", echoes(false));
        let mut client = arena.upgraded(&token);
        let mut head = vec![0x82, 0x80 | 127];
        head.extend((u64::MAX >> 1).to_be_bytes());
        head.extend([0; 4]);
        client.send(&head);
        let piece: Vec<u8> = (0..=255).cycle().take(16_384).collect();
        for _ in 0..200 {
            client.send(&piece);
            let mut heard = Vec::new();
            while heard.len() < piece.len() {
                heard.extend(client.read_frame().1);
            }
            assert!(heard == piece);
        }
        drop(client);
        arena.end(8 << 20);
    }
}

fn a_million_empty_fragments_end_the_session(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "close_timeout_ms = 500");
        let token = arena.token("serial", echoes(false));
        let mut client = arena.upgraded(&token);
        client.send(&masked(0x02, b"first"));
        let fragments = masked(0x00, b"").repeat(10_000);
        let sent = (0..100).take_while(|_| client.stream.write_all(&fragments).is_ok()).count();
        assert!(sent < 100, "all of them were taken");
        arena.program.wait_for_log("tenant sent more than 1000 empty data frames in a row");
        drop(client);
        arena.end(8 << 20);
    }
}

fn frames_without_a_mask_end_the_session(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-serialproxy", transport, "");
        let token = arena.token("serial", echoes(false));
        for _ in 0..20 {
            let mut client = arena.upgraded(&token);
            client.send(&[0x82, 5, b'h', b'e', b'l', b'l', b'o']);
            assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xea]), "protocol error");
            client.frame(8, &[0x03, 0xea]);
            assert_eq!(until_cut_off(&mut client.stream).1, 0);
        }
        arena.end(8 << 20);
    }
}

/// The console has ended, and the tenant goes on talking.
fn a_client_that_never_closes_is_cut_off(engine: &str) {
    const LIMIT: Duration = Duration::from_secs(1);
    for transport in TRANSPORTS {
        let limits = "close_timeout_ms = 1000\nclose_drain_bytes = 16777216";
        let arena = Arena::new(engine, "nova-serialproxy", transport, limits);
        let port = consoles(|stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = (&stream).read(&mut [0]);
        });
        let token = arena.token("serial", port);
        let mut client = arena.upgraded(&token);
        assert_eq!(client.read_frame().0, 0x88);
        let started = Instant::now();
        let talk = masked(0x82, b"still here");
        while client.stream.write_all(&talk).is_ok() {
            assert!(started.elapsed() < LIMIT + Duration::from_secs(10), "nobody cuts it off");
            thread::sleep(Duration::from_millis(10));
        }
        assert_cut_off_at(started.elapsed(), LIMIT);
        drop(client);
        arena.end(8 << 20);
    }
}
