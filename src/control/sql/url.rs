//! `[database] connection`: a database URL in the forms SQLAlchemy takes (`sqlalchemy/engine/url.py`).
//!
//! The URL may hold a password, so no error repeats any part of it but the dialect and the names of keys
//! that are known here.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::secret::Secret;

/// Longest URL: paths and passwords are far shorter.
const URL_BYTES_MAX: usize = 16_384;

/// Most keys in the query.
const KEYS_MAX: usize = 64;

/// Where the cell database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:////absolute/path` or `sqlite:///relative/path`
    Sqlite {
        /// Absolute; a relative one is taken from the directory the program was started in
        path: PathBuf,
    },
    /// `mysql+pymysql://…`, `mariadb+…`
    MySql(ServerUrl),
    /// `postgresql+psycopg2://…`
    Postgres(ServerUrl),
}

/// The parts of a URL that names a server, decoded. What is missing has a default that the driver knows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerUrl {
    /// Who connects
    pub user: Option<String>,
    /// Their password
    pub password: Option<Secret>,
    /// Name or address, IPv6 without brackets
    pub host: Option<String>,
    /// TCP port
    pub port: Option<u16>,
    /// Name of the database
    pub database: Option<String>,
    /// What is behind `?`
    pub query: Query,
}

/// The keys and values of a query, decoded, in their order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The text SQLAlchemy has for it, less the URL.
    #[error("could not parse the database URL: expected dialect://..., the URL itself is not shown")]
    Malformed,
    /// A dialect nobody knows.
    #[error("unknown database dialect {0}")]
    UnknownDialect(String),
    /// `sqlite://`: a database in the memory of another process cannot be read.
    #[error("the database URL names no file: expected sqlite:////absolute/path")]
    InMemory,
    /// `sqlite://name/...`
    #[error("the SQLite database URL names a host: expected sqlite:////absolute/path")]
    SqliteHost,
    /// `file:` names and their query, which would allow more than naming a file.
    #[error("SQLite file: names are not supported: expected sqlite:////absolute/path")]
    SqliteFileUri,
    /// A key of the query whose value makes no sense.
    #[error("the database URL's {key}: {reason}")]
    Value {
        /// Which key
        key: &'static str,
        /// What was expected; never the value itself
        reason: &'static str,
    },
}

impl DatabaseUrl {
    /// Parses `url`; relative SQLite paths are taken from `directory`.
    ///
    /// The driver behind `+` chooses a Python driver; any is accepted and means nothing here. The path of
    /// an SQLite file is literal: `%20` is three characters, and the query tunes a Python driver.
    ///
    /// # Errors
    ///
    /// [`UrlError`]; its text never holds user, password or host.
    pub fn parse(url: &str, directory: &Path) -> Result<Self, UrlError> {
        if url.len() > URL_BYTES_MAX {
            return Err(UrlError::Malformed);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Malformed)?;
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '+';
        if scheme.is_empty() || scheme.len() > 64 || !scheme.chars().all(known) {
            return Err(UrlError::Malformed);
        }
        match scheme.split('+').next().unwrap_or(scheme) {
            "sqlite" => sqlite(rest, directory),
            "mysql" | "mariadb" => ServerUrl::parse(rest).map(Self::MySql),
            "postgresql" | "postgres" => ServerUrl::parse(rest).map(Self::Postgres),
            dialect => Err(UrlError::UnknownDialect(dialect.to_owned())),
        }
    }

    /// Adds `[database] connection_parameters`, a query of its own (`oslo_db/sqlalchemy/engines.py`).
    ///
    /// # Errors
    ///
    /// [`UrlError::Malformed`] when there are too many of them.
    pub fn add_parameters(&mut self, parameters: &str) -> Result<(), UrlError> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::MySql(server) | Self::Postgres(server) => server.query.extend(parameters),
        }
    }
}

fn sqlite(rest: &str, directory: &Path) -> Result<DatabaseUrl, UrlError> {
    let location = rest.split('?').next().unwrap_or(rest);
    let Some(path) = location.strip_prefix('/') else {
        return Err(if location.is_empty() { UrlError::InMemory } else { UrlError::SqliteHost });
    };
    if path.is_empty() || path == ":memory:" {
        return Err(UrlError::InMemory);
    }
    if path.starts_with("file:") {
        return Err(UrlError::SqliteFileUri);
    }
    Ok(DatabaseUrl::Sqlite { path: directory.join(path) })
}

