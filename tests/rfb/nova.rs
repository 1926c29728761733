//! The same scripts that Nova's own RFB security proxy was run with, both roles at once.

use std::collections::BTreeMap;

use consolegate::proto::Side;
use consolegate::proto::rfb::{AuthScheme, Negotiation, Progress};
use serde_json::Value;

use crate::vectors::{array, bytes, read, string};

const VERSION: &str = "524642203030332e3030380a";
/// `00000001`, length 44, "Only the security type 1 (NONE) is supported".
const ONLY_NONE: &str = "000000010000002c4f6e6c79207468652073656375726974792074797065203120284e4f4e452920697320737570706f72746564";

/// A case in which we do otherwise, and why.
struct Difference {
    to_tenant: &'static [&'static str],
    to_compute: &'static str,
    end: &'static str,
    why: &'static str,
}

fn differences() -> BTreeMap<&'static str, Difference> {
    BTreeMap::from([
        (
            "ok none, client pipelines ClientInit with its choice",
            Difference {
                to_tenant: &[VERSION, "0101"],
                to_compute: "524642203030332e3030380a01",
                end: "waiting",
                why: "Nova sends early bytes back to the tenant; here they wait for the compute node",
            },
        ),
        (
            "server 3.889",
            Difference {
                to_tenant: &[VERSION],
                to_compute: VERSION,
                end: "waiting",
                why: "a server that offers more than 3.8 can be asked for 3.8",
            },
        ),
        (
            "server 003.080 (parsed as a float it is 3.8)",
            Difference { to_tenant: &[], to_compute: "", end: "version", why: "versions are two integers" },
        ),
        (
            "client chooses a type >= 0x80",
            Difference {
                to_tenant: &[VERSION, "0101", ONLY_NONE],
                to_compute: "524642203030332e3030380a00",
                end: "type-not-offered",
                why: "Nova fails to encode the byte and drops the connection; it is a choice like any other",
            },
        ),
        (
            "server offers an unknown type 13 and None",
            Difference {
                to_tenant: &[VERSION, "0101"],
                to_compute: "524642203030332e3030380a01",
                end: "waiting",
                why: "Nova fails to log the unknown number and drops the connection; it is passed over",
            },
        ),
        (
            "both offered, list none,vencrypt; server order 19,1",
            Difference {
                to_tenant: &[VERSION, "0101"],
                to_compute: "524642203030332e3030380a01",
                end: "waiting",
                why: "the operator's order decides, not the server's",
            },
        ),
        (
            "vencrypt unknown subtype in the list",
            Difference {
                to_tenant: &[VERSION, "0101"],
                to_compute: "524642203030332e3030380a13000200000104",
                end: "tls",
                why: "Nova fails to log the unknown number and drops the connection; it is passed over",
            },
        ),
    ])
}

#[test]
fn both_sides_get_novas_bytes_but_for_the_listed_differences() {
    let mut differences = differences();
    for case in array(&read("nova-security-proxy.json"), "cases") {
        let name = string(case, "name");
        let (ours, end) = replay(case);
        let nova = Sent::by_nova(case);
        let Some(listed) = differences.remove(name) else {
            assert_eq!(ours, nova, "{name}");
            // Nova was given no certificates, so that it ended where TLS begins.
            let goes_on = string(case, "end").starts_with("ok") || name == "vencrypt ack 2";
            assert_eq!(matches!(end, "waiting" | "tls"), goes_on, "{name}");
            continue;
        };
        let expected = Sent {
            to_tenant: listed.to_tenant.iter().map(|hex| bytes(hex)).collect(),
            to_compute: bytes(listed.to_compute),
        };
        let why = listed.why;
        assert_eq!((&ours, end), (&expected, listed.end), "{name}: {why}");
        assert!(ours != nova, "{name}: no difference to list");
    }
    assert_eq!(differences.into_keys().collect::<Vec<_>>(), [""; 0], "no such case");
}

#[derive(Debug, PartialEq, Eq)]
struct Sent {
    to_tenant: Vec<Vec<u8>>,
    to_compute: Vec<u8>,
}

impl Sent {
    /// What Nova sent, without the empty frames that mark the end of its handshake.
    fn by_nova(case: &Value) -> Self {
        let frames = array(case, "to_client").iter().filter_map(Value::as_array).flatten();
        let frames = frames.map(|hex| bytes(hex.as_str().unwrap()));
        Self {
            to_tenant: frames.filter(|frame| !frame.is_empty()).collect(),
            to_compute: bytes(string(case, "to_server")),
        }
    }
}

/// What Nova's `[vnc] auth_schemes` was for the case; the capture tells it in the name.
fn schemes(name: &str) -> &'static [AuthScheme] {
    if name.starts_with("vencrypt") || name.ends_with("scheme vencrypt only") {
        &[AuthScheme::VeNCrypt]
    } else if name.contains("list none,vencrypt") {
        &[AuthScheme::None, AuthScheme::VeNCrypt]
    } else {
        &[AuthScheme::None]
    }
}

/// Plays both scripts. A compute node that has nothing to say at all closes the connection.
fn replay(case: &Value) -> (Sent, &'static str) {
    let mut negotiation = Negotiation::new(schemes(string(case, "name")));
    let compute = bytes(string(case, "server_sends"));
    let tenant = array(case, "client_sends").iter().map(|hex| (Side::Tenant, bytes(hex.as_str().unwrap())));
    let mut out = Vec::new();
    let mut end = "waiting";
    for (side, bytes) in [(Side::Compute, compute.clone())].into_iter().chain(tenant) {
        match negotiation.receive(side, &bytes, &mut out) {
            Ok(Progress::Continue) => {}
            Ok(Progress::StartTls(early)) => {
                assert!(early.is_empty(), "no script holds TLS");
                end = "tls";
            }
            Ok(Progress::Established(_)) => panic!("no script holds a result"),
            Err(error) => {
                end = error.kind();
                break;
            }
        }
    }
    if compute.is_empty() {
        end = negotiation.ended(Side::Compute, &mut out).unwrap_err().kind();
    }
    let sent =
        |side| out.iter().filter(move |sent| sent.to == side).map(|sent| sent.message.as_bytes().to_vec());
    (
        Sent { to_tenant: sent(Side::Tenant).collect(), to_compute: sent(Side::Compute).flatten().collect() },
        end,
    )
}
