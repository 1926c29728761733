//! A session at rest in its relay owns no heap: what it allocated on the way there, and while it relayed,
//! has been freed.
//!
//! The allocator below counts for each thread: the test harness's own allocates while the test runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::session::{Admitted, Input, Outbox, Output, Session, Settings};

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn live_bytes() -> isize {
    LIVE_BYTES.get()
}

fn count(bytes: isize) {
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

struct Counting;

fn signed(len: usize) -> isize {
    isize::try_from(len).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to `System` unchanged, which keeps the contract; counting touches no memory of
// the allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the pointer came from `alloc` above with this layout, so from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A session and the worker's part in it, which is kept out of the count.
struct Driven {
    session: Session,
    settings: Settings,
    now: Instant,
    outbox: Outbox,
    writing: [bool; 2],
}

impl Driven {
    fn new(console_type: ConsoleType) -> Self {
        let mut driven = Self {
            session: Session::new(1, SocketAddr::from(([192, 0, 2, 7], 40_000))),
            settings: Settings::for_console(console_type),
            now: Instant::now(),
            outbox: Outbox::new(),
            writing: [false; 2],
        };
        driven.session.start(driven.now, 0, &driven.settings, &mut driven.outbox);
        driven.carry_out();
        driven
    }

    /// Drops outputs, as an engine does when they are done.
    fn carry_out(&mut self) {
        for output in self.outbox.drain() {
            assert!(!matches!(output, Output::Close(_)), "{output:?}");
            if let Output::Write { to, .. } = output {
                self.writing[usize::from(to == Side::Compute)] = true;
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.session.handle(self.now, 0, &self.settings, input, &mut self.outbox);
        self.carry_out();
        for (index, side) in [Side::Tenant, Side::Compute].into_iter().enumerate() {
            while std::mem::take(&mut self.writing[index]) {
                self.session.handle(
                    self.now,
                    0,
                    &self.settings,
                    Input::Written { to: side },
                    &mut self.outbox,
                );
                self.carry_out();
            }
        }
    }

    fn receive(&mut self, from: Side, bytes: &[u8]) {
        self.input(Input::Received { from, chunk: Chunk::copied_from(bytes) });
    }

    fn sleep_and_expire(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Deadline);
    }

    /// From the request head into the relay.
    fn connect(&mut self) {
        self.receive(
            Side::Tenant,
            b"GET /?token=ab5a1e5e HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              Sec-WebSocket-Version: 13\r\n\r\n",
        );
        self.input(Input::Authorized(Admitted::boxed(ConnectInfo {
            console_type: self.settings.console_type,
            host: "compute-1.example".to_owned(),
            port: Some(5900),
            tls_port: None,
            internal_access_path: Some("/console?ref=1".to_owned()),
            instance_uuid: "2f4d3a55-0000-4000-8000-000000000001".to_owned(),
            expires: 0,
            access_url_base: Some("http://h/vnc_auto.html".to_owned()),
        })));
        self.input(Input::Resolved(vec![SocketAddr::from(([198, 51, 100, 1], 5900))]));
        self.input(Input::Connected);
        self.receive(Side::Compute, b"HTTP/1.1 200 OK\r\n\r\n");
        if self.settings.console_type == ConsoleType::NoVnc {
            self.receive(Side::Compute, b"RFB 003.008\n\x01\x01");
            self.receive(Side::Tenant, &masked(0x82, b"RFB 003.008\n"));
            self.receive(Side::Tenant, &masked(0x82, b"\x01"));
            self.receive(Side::Compute, b"\0\0\0\0server init");
        }
        assert_eq!(self.session.phase_name(), "relaying");
    }

    /// Traffic both ways, at once and one after the other, frames in pieces, and pings both ways.
    fn relay(&mut self) {
        for len in [1_u8, 125] {
            self.receive(Side::Compute, &vec![0xa5; usize::from(len)]);
            self.receive(Side::Tenant, &masked(0x82, &vec![0xa5; usize::from(len)]));
        }
        for byte in masked(0x89, b"in pieces") {
            self.receive(Side::Tenant, &[byte]);
        }
        for byte in [masked(0x02, b"ab"), masked(0x80, b"")].concat() {
            self.receive(Side::Tenant, &[byte]);
        }
        let pings: Vec<u8> = (0..40).flat_map(|number| masked(0x89, &[number])).collect();
        self.receive(Side::Tenant, &pings);
        self.sleep_and_expire(Duration::from_secs(25));
        self.receive(Side::Tenant, &masked(0x8a, b""));
    }
}

fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let len = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    assert!(len < 126, "short frames only");
    let mut frame = vec![first_byte, 0x80 | len];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[test]
fn a_session_at_rest_in_its_relay_owns_no_heap() {
    for console_type in [ConsoleType::NoVnc, ConsoleType::SpiceHtml5, ConsoleType::Serial] {
        // What a process allocates once, and the outbox's room, are not the session's.
        let mut first = Driven::new(console_type);
        first.connect();
        first.relay();

        let mut driven = Driven { outbox: first.outbox, ..Driven::new(console_type) };
        let begun = live_bytes();
        driven.connect();
        let connected = live_bytes();
        assert!(connected < begun, "{console_type}: the request's phase is still on the heap");
        for round in 0..3 {
            driven.relay();
            let rested = live_bytes();
            assert_eq!(rested - connected, 0, "{console_type}: bytes held after round {round}");
        }
        drop(driven.session);
        let dropped = live_bytes();
        assert_eq!(connected - dropped, 0, "{console_type}: bytes that the relay held all along");
    }
}
