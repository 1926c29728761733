//! What a URL says to psycopg2, and so to libpq, said to our driver.

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::UrlError;
use super::authorities;
use super::mysql::unknown_keys;
use super::url::ServerUrl;

/// Keys that are understood, or that mean nothing where text is always UTF-8.
const KEYS: [&str; 12] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "application_name",
    "client_encoding",
];

/// Keys of libpq that have no effect here; see `mysql::OTHER_KEYS` for why they are listed.
const OTHER_KEYS: [&str; 18] = [
    "channel_binding",
    "fallback_application_name",
    "gssencmode",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "service",
    "sslcompression",
    "sslcrl",
    "sslpassword",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// The options of a connection. What the URL leaves open comes from libpq's environment variables.
pub(super) fn options(url: &ServerUrl, warnings: &mut Vec<String>) -> Result<PgConnectOptions, UrlError> {
    let query = &url.query;
    warnings.extend(unknown_keys(query, &KEYS, &OTHER_KEYS));
    let mut options = PgConnectOptions::new_without_pgpass().disable_statement_logging();
    // As in SQLAlchemy, what the query says comes after the rest.
    let host = query.get("host").or(url.host.as_deref());
    if let Some(host) = host {
        let first = host.split(',').next().unwrap_or(host);
        if first != host {
            warnings.push("[database] connection names several hosts; the first is used.".to_owned());
        }
        let (first, port) = match first.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
            _ => (first, None),
        };
        options = options.host(first);
        if let Some(port) = port {
            options = options.port(port);
        }
    }
    let port = match query.get("port") {
        Some(text) => {
            let reason = "expected 1 to 65535";
            Some(text.parse().map_err(|_| UrlError::Value { key: "port", reason })?)
        }
        None => url.port,
    };
    if let Some(port) = port {
        options = options.port(port);
    }
    if let Some(user) = query.get("user").or(url.user.as_deref()) {
        options = options.username(user);
    }
    let password = url.password.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
    if let Some(password) = query.get("password").or(password.as_deref()) {
        options = options.password(password);
    }
    if let Some(database) = query.get("dbname").or(url.database.as_deref()) {
        options = options.database(database);
    }
    if let Some(name) = query.get("application_name") {
        options = options.application_name(name);
    }
    encrypt(options, url, warnings)
}

/// TLS as libpq has it (`sslmode`; no TLS through a socket file; `require` with a root certificate verifies).
fn encrypt(
    mut options: PgConnectOptions,
    url: &ServerUrl,
    warnings: &mut Vec<String>,
) -> Result<PgConnectOptions, UrlError> {
    let query = &url.query;
    let (root, cert, key) = (query.get("sslrootcert"), query.get("sslcert"), query.get("sslkey"));
    let mode = match query.get("sslmode") {
        None => options.get_ssl_mode(),
        Some("disable") => PgSslMode::Disable,
        Some("allow") => PgSslMode::Allow,
        Some("prefer") => PgSslMode::Prefer,
        Some("require") if root.is_some() => PgSslMode::VerifyCa,
        Some("require") => PgSslMode::Require,
        Some("verify-ca") => PgSslMode::VerifyCa,
        Some("verify-full") => PgSslMode::VerifyFull,
        Some(_) => return Err(UrlError::Value { key: "sslmode", reason: "expected a mode of libpq" }),
    };
    let is_local = options.get_host().starts_with('/');
    options = options.ssl_mode(if is_local { PgSslMode::Disable } else { mode });
    match root {
        Some("system") => options = options.ssl_root_cert_from_pem(authorities::pem(None, None, warnings)),
        Some(root) => options = options.ssl_root_cert(root),
        None => {}
    }
    for path in [root.filter(|root| *root != "system"), cert, key].into_iter().flatten() {
        warnings.extend(authorities::unreadable(path));
    }
    match (cert, key) {
        (Some(cert), key) => Ok(options.ssl_client_key(key.unwrap_or(cert)).ssl_client_cert(cert)),
        (None, Some(_)) => Err(UrlError::Value { key: "sslkey", reason: "is set, and sslcert is not" }),
        (None, None) => Ok(options),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::sql::DatabaseUrl;

    fn parse(rest: &str) -> Result<PgConnectOptions, UrlError> {
        match DatabaseUrl::parse(&format!("postgresql+psycopg2://{rest}"), Path::new("/")) {
            Ok(DatabaseUrl::Postgres(url)) => options(&url, &mut Vec::new()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_url_says_what_libpq_would_hear() {
        let options = parse("nova:pa55@ctl:5433/cell?application_name=x").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("ctl", 5433));
        assert_eq!((options.get_username(), options.get_database()), ("nova", Some("cell")));
        let options = parse("nova:pa55@/cell?host=/run/postgresql&port=5434").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("/run/postgresql", 5434));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
        assert_eq!(parse("ctl/cell?host=one:1,two:2").unwrap().get_port(), 1);
    }

    #[test]
    fn encryption_is_what_libpq_makes_of_the_keys() {
        for (query, expected) in [
            ("sslmode=disable", "Disable"),
            ("sslmode=prefer", "Prefer"),
            ("sslmode=require", "Require"),
            ("sslmode=require&sslrootcert=/ca.pem", "VerifyCa"),
            ("sslmode=verify-ca&sslrootcert=/ca.pem", "VerifyCa"),
            ("sslmode=verify-full", "VerifyFull"),
        ] {
            let options = parse(&format!("ctl/cell?{query}")).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), expected, "{query}");
        }
        assert!(parse("ctl/cell?sslmode=maybe").is_err());
        assert!(parse("ctl/cell?sslkey=/k.pem").is_err());
    }
}
