//! The admin listener as operators' tools see it: curl asks, and the Prometheus client of Python reads.
//!
//! Needs curl, RabbitMQ and the Python package prometheus_client (`CONSOLEGATE_TEST_PYTHON`, else
//! `target/test-python/bin/python`), which `scripts/install` installs. Fails without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "proxy/client.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod client;
#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod service;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use consolegate::telemetry::metrics::ROWS;
use program::{Options, Program};
use service::Service;

/// Prints each family's name, type and unit, and each sample's name, with the parser that Prometheus' own
/// client has for OpenMetrics: it is strict about names, order, suffixes and the end.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print('family', family.name, family.type, family.unit)
    for sample in family.samples:
        print('sample', sample.name)
";

fn start() -> Program {
    let own = "port_check = off\nadmin_socket = admin.sock";
    let program = Program::start(&Options { own, ..Options::on("auto") });
    wait_for_life(&program);
    program
}

/// Waits until every worker answers: the listeners are there before the workers are.
fn wait_for_life(program: &Program) {
    program.wait_for_log("Admin listener on ");
    wait_for(program, "/livez", "\"status\":\"alive\"");
}

/// What curl prints: the body, and the status on a line of its own.
fn curl(program: &Program, path: &str, arguments: &[&str]) -> (String, u16) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(["--write-out", "\n%{http_code}", "--unix-socket"])
        .arg(program.directory.join("admin.sock"))
        .args(arguments)
        .arg(format!("http://localhost{path}"))
        .output()
        .expect("curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), status.parse().unwrap())
}

#[test]
fn prometheus_own_parser_reads_every_metric() {
    let program = start();
    let (text, status) = curl(&program, "/metrics", &[]);
    assert_eq!(status, 200);
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python"),
        PathBuf::from,
    );
    let mut parser = Command::new(python)
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python");
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).unwrap();
    let families = read.lines().filter(|line| line.starts_with("family ")).count();
    assert_eq!(families, ROWS.len(), "{read}");
    for row in ROWS {
        let name = row.full_name();
        let samples = [format!("sample {name}"), format!("sample {name}_count")];
        assert!(read.lines().any(|line| samples.contains(&line.to_owned())), "{name} is not in\n{read}");
    }
}

#[test]
fn curl_is_answered_on_every_path() {
    let program = start();
    program.token("novnc", 1, 600);
    for (path, arguments, status, part) in [
        ("/healthcheck", &[][..], 200, "OK"),
        (
            "/healthcheck",
            &["--header", "Accept: application/json"],
            200,
            "{\"detailed\":false,\"reasons\":[\"OK\"]}",
        ),
        ("/healthcheck", &["--head"], 204, "204 No Content"),
        ("/livez", &[], 200, "\"status\":\"alive\""),
        ("/readyz", &[], 200, "\"status\":\"ready\""),
        ("/metrics", &["--head"], 200, "application/openmetrics-text"),
        ("/sessions", &[], 200, "\"sessions\":[]"),
        ("/sessions/7", &["--request", "DELETE"], 404, "no such session"),
        ("/drain", &["--request", "POST"], 200, "\"draining\":true"),
        ("/readyz", &[], 503, "\"status\":\"not ready\""),
        ("/undrain", &["--request", "POST"], 200, "\"draining\":false"),
        ("/readyz", &[], 200, "\"status\":\"ready\""),
    ] {
        let (body, got) = curl(&program, path, arguments);
        assert_eq!(got, status, "{path} {arguments:?}: {body}");
        assert!(body.contains(part), "{path} {arguments:?}: {body}");
    }
}

/// Waits until `path` says `part`.
fn wait_for(program: &Program, path: &str, part: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (body, _) = curl(program, path, &[]);
        if body.contains(part) {
            return;
        }
        assert!(Instant::now() < until, "{part} is not in {body}:\n{}", program.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wait_for_readiness(program: &Program, part: &str) {
    wait_for(program, "/readyz", part);
}

#[test]
fn a_message_bus_that_is_gone_degrades_and_its_calls_are_counted() {
    let broker = Service::start("rabbitmq");
    let default = format!("web =\ntransport_url = {}\nrpc_response_timeout = 10", broker.text("/url"));
    let own = "admin_socket = admin.sock\nreadiness_age_ms = 100";
    let program = Program::start(&Options { default: &default, own, ..Options::on("auto") });
    let token = program.token("novnc", 1, 600);
    wait_for_life(&program);
    wait_for_readiness(&program, "\"status\":\"ready\"");
    assert!(curl(&program, "/readyz", &[]).0.contains("\"message_bus\":{"));
    // Nobody answers for this instance's host: the call fails, and the connection stays.
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.rest().0, [0x88, 0]);
    let (metrics, _) = curl(&program, "/metrics", &[]);
    for line in [
        "consolegate_rpc_call_seconds_count{result=\"failed\"} 1\n",
        "consolegate_broker_connected 1\n",
        "consolegate_token_lookup_seconds_count{result=\"accepted\"} 1\n",
        "consolegate_rejected_total{reason=\"port_check\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    broker.command("kill");
    wait_for_readiness(&program, "\"status\":\"degraded\"");
    let (metrics, _) = curl(&program, "/metrics", &[]);
    assert!(metrics.contains("consolegate_broker_connected 0\n"), "{metrics}");
    assert_eq!(curl(&program, "/livez", &[]).1, 200);
    broker.command("start");
    wait_for_readiness(&program, "\"status\":\"ready\"");
    assert!(!program.log().contains(&broker.text("/password")));
}
