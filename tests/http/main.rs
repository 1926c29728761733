//! The HTTP machines as a whole: captured vectors, tables and properties. What concerns one file alone
//! is tested beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may say what they expect")]

mod accept;
mod head;
#[path = "../../fuzz/invariants/http.rs"]
mod invariants;
mod origin;
mod properties;
mod secrecy;
mod token;
mod upgrade;

use consolegate::proto::http::{HeadLimits, HeadParser, Request, RequestError};

fn try_parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
    HeadParser::new().parse(bytes, &HeadLimits::default())
}

/// Parses a head that is complete and good.
fn parse(bytes: &[u8]) -> Request {
    try_parse(bytes).expect("the head is good").expect("the head is complete").0
}

/// A good request for `target` with these further header lines, each ended by CR LF.
fn get(target: &str, headers: &str) -> Request {
    parse(format!("GET {target} HTTP/1.1\r\nHost: h:6080\r\n{headers}\r\n").as_bytes())
}

/// The cases of a vector file: the array `cases` of a JSON object.
fn cases(json: &str) -> Vec<serde_json::Value> {
    let file: serde_json::Value = serde_json::from_str(json).expect("the vector file is JSON");
    file["cases"].as_array().expect("the vector file has cases").clone()
}
