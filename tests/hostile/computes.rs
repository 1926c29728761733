//! Hypervisors full of strangers' guests: slow, endless, or not there at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};

use crate::arena::{Arena, TRANSPORTS, assert_cut_off_at, consoles, until_cut_off};
use crate::compute;

on_both_engines! {
    a_slow_handshake_is_cut_off_on_either_side,
    a_reason_of_four_gibibytes_is_not_kept,
    a_hypervisor_that_never_accepts_costs_a_bounded_wait,
    a_hypervisor_that_never_reads_is_cut_off,
}

const LIMIT: Duration = Duration::from_millis(800);

fn a_slow_handshake_is_cut_off_on_either_side(engine: &str) {
    for transport in TRANSPORTS {
        let limits = "compute_security_timeout_ms = 800\ntenant_step_timeout_ms = 800";
        let arena = Arena::new(engine, "nova-novncproxy", transport, limits);
        // The hypervisor says a byte now and then.
        let slow = consoles(|mut stream| {
            for byte in b"RFB 003.008\n" {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        let mut client = arena.upgraded(&arena.token("novnc", slow));
        let started = Instant::now();
        // No version came, so there are no words of RFB's to tell it in.
        assert_eq!(client.read_frame(), (0x88, vec![0x03, 0xe8]));
        assert_cut_off_at(started.elapsed(), LIMIT);
        drop(client);
        // The tenant does.
        let quick = consoles(|mut stream| {
            stream.write_all(b"RFB 003.008\n").unwrap();
            if stream.read_exact(&mut [0; 12]).is_ok() {
                let _ = stream.write_all(&[1, 1]);
                let _ = stream.read(&mut [0]);
            }
        });
        let mut client = arena.upgraded(&arena.token("novnc", quick));
        assert_eq!(client.read_frame().1, b"RFB 003.008\n");
        let started = Instant::now();
        client.frame(2, b"RFB");
        arena.assert_rests();
        until_cut_off(&mut client.stream);
        assert_cut_off_at(started.elapsed(), LIMIT);
        arena.end(8 << 20);
    }
}

fn a_reason_of_four_gibibytes_is_not_kept(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-novncproxy", transport, "close_timeout_ms = 300");
        let port = consoles(|mut stream| {
            stream.write_all(b"RFB 003.008\n").unwrap();
            if stream.read_exact(&mut [0; 12]).is_err() {
                return;
            }
            // No security types, but a reason.
            let mut reason = vec![0, 0xff, 0xff, 0xff, 0xff];
            reason.resize(1 << 20, b'!');
            while stream.write_all(&reason).is_ok() {}
        });
        let token = arena.token("novnc", port);
        for _ in 0..10 {
            let mut client = arena.upgraded(&token);
            client.frame(2, b"RFB 003.008\n");
            let (_, read) = until_cut_off(&mut client.stream);
            assert!(read < 65_536, "the tenant was sent {read} bytes");
        }
        arena.end(8 << 20);
    }
}

/// A listener whose queue is full: the kernel answers nobody.
fn never_accepts() -> (u16, Vec<TcpStream>, std::os::fd::OwnedFd) {
    let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
    }
    (address.port(), queued, listener.into())
}

fn a_hypervisor_that_never_accepts_costs_a_bounded_wait(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-novncproxy", transport, "connect_timeout_ms = 800");
        let (port, _queued, _listener) = never_accepts();
        let token = arena.token("novnc", port);
        let started = Instant::now();
        let mut clients: Vec<_> = (0..20).map(|_| arena.upgraded(&token)).collect();
        arena.assert_rests();
        for client in &mut clients {
            assert_eq!(client.read_frame(), (0x88, vec![]));
        }
        assert_cut_off_at(started.elapsed(), LIMIT);
        assert!(arena.program.log().contains("timed out"), "{}", arena.program.log());
        drop(clients);
        arena.end(8 << 20);
    }
}

/// A console that takes nothing of what is typed.
fn a_hypervisor_that_never_reads_is_cut_off(engine: &str) {
    for transport in TRANSPORTS {
        let arena = Arena::new(engine, "nova-novncproxy", transport, "stall_timeout_ms = 800");
        let port = consoles(|mut stream| {
            compute::rfb_handshake(&mut stream);
            thread::sleep(Duration::from_secs(60));
        });
        let mut client = arena.upgraded(&arena.token("novnc", port));
        client.rfb_handshake();
        let timeout = Some(Duration::from_secs(20));
        client.stream.socket().set_write_timeout(timeout).unwrap();
        let typed = crate::client::masked(0x82, &[7; 60_000]);
        let started = Instant::now();
        while client.stream.write_all(&typed).is_ok() {
            assert!(started.elapsed() < Duration::from_secs(30), "nobody stops it");
        }
        arena.program.wait_for_log("the compute node took nothing for too long");
        drop(client);
        arena.end(8 << 20);
    }
}
