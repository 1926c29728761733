//! What holds for the URLs of the database and of the message bus, whatever an operator wrote.

use std::path::Path;

use crate::control::database_url::{DatabaseUrl, ServerUrl};
use crate::control::rpc::transport_url::{Host, TransportUrl};
use crate::secret::Secret;

/// Longest error text. It may name a scheme of up to 64 characters, and nothing else of the input.
const ERROR_BYTES_MAX: usize = 200;

/// No text of anything may tell a password from this one.
const ANOTHER_PASSWORD: &str = "another";

/// Any bytes as both kinds of URL; and the same behind each scheme, so that the fuzzer need not find those.
pub(crate) fn urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for scheme in ["", "sqlite://", "mysql+pymysql://", "postgresql://"] {
        database(&format!("{scheme}{text}"));
    }
    for scheme in ["", "rabbit://", "kombu://"] {
        transport(&format!("{scheme}{text}"));
    }
}

fn database(url: &str) {
    let directory = Path::new("/var/lib/nova");
    let parsed = DatabaseUrl::parse(url, directory);
    assert_eq!(DatabaseUrl::parse(url, directory), parsed, "same input, same result");
    match parsed {
        Ok(DatabaseUrl::Sqlite { path }) => {
            assert!(path.is_absolute(), "relative to {}: {}", directory.display(), path.display());
        }
        Ok(DatabaseUrl::MySql(server) | DatabaseUrl::Postgres(server)) => check_server(server),
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}"),
    }
}

fn check_server(mut server: ServerUrl) {
    assert_ne!(server.port, Some(0));
    let parts = [&server.user, &server.host, &server.database];
    assert!(parts.into_iter().flatten().all(|part| !part.is_empty()), "an empty part is none");
    assert!(server.query.keys().count() <= 64);
    let shown = format!("{server:?}");
    if server.password.is_some() {
        server.password = Some(Secret::new(ANOTHER_PASSWORD));
    }
    assert_eq!(format!("{server:?}"), shown, "what is shown depends on the password");
    for key in ["charset", "connect_timeout", "ssl_verify_cert"] {
        let _ = (server.query.get(key), server.query.seconds("connect_timeout"), server.query.bool("ssl"));
    }
}

fn transport(url: &str) {
    let parsed = TransportUrl::parse(url);
    assert_eq!(TransportUrl::parse(url), parsed, "same input, same result");
    match parsed {
        Ok(parsed) => {
            assert!(parsed.hosts.len() <= 64 && parsed.query.len() <= 64);
            assert!(parsed.vhost.as_ref().is_none_or(|vhost| !vhost.is_empty() && vhost.len() <= 255));
            assert!(parsed.hosts.iter().all(|host| !host.name.is_empty()));
            for host in &parsed.hosts {
                let other = Host { password: Secret::new(ANOTHER_PASSWORD), ..host.clone() };
                assert_eq!(format!("{other:?} {other}"), format!("{host:?} {host}"), "it depends on the password");
            }
        }
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}"),
    }
}
