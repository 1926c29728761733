//! Connections that come and go at every possible moment.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::client::{End, masked, request};
use super::harness::{Proxy, TARGET, echo};

on_both_engines! {
    thousands_of_short_connections_leave_nothing_behind,
    a_slots_next_user_gets_none_of_the_last_ones_bytes,
}

const THREADS: usize = 4;
const CONNECTIONS: usize = 800;

/// Closes with RST instead of FIN.
fn reset(stream: &TcpStream) {
    setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
}

/// How one connection of the storm ends.
fn one(proxy: &Proxy, number: usize) {
    let connect = || TcpStream::connect(proxy.address).unwrap();
    match number % 8 {
        0 => drop(connect()),
        1 => reset(&connect()),
        2 => {
            let mut stream = connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
            reset(&stream);
        }
        3 => {
            // The upgrade, the connect and the first bytes meet the reset somewhere.
            let mut stream = connect();
            let _ = stream.write_all(request(TARGET, &[]).as_bytes());
            if number % 16 == 3 {
                thread::sleep(Duration::from_micros((number % 700) as u64));
            }
            reset(&stream);
        }
        4 => {
            let mut client = proxy.open();
            client.frame(2, &[number.to_le_bytes()[0]; 5_000]);
            reset(&client.stream);
        }
        5 => {
            let mut client = proxy.open();
            client.frame(2, b"half of a frame follows");
            client.send(&masked(0x82, &[0; 500])[..100]);
        }
        _ => {
            let mut client = proxy.open();
            let payload = number.to_le_bytes();
            client.frame(2, &payload);
            assert_eq!(client.read_frame(), (0x82, payload.to_vec()));
            client.frame(8, &[0x03, 0xe8]);
            assert_eq!(client.rest().1, End::Fin);
        }
    }
}

fn thousands_of_short_connections_leave_nothing_behind(engine: &str) {
    // So few slots that each is used hundreds of times.
    let proxy = Proxy::start(engine, echo(), |limits| limits.sessions_max = 16);
    thread::scope(|scope| {
        for start in 0..THREADS {
            let proxy = &proxy;
            scope.spawn(move || (0..CONNECTIONS).for_each(|number| one(proxy, number + start)));
        }
    });
    proxy.wait_for_rest();
    one(&proxy, 7);
}

fn a_slots_next_user_gets_none_of_the_last_ones_bytes(engine: &str) {
    let proxy = Proxy::start(engine, echo(), |limits| limits.sessions_max = 1);
    for round in 0..200_u8 {
        // Bytes are on their way in both directions when the connection is reset, and the slot is taken at once.
        let mut last = proxy.open();
        last.frame(2, &[0xee; 60_000]);
        reset(&last.stream);
        drop(last);
        let mut client = proxy.open();
        client.frame(2, &[round; 3]);
        assert_eq!(client.read_frame(), (0x82, vec![round; 3]));
    }
}
