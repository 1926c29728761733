//! The admin listener of the real program: probes, metrics, and the list of sessions.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::client::Client;
use super::compute;
use super::pki::Authority;
use super::program::{INSTANCE, Options, Program, directory, free_port};

on_both_engines! {
    counters_move_under_a_live_session,
    sessions_are_listed_and_ended,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer: status, the head's lines, the body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn start(engine: &str, own: &str) -> Program {
    let own = format!("port_check = off\nadmin_socket = admin.sock\n{own}");
    let program = Program::start(&Options { name: "nova-serialproxy", own: &own, ..Options::on(engine) });
    wait_until_live(&program);
    program
}

fn ask_with(program: &Program, line: &str, headers: &str) -> Answer {
    let path = program.directory.join("admin.sock");
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}:\n{}", program.log()),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, &request(line, headers))
}

fn ask(program: &Program, line: &str) -> Answer {
    ask_with(program, line, "")
}

/// Waits for the workers: the program listens a moment before they are there.
fn wait_until_live(program: &Program) {
    let until = Instant::now() + PATIENCE;
    while ask(program, "GET /livez").status != 200 {
        assert!(Instant::now() < until, "{}", program.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The status of `GET /readyz` of such a program.
pub(crate) fn readiness(program: &Program) -> u16 {
    ask(program, "GET /readyz").status
}

/// The metrics of a program whose socket is `admin.sock`.
pub(crate) fn metrics(program: &Program) -> String {
    ask(program, "GET /metrics").body
}

/// The samples of a counter that are not 0, less its name.
pub(crate) fn counted(program: &Program, name: &str) -> Vec<String> {
    let name = format!("consolegate_{name}_total");
    let metrics = metrics(program);
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(&name));
    samples.filter(|sample| !sample.ends_with(" 0")).map(str::to_owned).collect()
}

/// The value of one sample.
fn sample(program: &Program, name: &str) -> f64 {
    let text = ask(program, "GET /metrics").body;
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(key, _)| key == name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn wait_for(program: &Program, name: &str, wanted: f64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let value = sample(program, name);
        if (value - wanted).abs() < 1e-9 {
            return;
        }
        assert!(
            Instant::now() < until,
            "{name} is {value}, not {wanted}\n{}",
            ask(program, "GET /metrics").body
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn counters_move_under_a_live_session(engine: &str) {
    let program = start(engine, "");
    assert!(
        ask(&program, "GET /metrics")
            .body
            .contains(&format!("consolegate_engine_info{{engine=\"{engine}\"}} 1\n"))
    );
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(b"login:").unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x82, b"login:".to_vec()));
    client.frame(2, b"root\n");
    wait_for(&program, "consolegate_relayed_bytes_total{from=\"tenant\",path=\"copy\"}", 5.0);
    wait_for(&program, "consolegate_relayed_bytes_total{from=\"compute\",path=\"copy\"}", 6.0);
    wait_for(&program, "consolegate_sessions_active", 1.0);
    wait_for(&program, "consolegate_connections_current", 1.0);
    wait_for(&program, "consolegate_token_lookup_seconds_count{result=\"accepted\"}", 1.0);
    wait_for(&program, "consolegate_backend_connect_seconds_count", 1.0);
    wait_for(&program, "consolegate_handshake_seconds_count{phase=\"authorizing\"}", 1.0);
    client.frame(8, &[0x03, 0xe8]);
    let _ = client.rest();
    compute.join().unwrap();
    wait_for(&program, "consolegate_sessions_total{console_type=\"serial\",reason=\"tenant_closed\"}", 1.0);
    wait_for(&program, "consolegate_sessions_active", 0.0);
    wait_for(&program, "consolegate_connections_current", 0.0);
    wait_for(&program, "consolegate_session_duration_seconds_count", 1.0);
    let mut refused = Client::upgrade(program.address, "/?token=unknown", &[]);
    let _ = refused.rest();
    wait_for(&program, "consolegate_rejected_total{reason=\"token\"}", 1.0);
    wait_for(&program, "consolegate_sessions_total{console_type=\"serial\",reason=\"refused\"}", 1.0);
    // Bulk is seen while it lasts, and on the path that it took.
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(&vec![0x55; 4_000_000]).unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("serial", port, 601);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    let mut len = 0;
    while len < 4_000_000 {
        len += client.read_frame().1.len();
    }
    let copied = "consolegate_relayed_bytes_total{from=\"compute\",path=\"copy\"}";
    let spliced = "consolegate_relayed_bytes_total{from=\"compute\",path=\"splice\"}";
    let until = Instant::now() + PATIENCE;
    while (sample(&program, copied) + sample(&program, spliced) - 4_000_006.0).abs() > 0.5 {
        assert!(Instant::now() < until, "{}", ask(&program, "GET /metrics").body);
    }
    drop(client);
    compute.join().unwrap();
    assert!(!ask(&program, "GET /metrics").body.contains(&token));
}

fn sessions_are_listed_and_ended(engine: &str) {
    let program = start(engine, "admin_page_max = 2");
    let mut consoles: Vec<_> = (0..3)
        .map(|console| {
            let (port, compute) = compute::serve(|mut stream| {
                stream.write_all(b"login:").unwrap();
                compute::read_all(&mut stream)
            });
            let token = program.token("serial", port, 600 + console);
            let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
            assert_eq!(client.read_frame(), (0x82, b"login:".to_vec()));
            (client, compute, token)
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    while sample(&program, "consolegate_sessions_active") < 3.0 {
        assert!(Instant::now() < until);
    }
    let first = ask(&program, "GET /sessions");
    let rows = first.json()["sessions"].as_array().unwrap().clone();
    assert_eq!((first.status, rows.len()), (200, 2), "{}", first.body);
    let after = first.json()["next"].as_u64().unwrap();
    let second = ask(&program, &format!("GET /sessions?after={after}"));
    assert_eq!(second.json()["sessions"].as_array().unwrap().len(), 1, "{}", second.body);
    assert_eq!(second.json()["next"], Value::Null);
    let row = &rows[0];
    assert_eq!((row["instance"].as_str(), row["console_type"].as_str()), (Some(INSTANCE), Some("serial")));
    assert_eq!((row["bytes_from_client"].as_u64(), row["bytes_from_target"].as_u64()), (Some(0), Some(6)));
    assert!(row["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    for (_, _, token) in &consoles {
        assert!(!first.body.contains(token) && !second.body.contains(token));
    }
    assert_eq!(ask(&program, "DELETE /sessions/999999").status, 404);
    assert_eq!(ask(&program, "DELETE /sessions").status, 400);
    let (mut client, compute, _) = consoles.remove(0);
    let ended = ask(&program, &format!("DELETE /sessions/{}", row["id"]));
    assert_eq!(ended.json()["ended"], 1, "{}", ended.body);
    assert_eq!(client.read_frame(), (0x88, [&[0x03, 0xe8], b"Closed by the operator".as_slice()].concat()));
    assert_eq!(compute.join().unwrap(), b"");
    let all = ask(&program, &format!("DELETE /sessions?instance={INSTANCE}"));
    assert_eq!(all.json()["ended"], 2, "{}", all.body);
    for (mut client, compute, _) in consoles {
        assert_eq!(client.read_frame().0, 0x88);
        assert_eq!(compute.join().unwrap(), b"");
    }
}

#[test]
fn the_socket_is_for_operators_and_gone_when_the_program_is() {
    let mut program = start("auto", "");
    let path = program.directory.join("admin.sock");
    assert_eq!(ask(&program, "GET /livez").status, 200);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(program.end(Signal::SIGTERM), 0);
    assert!(!path.exists());
}

#[test]
fn probes_are_answered_as_oslo_middleware_does_it() {
    let program = start("auto", "healthcheck_disable_file = out-of-service");
    let answer = ask(&program, "GET /healthcheck");
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    assert_eq!(ask(&program, "HEAD /healthcheck").status, 204);
    let json = ask_with(&program, "GET /healthcheck", "Accept: application/json\r\n");
    assert_eq!(json.json(), serde_json::json!({ "detailed": false, "reasons": ["OK"] }));
    fs::write(program.directory.join("out-of-service"), "").unwrap();
    let disabled = ask(&program, "GET /healthcheck");
    assert_eq!((disabled.status, disabled.body.as_str()), (503, "DISABLED BY FILE"));
    assert_eq!(ask(&program, "GET /readyz").status, 503);
    assert_eq!(ask(&program, "GET /livez").status, 200, "alive all the same");
}

#[test]
fn readiness_knows_the_certificate() {
    let folder = directory();
    let authority = Authority::new(folder.clone());
    let started = |file: &str, strict: bool| {
        let path = |what: &str| authority.file(&format!("{file}-{what}")).display().to_string();
        let default = format!("web =\ncert = {}\nkey = {}", path("cert"), path("key"));
        let own = format!("port_check = off\nadmin_socket = admin.sock\nstrict_readiness = {strict}");
        let program = Program::start(&Options { default: &default, own: &own, ..Options::on("auto") });
        wait_until_live(&program);
        program.token("novnc", 1, 600);
        let ready = ask(&program, "GET /readyz");
        let check = ready.json()["checks"]["certificate"].clone();
        (ready.status, ready.json()["status"].clone(), check["ok"].clone(), check["detail"].clone())
    };
    authority.server(&["localhost"]);
    assert_eq!(
        started("server", true),
        (200, json!("ready"), json!(true), json!("good until 4000-12-31T00:00:00Z"))
    );
    authority.expired_server();
    let expired = json!("expired at 2002-12-31T00:00:00Z");
    assert_eq!(started("server", false), (200, json!("degraded"), json!(false), expired.clone()));
    assert_eq!(started("server", true), (503, json!("not ready"), json!(false), expired));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn readiness_tells_what_is_wrong_and_when_that_counts() {
    let program = start("auto", "");
    program.token("serial", 1, 600);
    let ready = ask(&program, "GET /readyz");
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")), "{}", ready.body);
    assert_eq!(ready.json()["checks"]["database"]["ok"], true);
    assert_eq!(ask(&program, "POST /drain").status, 200);
    let draining = ask(&program, "GET /readyz");
    assert_eq!((draining.status, draining.json()["status"].as_str()), (503, Some("not ready")));
    assert!(sample(&program, "consolegate_draining") > 0.5);
    assert_eq!(ask(&program, "POST /undrain").status, 200);
    assert_eq!(ask(&program, "GET /readyz").status, 200);

    // Without a database: degraded, and not ready where the operator is strict.
    for (own, status, word) in [("", 200, "degraded"), ("strict_readiness = true", 503, "not ready")] {
        let own = format!("port_check = off\nadmin_socket = admin.sock\n{own}");
        let extra = "[database]\nconnection = sqlite:////no/such/directory/cell.sqlite";
        let program = Program::start(&Options { own: &own, extra, ..Options::on("auto") });
        wait_until_live(&program);
        let ready = ask(&program, "GET /readyz");
        assert_eq!((ready.status, ready.json()["status"].as_str()), (status, Some(word)), "{}", ready.body);
        assert_eq!(ready.json()["checks"]["database"]["ok"], false);
    }

    // Without a message bus the same; a program that does not ask it does not look either.
    assert!(ready.json()["checks"]["message_bus"].is_null(), "{}", ready.body);
    let default = "web =\ntransport_url = rabbit://nova:pa55@127.0.0.1:1/";
    let program =
        Program::start(&Options { own: "admin_socket = admin.sock", default, ..Options::on("auto") });
    program.token("serial", 1, 600);
    wait_until_live(&program);
    let ready = ask(&program, "GET /readyz");
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")), "{}", ready.body);
    let detail = ready.json()["checks"]["message_bus"]["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("127.0.0.1:1: Connection refused"), "{detail}");
}

#[test]
fn what_is_not_served_is_told_apart() {
    let program = start("auto", "");
    for (line, status) in [
        ("GET /", 404),
        ("GET /sessionsx", 404),
        ("POST /metrics", 405),
        ("GET /drain", 405),
        ("GET /sessions?after=x", 400),
        ("DELETE /sessions/x", 404),
        ("HEAD /metrics", 200),
    ] {
        let answer = ask(&program, line);
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
    }
    let refused = ask(&program, "PUT /sessions");
    assert!(refused.head.contains("\r\nAllow: GET, DELETE"), "{}", refused.head);
    assert_eq!(ask(&program, "HEAD /nothing").body, "", "HEAD never has a body");
    let with_body = ask_with(&program, "POST /undrain", "Content-Length: 70000\r\n");
    assert_eq!(with_body.status, 200, "a body that nobody wants does not break the answer");
    let answer = ask(&program, "GET /metrics");
    assert!(answer.head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.body.ends_with("# EOF\n"));
    // A peer that never finishes, and one that sends nonsense, keep nobody else waiting.
    let path = program.directory.join("admin.sock");
    let mut slow: Vec<_> = (0..10).map(|_| UnixStream::connect(&path).unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET /met").unwrap());
    let nonsense = exchange(UnixStream::connect(&path).unwrap(), "\u{1}\u{2}\r\n\r\n");
    assert_eq!(nonsense.status, 400);
    assert_eq!(ask(&program, "GET /livez").status, 200);
}

#[test]
fn an_address_gives_probes_and_metrics_only() {
    let port = free_port();
    let program = start("auto", &format!("admin_listen = 127.0.0.1:{port}"));
    program.wait_for_log("Admin listener on 127.0.0.1");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let ask = |line: &str| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, &request(line, "")).status
    };
    for (line, status) in [
        ("GET /metrics", 200),
        ("GET /readyz", 200),
        ("GET /livez", 200),
        ("GET /sessions", 403),
        ("DELETE /sessions?instance=x", 403),
        ("POST /drain", 403),
    ] {
        assert_eq!(ask(line), status, "{line}");
    }
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let mut first = start("auto", "");
    assert_eq!(ask(&first, "GET /livez").status, 200);
    let path = first.directory.join("admin.sock");
    let own = format!("port_check = off\nadmin_socket = {}", path.display());
    let second = Program::start(&Options { own: &own, ..Options::on("auto") });
    second.wait_for_log("another process listens there");
    assert_eq!(ask(&first, "GET /livez").status, 200);
    // It is killed, and its file stays.
    first.end(Signal::SIGKILL);
    assert!(UnixStream::connect(&path).is_err() && path.exists());
    let third = Program::start(&Options { own: &own, ..Options::on("auto") });
    third.wait_for_log("Admin listener on ");
    let stream = UnixStream::connect(&path).unwrap();
    stream.shutdown(Shutdown::Read).unwrap();
    drop(third);
}
