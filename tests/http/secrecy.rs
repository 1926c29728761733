//! Tokens, cookies and queries stay out of everything that can be formatted.

use std::fmt::Write;

use consolegate::proto::http::{OriginPolicy, UpgradePolicy, WebPath, origin, token, upgrade};
use proptest::prelude::*;

use crate::{get, try_parse};

/// Everything that comes out of the machines for one request, formatted.
fn formatted(target: &str, headers: &str) -> String {
    let request = get(target, headers);
    let mut text = String::new();
    let mut write = |value: &dyn std::fmt::Debug| write!(text, "{value:?} {value:#?} ").unwrap();
    write(&request);
    write(&request.query());
    write(&request.token());
    write(&token::find(&request));
    write(&upgrade::decide(&request, &UpgradePolicy::default()));
    write(&origin::check(&request, Some("http://h/"), &OriginPolicy::default()));
    write(&WebPath::parse(request.path()));
    // The same bytes again, in heads that are refused or incomplete.
    for version in ["HTTP/1.1\r\nHost : h", "HTTP/9.9", "HTTP/1.1\r\nX", "HTTP/1.1\r\nHost: a b"] {
        let head = format!("GET {target} {version}\r\n{headers}\r\n");
        write(&try_parse(head.as_bytes()));
        if let Err(error) = try_parse(head.as_bytes()) {
            write(&error.to_string());
        }
    }
    text
}

proptest! {
    #[test]
    fn a_token_is_never_shown(token in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}") {
        let cookie = format!("Cookie: session=1; token={token}\r\n");
        let targets = [
            format!("/?token={token}"),
            format!("/vnc.html?path=%3Ftoken%3D{token}&title=a"),
            format!("http://h/?token={token}"),
            "/websockify".to_owned(),
        ];
        for target in &targets {
            for headers in [cookie.clone(), format!("{cookie}Origin: {token}\r\nUpgrade: websocket\r\n"),
                format!("X-A: {token}\r\nReferer: http://h/?token={token}\r\n{cookie}")] {
                let text = formatted(target, &headers);
                prop_assert!(!text.contains(&token), "{text}");
                prop_assert!(get(target, &headers).token().is_some_and(|found| found.expose() == token.as_bytes()));
            }
        }
    }
}

#[test]
fn a_long_path_is_cut_in_debug() {
    let text = format!("{:?}", get(&format!("/{}", "a".repeat(8000)), ""));
    assert!(text.len() < 300, "{text}");
    assert!(format!("{:?}", get("/x\u{e9}", "")).contains("/x\\\\xc3\\\\xa9"), "other bytes are escaped");
}