impl ServerUrl {
    /// What follows `://`, split where the regular expression of SQLAlchemy's `_parse_url` splits it: user and
    /// password end at the first `@`, and may hold `/` and `?`.
    fn parse(rest: &str) -> Result<Self, UrlError> {
        let stop = rest.find([':', '/']).unwrap_or(rest.len());
        let (before, after) = rest.split_at(stop);
        let (user, password, rest) = match after.strip_prefix(':').and_then(|after| after.split_once('@')) {
            Some((password, rest)) => (before, password, rest),
            None => match before.rfind('@') {
                Some(at) => (&before[..at], "", &rest[at + 1..]),
                None => ("", "", rest),
            },
        };
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = location.split_once('/').unwrap_or((location, ""));
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or(UrlError::Malformed)?;
                (host, port.strip_prefix(':').unwrap_or(port))
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = match port {
            "" => None,
            digits => {
                let reason = "expected 1 to 65535";
                let number = digits.parse().ok().filter(|port| *port != 0);
                Some(number.ok_or(UrlError::Value { key: "port", reason })?)
            }
        };
        let mut parsed = Self {
            user: filled(decode(user, false)),
            password: filled(decode(password, false)).map(Secret::new),
            host: filled(host.to_owned()),
            port,
            database: filled(decode(database, false)),
            query: Query::default(),
        };
        parsed.query.extend(query)?;
        Ok(parsed)
    }
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl Query {
    /// `urllib.parse.parse_qsl`: keys without a value are dropped.
    fn extend(&mut self, text: &str) -> Result<(), UrlError> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        for (key, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            if self.0.len() >= KEYS_MAX {
                return Err(UrlError::Malformed);
            }
            self.0.push((decode(key, true), decode(value, true)));
        }
        Ok(())
    }

    /// The last value of `key`: what was appended to the URL counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every key, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// A boolean as SQLAlchemy reads it (`util.asbool`).
    ///
    /// # Errors
    ///
    /// [`UrlError::Value`] for any other text.
    pub fn bool(&self, key: &'static str) -> Result<Option<bool>, UrlError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "t" | "1" => Ok(Some(true)),
            "false" | "no" | "off" | "n" | "f" | "0" => Ok(Some(false)),
            _ => Err(UrlError::Value { key, reason: "expected true or false" }),
        }
    }

    /// A positive number of seconds, fractions allowed.
    ///
    /// # Errors
    ///
    /// [`UrlError::Value`] for any other text.
    pub fn seconds(&self, key: &'static str) -> Result<Option<std::time::Duration>, UrlError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let seconds = text.trim().parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
        let duration = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
        duration.map(Some).ok_or(UrlError::Value { key, reason: "expected a number of seconds" })
    }
}

impl fmt::Debug for Query {
    /// Keys only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// `urllib.parse.unquote` or, with `plus`, `unquote_plus`: a `%` that starts no escape stays, invalid UTF-8 is
/// replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        bytes.push(match (byte, escaped) {
            (_, Some((high, low))) => {
                rest = &tail[2..];
                high << 4 | low
            }
            (b'+', None) if plus => b' ',
            (byte, None) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<DatabaseUrl, UrlError> {
        DatabaseUrl::parse(url, Path::new("/start"))
    }

    fn sqlite(path: &str) -> Result<DatabaseUrl, UrlError> {
        Ok(DatabaseUrl::Sqlite { path: PathBuf::from(path) })
    }

    fn server(url: &str) -> ServerUrl {
        match parse(url) {
            Ok(DatabaseUrl::MySql(server) | DatabaseUrl::Postgres(server)) => server,
            other => panic!("{url}: {other:?}"),
        }
    }

    /// User, password, host, port and database, with `-` for what is missing.
    fn parts(url: &str) -> [String; 5] {
        let url = server(url);
        let or_dash = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        [
            or_dash(url.user),
            or_dash(url.password.map(|password| String::from_utf8(password.expose().to_vec()).unwrap())),
            or_dash(url.host),
            or_dash(url.port.map(|port| port.to_string())),
            or_dash(url.database),
        ]
    }

