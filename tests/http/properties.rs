//! The invariants of `fuzz/invariants/http.rs` on input that is likely to reach deep.

use proptest::prelude::*;

use crate::invariants;

/// Pieces of requests, good and bad; their concatenations are the input.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET /x?token=1 HTTP/1.0\r\n",
    "HEAD /a/b HTTP/1.1\r\n",
    "GET //h/%2F.. HTTP/1.1\r\n",
    "GET /\\h HTTP/1.1\r\n",
    "GET http://h/x?y HTTP/1.2\r\n",
    "GET ws://h HTTP/1.1\r\n",
    "POST * HTTP/1.1\r\n",
    "GET ",
    "/",
    "/a?b=c",
    "#",
    " HTTP/1.1",
    " HTTP/2.0",
    "Host: h\r\n",
    "Host: [::1]:80\r\n",
    "Host: a b\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c, WebSocket\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Version: 12\r\n",
    "Sec-WebSocket-Protocol: base64, binary\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Cookie: token=\"a\\101\"; x\r\n",
    "Origin: http://h\r\n",
    "X-A:\t \r\n",
    "X: \u{e9}\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\n",
    ":",
    " ",
    "\t",
    "\0",
    "%2e%2E/",
    "%2F",
    "%5c",
    "..",
    "a",
    "200 ",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// A request that is good but for what the pieces in its middle do to it.
fn nearly_good_request() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(&PIECES[..8]);
    let fields = prop::collection::vec(prop::sample::select(&PIECES[14..31]), 0..10);
    (first, fields, any::<bool>(), pieces()).prop_map(|(first, fields, host, rest)| {
        let host = if host { "Host: h\r\n" } else { "" };
        [first.as_bytes(), host.as_bytes(), fields.concat().as_bytes(), b"\r\n", &rest].concat()
    })
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(
        &["/", "a", ".", "..", "%2e", "%2F", "%5C", "\\", "%00", "%25", "2e", "%", "~", "\u{e9}"][..],
    );
    prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn invariants_hold_for_pieces_of_requests(plan: [u8; 4], bytes in pieces()) {
        invariants::all(&[plan.as_slice(), &bytes].concat());
    }

    #[test]
    fn invariants_hold_for_nearly_good_requests(plan: [u8; 4], bytes in nearly_good_request()) {
        invariants::all(&[plan.as_slice(), &bytes].concat());
    }

    #[test]
    fn invariants_hold_for_any_bytes(bytes: Vec<u8>) {
        invariants::all(&bytes);
    }

    #[test]
    fn paths_stay_inside_the_root(path in path()) {
        invariants::web_path_stays_inside_the_root(&path);
    }
}

#[test]
fn invariants_hold_at_the_limits() {
    for len in [16_383, 16_384, 16_385] {
        let line = "a".repeat(len - "GET / HTTP/1.1".len());
        let in_target = format!("GET /{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let in_value = format!("GET / HTTP/1.1\r\nHost: h\r\nX:{}\r\n\r\n", "a".repeat(len - 2));
        for head in [in_target, in_value] {
            invariants::head_is_independent_of_splits(&[255, 3], head.as_bytes());
            invariants::heads_agree_with_httparse(head.as_bytes());
        }
    }
}
