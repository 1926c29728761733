//! Name resolution.

use consolegate::session::{Failure, Input, Question};

use crate::common::{answer, settings, start};

fn resolve(host: &str) -> Input {
    answer(&start(settings()), Question::Resolve { host: host.to_owned(), port: 5900 })
}

#[test]
fn literals_are_answered_as_they_are() {
    for (host, address) in [("192.0.2.7", "192.0.2.7:5900"), ("2001:db8::7", "[2001:db8::7]:5900")] {
        let Input::Resolved(addresses) = resolve(host) else { panic!("{host}") };
        assert_eq!(addresses, [address.parse().unwrap()]);
    }
}

#[test]
fn localhost_resolves_with_ipv4_first() {
    let Input::Resolved(addresses) = resolve("localhost") else { panic!("localhost") };
    assert_eq!(addresses[0], "127.0.0.1:5900".parse().unwrap());
}

#[test]
fn a_name_that_does_not_exist_is_a_failure() {
    // RFC 6761 section 6.4: "invalid" never exists.
    assert!(matches!(resolve("compute1.invalid"), Input::Failed(Failure::Resolve(_))));
    assert!(matches!(resolve(""), Input::Failed(Failure::Resolve(_))));
}