    #[test]
    fn sqlite_paths_are_absolute_relative_and_literal() {
        assert_eq!(parse("sqlite:////var/lib/nova/cell1.db"), sqlite("/var/lib/nova/cell1.db"));
        assert_eq!(parse("sqlite:///cell1.db"), sqlite("/start/cell1.db"));
        assert_eq!(parse("sqlite+pysqlite:////a%20b?timeout=5"), sqlite("/a%20b"));
    }

    #[test]
    fn sqlite_urls_without_a_file_are_refused() {
        for url in ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://?x=/y"] {
            assert_eq!(parse(url), Err(UrlError::InMemory), "{url}");
        }
        assert_eq!(parse("sqlite://host/path"), Err(UrlError::SqliteHost));
        assert_eq!(parse("sqlite:///file:/x?mode=rwc&uri=true"), Err(UrlError::SqliteFileUri));
    }

    /// Each compared with SQLAlchemy 2.1's `make_url`.
    #[test]
    fn server_urls_are_split_where_sqlalchemy_splits_them() {
        for (url, expected) in [
            ("mysql+pymysql://nova:pw@ctl/nova_cell1?charset=utf8", ["nova", "pw", "ctl", "-", "nova_cell1"]),
            ("mysql://nova:pw@ctl:3307/nova_cell1", ["nova", "pw", "ctl", "3307", "nova_cell1"]),
            ("mysql+mysqldb://nova@ctl/n", ["nova", "-", "ctl", "-", "n"]),
            ("mariadb+mysqlconnector://n:p@[2001:db8::1]:13306/n", ["n", "p", "2001:db8::1", "13306", "n"]),
            ("mysql+pymysql://n%40v:p%3Aa%2Fs%40s%25@ctl/n", ["n@v", "p:a/s@s%", "ctl", "-", "n"]),
            ("mysql+pymysql://n:p/a?s#s@ctl/n", ["n", "p/a?s#s", "ctl", "-", "n"]),
            ("mysql+pymysql://n:p+w@ctl/n", ["n", "p+w", "ctl", "-", "n"]),
            ("mysql+pymysql:///n?unix_socket=/a@b", ["-", "-", "-", "-", "n"]),
            ("postgresql+psycopg2://nova:pw@/nova?host=/run/pg", ["nova", "pw", "-", "-", "nova"]),
            ("postgresql://ctl", ["-", "-", "ctl", "-", "-"]),
        ] {
            assert_eq!(parts(url), expected.map(str::to_owned), "{url}");
        }
    }

    #[test]
    fn queries_are_decoded_and_appended_to() {
        let mut url = parse("mysql://n:p@c/d?ssl_ca=%2Fetc%2Fa+b.pem&charset=&read_timeout=2.5&x").unwrap();
        url.add_parameters("ssl_disabled=No&ssl_ca=/etc/c.pem").unwrap();
        let DatabaseUrl::MySql(server) = url else { panic!("not MySQL") };
        assert_eq!(
            server.query.keys().collect::<Vec<_>>(),
            ["ssl_ca", "read_timeout", "ssl_disabled", "ssl_ca"]
        );
        assert_eq!(server.query.get("ssl_ca"), Some("/etc/c.pem"));
        assert_eq!(server.query.bool("ssl_disabled"), Ok(Some(false)));
        assert_eq!(server.query.seconds("read_timeout"), Ok(Some(std::time::Duration::from_millis(2_500))));
        assert!(server.query.bool("ssl_ca").is_err() && server.query.seconds("ssl_ca").is_err());
        assert!(parse(&format!("mysql://c/d?{}", "a=b&".repeat(65))).is_err());
        assert!(parse(&format!("mysql://c/{}", "d".repeat(20_000))).is_err());
    }

    #[test]
    fn no_error_repeats_the_credentials_and_no_debug_shows_them() {
        for url in [
            "oracle://nova:pa55@ctl/nova",
            "my sql://nova:pa55@ctl/nova",
            "nova:pa55@ctl/nova",
            "sqlite://nova:pa55@ctl/nova",
            "mysql://nova:pa55@ctl:x/nova",
            "mysql://nova:pa55@[ctl/nova",
        ] {
            let message = parse(url).unwrap_err().to_string();
            assert!(!message.contains("pa55") && !message.contains("ctl"), "{message}");
        }
        let shown = format!("{:?}", parse("mysql://nova:pa55@ctl/nova?password=pa55").unwrap());
        assert!(!shown.contains("pa55"), "{shown}");
    }
}
