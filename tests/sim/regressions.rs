//! What schedules have found in sessions, by hand and to the point.

use std::io;
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleType};
use consolegate::proto::Side;
use consolegate::proto::bytes::Chunk;
use consolegate::session::{Admitted, CloseReason, Failure, Input, Outbox, Output, Session, Settings};

/// A session and what it has asked for.
struct Driven {
    session: Session,
    settings: Settings,
    out: Outbox,
    now: Instant,
}

impl Driven {
    fn new(console_type: ConsoleType) -> Self {
        let settings = Settings::for_console(console_type);
        let mut session = Session::new(1, ([203, 0, 113, 9], 40_000).into());
        let (mut out, now) = (Outbox::new(), Instant::now());
        session.start(now, 0, &settings, &mut out);
        out.drain();
        Self { session, settings, out, now }
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(self.now, 0, &self.settings, input, &mut self.out);
        self.out.drain().collect()
    }

    fn received(&mut self, from: Side, bytes: &[u8]) -> Vec<Output> {
        self.handle(Input::Received { from, chunk: Chunk::copied_from(bytes) })
    }

    /// Up to a connected compute node.
    fn connect(&mut self) -> Vec<Output> {
        self.received(
            Side::Tenant,
            b"GET /?token=t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        );
        self.handle(Input::Written { to: Side::Tenant });
        self.handle(Input::Authorized(Admitted::boxed(ConnectInfo {
            console_type: self.settings.console_type,
            host: "compute".to_owned(),
            port: Some(5900),
            tls_port: None,
            internal_access_path: None,
            instance_uuid: String::new(),
            expires: 0,
            access_url_base: None,
        })));
        self.handle(Input::Resolved(vec![([192, 0, 2, 1], 5900).into()]));
        self.handle(Input::Connected)
    }
}

fn closes(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close(_)))
}

#[test]
fn a_slow_browser_does_not_use_up_the_compute_nodes_time() {
    let mut driven = Driven::new(ConsoleType::NoVnc);
    driven.connect();
    driven.received(Side::Compute, b"RFB 003.008\n");
    driven.handle(Input::Written { to: Side::Compute });
    driven.handle(Input::Written { to: Side::Tenant });
    driven.received(Side::Compute, &[1, 1]);
    driven.now += Duration::from_secs(12);
    driven.received(Side::Tenant, b"\x82\x8c\0\0\0\0RFB 003.008\n");
    driven.handle(Input::Written { to: Side::Tenant });
    let outputs = driven.received(Side::Tenant, b"\x82\x81\0\0\0\0\x01");
    let Some(Output::Wait(Some(deadline))) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!(*deadline - driven.now, Duration::from_secs(10), "the result may take its own time");
}

#[test]
fn the_compute_node_is_read_out_before_its_socket_closes() {
    let mut driven = Driven::new(ConsoleType::Serial);
    driven.connect();
    let outputs = driven.handle(Input::Ended { from: Side::Tenant });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::ShutdownWrite(Side::Compute))),
        "{outputs:?}"
    );
    assert!(!closes(&outputs), "unread input would make the kernel reset the connection");
    let outputs = driven.received(Side::Compute, b"echo");
    assert!(matches!(outputs[..], [Output::Read(Side::Compute), Output::Wait(_)]), "{outputs:?}");
    assert!(closes(&driven.handle(Input::Ended { from: Side::Compute })));
}

#[test]
fn a_compute_node_that_does_not_end_is_not_waited_for_long() {
    let mut driven = Driven::new(ConsoleType::Serial);
    driven.connect();
    driven.handle(Input::Ended { from: Side::Tenant });
    driven.now += Duration::from_millis(driven.settings.limits.flush_timeout_ms);
    let outputs = driven.handle(Input::Deadline);
    assert!(
        matches!(outputs[..], [Output::Close(CloseReason::TenantEnded), Output::Wait(None)]),
        "{outputs:?}"
    );
}

#[test]
fn a_web_connection_that_broke_is_let_go_at_once() {
    let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut driven = Driven::new(ConsoleType::NoVnc);
    let failure = Failure::Read { from: Side::Tenant, source: broken() };
    assert!(closes(&driven.handle(Input::Failed(failure))));

    let mut driven = Driven::new(ConsoleType::NoVnc);
    driven.received(Side::Tenant, b"GET /vnc.html HTTP/1.1\r\nHost: h\r\n\r\n");
    driven.handle(Input::File(consolegate::session::FileEvent::Directory));
    let failure = Failure::Write { to: Side::Tenant, source: broken() };
    assert!(closes(&driven.handle(Input::Failed(failure))));
}
