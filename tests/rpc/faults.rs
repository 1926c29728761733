//! The whole program when the bus or a compute fails: what a session costs, what the log says, and that all is
//! well afterwards without a restart. Sessions that are open already never notice.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::client::Client;
use crate::peers::{Log, Peer, ask, broker, run, settings, uuid, wait_until, with_client};
use crate::program::{Options, Program};
use crate::service::Service;

/// Generous: machines that run tests are busy.
const BUSY: Duration = Duration::from_secs(90);

fn proxy(url: &str, default: &str, rabbit: &str) -> Program {
    proxy_on("epoll", url, default, rabbit)
}

fn proxy_on(engine: &str, url: &str, default: &str, rabbit: &str) -> Program {
    let default = format!("web =\ntransport_url = {url}\n{default}");
    let extra = format!("[oslo_messaging_rabbit]\n{rabbit}");
    Program::start(&Options {
        name: "nova-serialproxy",
        default: &default,
        own: "admin_socket = admin.sock",
        extra: &extra,
        ..Options::on(engine)
    })
}

/// A session, up to its first frame.
struct Session {
    client: Client,
    first: (u8, Vec<u8>),
    took: Duration,
    /// The compute node's end, when it was connected
    console: Option<TcpStream>,
}

impl Session {
    /// Opens a serial console of `uuid` on `host`, whose console greets.
    fn open(program: &Program, host: &str, uuid: &str) -> Self {
        let console = TcpListener::bind("127.0.0.1:0").unwrap();
        console.set_nonblocking(true).unwrap();
        let port = console.local_addr().unwrap().port().to_string();
        let url = program.token_tool(&[
            "create",
            "--type",
            "serial",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--instance",
            uuid,
            "--instance-host",
            host,
            "--init",
            "--base-url",
            &format!("ws://{}/", program.address),
        ]);
        let started = Instant::now();
        let mut client =
            Client::upgrade(program.address, &format!("/?token={}", &url[url.len() - 36..]), &[]);
        client.stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        // Greets as soon as there is somebody, until the session's fate is known.
        let decided = AtomicBool::new(false);
        let (first, console) = thread::scope(|scope| {
            let greeter = scope.spawn(|| {
                while !decided.load(Ordering::Relaxed) {
                    if let Ok((mut stream, _)) = console.accept() {
                        stream.set_nonblocking(false).unwrap();
                        stream.write_all(b"hello").unwrap();
                        return Some(stream);
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                None
            });
            let first = client.read_frame();
            decided.store(true, Ordering::Relaxed);
            (first, greeter.join().unwrap())
        });
        Self { client, first, took: started.elapsed(), console }
    }

    fn is_admitted(&self) -> bool {
        match self.first.0 {
            0x82 => {
                assert_eq!(self.first.1, b"hello");
                true
            }
            0x88 => {
                assert_eq!(self.first.1, b"", "an empty Close frame");
                assert!(self.console.is_none(), "the console was contacted");
                false
            }
            first => panic!("{first:#x} {:?}", self.first.1),
        }
    }

    /// Whether bytes still go both ways.
    fn echoes(&mut self) -> bool {
        let console = self.console.as_mut().unwrap();
        self.client.frame(2, b"ping");
        let mut bytes = [0; 4];
        console.read_exact(&mut bytes).unwrap();
        console.write_all(b"pong").unwrap();
        let mut heard = self.client.read_frame();
        // One that has been quiet for long enough is asked whether it is there.
        while heard.0 == 0x89 {
            heard = self.client.read_frame();
        }
        bytes == *b"ping" && heard == (0x82, b"pong".to_vec())
    }
}

/// Opens sessions until one is admitted.
fn wait_for_admission(program: &Program, host: &str) -> Session {
    let mut admitted = None;
    wait_until("a session is admitted", || {
        let session = Session::open(program, host, &uuid());
        let is_admitted = session.is_admitted();
        admitted = Some(session);
        is_admitted
    });
    admitted.unwrap()
}

/// The value of a metric.
fn metric(program: &Program, name: &str) -> f64 {
    let mut stream = UnixStream::connect(program.directory.join("admin.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

on_both_engines! {
    each_answer_of_a_compute_has_its_own_line,
    the_end_of_the_process_deletes_its_reply_queue,
}

fn each_answer_of_a_compute_has_its_own_line(engine: &str) {
    let peer = Peer::shared();
    let program = proxy_on(engine, &broker().text("/url"), "rpc_response_timeout = 4", "");
    let (yes, no, raises, late) = (uuid(), uuid(), uuid(), uuid());
    peer.answers(&no, &json!(["false"]));
    peer.answers(&raises, &json!(["raise", "ConsoleTypeUnavailable"]));
    peer.answers(&late, &json!(["delay", 7]));
    assert!(Session::open(&program, &peer.host, &yes).is_admitted());

    let refused = Session::open(&program, &peer.host, &no);
    assert!(!refused.is_admitted() && refused.took < BUSY);
    program.wait_for_log("nova-compute on host1 says that port");

    assert!(!Session::open(&program, &peer.host, &raises).is_admitted());
    program.wait_for_log("validate_console_port on host1 failed: nova.exception.ConsoleTypeUnavailable: ");

    let refused = Session::open(&program, &peer.host, &late);
    assert!(!refused.is_admitted());
    assert!(refused.took >= Duration::from_secs(3) && refused.took < BUSY, "{:?}", refused.took);
    program.wait_for_log(
        "validate_console_port on host1 failed: timed out waiting for a reply from compute.host1",
    );
    program.wait_for_log("No calling threads waiting for msg_id");

    let refused = Session::open(&program, "nohost", &uuid());
    assert!(!refused.is_admitted() && refused.took < Duration::from_secs(4), "{:?}", refused.took);
    program.wait_for_log("validate_console_port on nohost failed: the broker has no queue compute.nohost");

    assert!(Session::open(&program, &peer.host, &yes).is_admitted());
    let log = program.log();
    let line = log.lines().find(|line| line.contains("says that port")).unwrap();
    assert!(line.contains(" WARNING "), "{line}");
    for line in log.lines().filter(|line| line.contains("validate_console_port on")) {
        assert!(line.contains(" ERROR "), "{line}");
    }
    assert!(!log.contains("pa55-wort"), "{log}");
    assert!(metric(&program, "consolegate_broker_connected") > 0.5);
    for (result, count) in [("accepted", 2.0), ("refused", 1.0), ("failed", 3.0)] {
        let name = format!("consolegate_rpc_call_seconds_count{{result=\"{result}\"}}");
        assert!((metric(&program, &name) - count).abs() < 0.1, "{name}");
    }
}

fn the_end_of_the_process_deletes_its_reply_queue(engine: &str) {
    let queues =
        || broker().command("ctl list_queues -p nova name consumers arguments").as_str().unwrap().to_owned();
    // A time to live that no other test's queue has.
    let ttl = if engine == "epoll" { 4_321 } else { 4_322 };
    let rabbit = format!("rabbit_transient_queues_ttl = {ttl}");
    let mut program = proxy_on(engine, &broker().text("/url"), "", &rabbit);
    assert!(Session::open(&program, &Peer::shared().host, &uuid()).is_admitted());
    let ours = format!("{ttl}000");
    assert!(queues().contains(&ours));
    assert_eq!(program.end(Signal::SIGTERM), 0);
    assert!(!queues().contains(&ours), "{}", queues());
}

#[test]
fn connections_that_are_lost_leave_nothing_behind_and_one_at_rest_does_nothing() {
    let rabbit = "kombu_reconnect_delay = 0\nheartbeat_timeout_threshold = 0";
    let program = proxy(&broker().text("/url"), "", rabbit);
    let host = &Peer::shared().host;
    assert!(Session::open(&program, host, &uuid()).is_admitted());
    let sockets = program.sockets();
    let name = format!("nova-serialproxy:{}:", program.pid());
    for lost in 1..=4 {
        let listed = broker().command("ctl list_connections pid client_properties");
        let line = listed.as_str().unwrap().lines().find(|line| line.contains(&name)).unwrap().to_owned();
        let pid = line.split('\t').next().unwrap();
        broker().command(&format!("ctl close_connection '{pid}' 'by a test'"));
        wait_until("it is made again", || {
            program.log().matches("Reconnected to AMQP server").count() == lost
        });
        assert!(Session::open(&program, host, &uuid()).is_admitted());
    }
    assert!(program.log().contains("ended the connection: 320 CONNECTION_FORCED"), "{}", program.log());
    wait_until("the threads of lost connections end", || program.threads("lapin").len() == 1);
    wait_until("their sockets are closed", || program.sockets() <= sockets);
    // Without heartbeats nothing is to be done at all: not a tenth of the time, in ticks of 10 ms.
    let before = cpu_ticks(program.pid());
    thread::sleep(Duration::from_secs(3));
    let ticks = cpu_ticks(program.pid()) - before;
    assert!(ticks < 30, "{ticks} ticks of 10 ms in 3 s");
}

/// Time that a process has had, in ticks of 10 ms: fields 14 and 15 of proc_pid_stat(5).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn an_instance_without_a_host_sends_nothing() {
    // No broker there: a request would show.
    let program = proxy("rabbit://u:p@127.0.0.1:1/", "rpc_response_timeout = 60", "");
    let token = program.token("serial", 1, 600);
    run(async {
        let database = format!("sqlite://{}", program.directory.join("cell.sqlite").display());
        let mut connection = SqliteConnection::connect(&database).await.unwrap();
        // Being built, or shelved.
        sqlx::query("UPDATE instances SET host = NULL").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x88, Vec::new()));
    program.wait_for_log("Unable to find host for Instance");
    assert!(!program.log().contains("AMQP server"), "{}", program.log());
}

#[test]
fn a_broker_that_is_down_at_first_costs_a_bounded_wait_and_is_found_later() {
    let broker = Service::start("rabbitmq");
    broker.command("stop");
    let program = proxy(&broker.text("/url"), "rpc_response_timeout = 3", "rabbit_interval_max = 1");
    assert!(!program.log().contains("AMQP server"), "nothing is contacted before the first token");
    let refused = Session::open(&program, "host1", &uuid());
    assert!(!refused.is_admitted());
    assert!(refused.took >= Duration::from_secs(2) && refused.took < BUSY, "{:?}", refused.took);
    let port = broker.text("/port");
    program.wait_for_log(&format!("AMQP server on 127.0.0.1:{port} is unreachable: Connection refused"));
    program.wait_for_log(
        "validate_console_port on host1 failed: the message bus could not be reached: 127.0.0.1:",
    );
    broker.command("start");
    let _peer = Peer::nova(&broker, "host1", &[]);
    let mut session = wait_for_admission(&program, "host1");
    assert!(session.echoes());
    assert!(!program.log().contains("pa55-wort"), "{}", program.log());
}

#[test]
fn a_broker_restarted_in_mid_call_delays_the_answer_and_nothing_else() {
    let broker = Service::start("rabbitmq");
    let peer = Peer::nova(&broker, "host1", &[]);
    let program = proxy(&broker.text("/url"), "rpc_response_timeout = 200", "");
    let mut live = wait_for_admission(&program, "host1");
    let asked = uuid();
    peer.answers(&asked, &json!(["delay", 5]));
    thread::scope(|scope| {
        let session = scope.spawn(|| Session::open(&program, "host1", &asked));
        wait_until("the compute works on it", || !peer.calls(&asked).is_empty());
        broker.command("stop");
        program.wait_for_log("ended the connection: ");
        assert!(live.echoes());
        broker.command("start");
        let session = session.join().unwrap();
        assert!(session.is_admitted(), "{}", program.log());
        assert!(session.took >= Duration::from_secs(5));
    });
    let log = program.log();
    assert!(log.contains("Reconnected to AMQP server") && !log.contains("lapin"), "{log}");
    assert!(live.echoes());
    // A compute may need longer than we to come back: its queue is waited for.
    assert!(Session::open(&program, "host1", &uuid()).is_admitted(), "{}", program.log());
}

#[test]
fn a_silent_broker_is_noticed_by_heartbeats_and_the_request_is_published_again() {
    let broker = Service::start("rabbitmq");
    let peer = Peer::nova(&broker, "host1", &[]);
    let rabbit = "heartbeat_timeout_threshold = 2\nkombu_reconnect_delay = 0.1";
    let settings = settings(&broker.text("/url"), "rpc_response_timeout = 200", rabbit, "");
    let ((), log) = Log::of(|| {
        with_client(settings, async |client| {
            assert!(ask(client, &peer.host, &uuid(), 60).await.unwrap());
            broker.command("pause");
            let asked = uuid();
            let call = ask(client, &peer.host, &asked, 180);
            // Twice the heartbeat, and some; the broker comes back when we have given it up.
            let resume = async {
                tokio::time::sleep(Duration::from_secs(8)).await;
                broker.command("resume");
            };
            let (answer, ()) = tokio::join!(call, resume);
            assert!(answer.unwrap());
            // Published on both connections; the compute looked at it once.
            assert_eq!(peer.calls(&asked).len(), 1);
        });
    });
    assert!(log.contains("the broker sent nothing for two heartbeats"), "{log}");
    assert!(log.contains("Reconnected to AMQP server"), "{log}");
}

#[test]
fn a_broker_that_takes_nothing_costs_the_time_limit_and_says_why() {
    let broker = Service::start("rabbitmq");
    let peer = Peer::nova(&broker, "host1", &[]);
    let settings = settings(&broker.text("/url"), "", "", "");
    let ((), log) = Log::of(|| {
        with_client(settings, async |client| {
            assert!(ask(client, &peer.host, &uuid(), 60).await.unwrap());
            broker.command("alarm");
            // The first learns it from the broker, the second does not even try.
            for _ in 0..2 {
                let failed = ask(client, &peer.host, &uuid(), 5).await.unwrap_err().to_string();
                assert!(failed.contains("did not take the request in time: it is blocked"), "{failed}");
            }
            broker.command("unalarm");
            assert!(ask(client, &peer.host, &uuid(), 60).await.unwrap());
        });
    });
    assert!(log.contains("WARN Connection blocked: ") && log.contains("Connection unblocked"), "{log}");
}
