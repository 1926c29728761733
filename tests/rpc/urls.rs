//! Transport URLs through oslo.messaging's own parser and ours.

use std::io::Write;
use std::process::{Command, Stdio};

use consolegate::control::rpc::transport_url::{PORT_DEFAULT, TransportUrl};
use serde_json::{Map, Value, json};

use crate::peers::python;

/// Pieces that are put together in every way.
const CREDENTIALS: [&str; 9] =
    ["", "user@", "user:pass@", "us@er:pa:ss@", ":pass@", "u%40%2F:p%3A%25+@", "u:@", "%zz:%4@", "ü:%C3%BC@"];
const HOSTS: [&str; 8] =
    ["host", "host:5671", "HOST:", "192.0.2.1:1", "[2001:db8::1]", "[::1]:5673", "h-1.x_y", "h:99999"];
const RESTS: [&str; 14] = [
    "",
    "/",
    "//",
    "/v",
    "/%2F",
    "/%2Fv",
    "//v",
    "/a/b",
    "/v?ssl=1",
    "?ssl=1&ssl=2",
    "/v?a=x+y%26z&b=&c",
    "/v#part?x=1",
    "/v%20w+x",
    "/v;p=1?a=b;c=d",
];

/// In oslo.messaging's terms.
fn ours(url: &str) -> Value {
    let Ok(parsed) = TransportUrl::parse(url) else { return Value::Null };
    let hosts: Vec<Value> = parsed
        .hosts
        .iter()
        .map(|host| {
            let password = std::str::from_utf8(host.password.expose()).unwrap();
            json!([host.name, host.port, host.user, password])
        })
        .collect();
    let query: Map<String, Value> =
        parsed.query.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    json!([hosts, parsed.vhost.unwrap_or_default(), query])
}

/// What its driver makes of what its parser leaves out.
fn with_defaults(mut theirs: Value) -> Value {
    if theirs.is_null() {
        return theirs;
    }
    for host in theirs[0].as_array_mut().unwrap() {
        let port = host[1].as_u64().unwrap_or_else(|| u64::from(PORT_DEFAULT));
        let name = host[0].as_str().unwrap().to_owned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *host = json!([name, port, text(&host[2]), text(&host[3])]);
    }
    if theirs[1].is_null() {
        theirs[1] = json!("");
    }
    theirs
}

#[test]
fn every_url_is_read_as_oslo_messaging_reads_it() {
    let mut urls: Vec<String> =
        ["host/v", "://h/", "rabbit://", "rabbit:///v", "rabbit://,,/", "rabbit://[::1/"]
            .map(str::to_owned)
            .to_vec();
    for (index, credentials) in CREDENTIALS.iter().enumerate() {
        for (offset, host) in HOSTS.iter().enumerate() {
            for rest in RESTS {
                urls.push(format!("rabbit://{credentials}{host}{rest}"));
            }
            let other = CREDENTIALS[(index + offset) % CREDENTIALS.len()];
            let second = HOSTS[(offset + 3) % HOSTS.len()];
            urls.push(format!("kombu://{credentials}{host},{other}{second},/v?a=1"));
        }
    }
    let mut oracle = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpc/urls.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(oracle.stdin.take().unwrap(), "{}", json!(urls)).unwrap();
    let output = oracle.wait_with_output().unwrap();
    let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), urls.len());
    let mut differences = Vec::new();
    for (url, theirs) in urls.iter().zip(theirs) {
        let (ours, theirs) = (ours(url), with_defaults(theirs));
        // A port that no socket has is refused by us at start, and by the kernel later.
        if ours != theirs && !(ours.is_null() && url.contains(":99999")) {
            differences.push(format!("{url}: {ours}, theirs {theirs}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
