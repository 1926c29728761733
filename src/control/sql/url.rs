//! `[database] connection`: a database URL in the forms SQLAlchemy takes.
//!
//! Only SQLite is served so far; the other dialects are recognised so that the operator is told so
//! rather than that the URL is wrong. The URL may hold a password, so no error repeats any part of it
//! but the dialect.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the cell database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:////absolute/path` or `sqlite:///relative/path`
    Sqlite {
        /// Absolute; a relative one is taken from the directory the program was started in
        path: PathBuf,
    },
}

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The text SQLAlchemy has for it, less the URL.
    #[error("could not parse the database URL: expected dialect://..., the URL itself is not shown")]
    Malformed,
    /// A dialect that Nova runs on and we do not serve yet.
    #[error("the database dialect {0} is not supported yet, only sqlite is")]
    NotSupportedYet(String),
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
}

/// Dialects of deployed clouds: the name before `+driver`.
const SERVERS: [&str; 4] = ["mysql", "mariadb", "postgresql", "postgres"];

impl DatabaseUrl {
    /// Parses `url`; relative paths are taken from `directory`.
    ///
    /// The driver behind `+` and the query choose and tune a Python driver, so both are accepted and
    /// mean nothing for SQLite. As in SQLAlchemy the path is literal: `%20` is three characters.
    ///
    /// # Errors
    ///
    /// [`UrlError`]; its text never holds user, password or host.
    pub fn parse(url: &str, directory: &Path) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Malformed)?;
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '+';
        if scheme.is_empty() || scheme.len() > 64 || !scheme.chars().all(known) {
            return Err(UrlError::Malformed);
        }
        let dialect = scheme.split('+').next().unwrap_or(scheme);
        if SERVERS.contains(&dialect) {
            return Err(UrlError::NotSupportedYet(dialect.to_owned()));
        }
        if dialect != "sqlite" {
            return Err(UrlError::UnknownDialect(dialect.to_owned()));
        }
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
        Ok(Self::Sqlite { path: directory.join(path) })
    }
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

    #[test]
    fn server_dialects_are_named_as_not_supported_yet() {
        for (url, dialect) in [
            ("mysql+pymysql://nova:pa55@ctl/nova_cell1?charset=utf8", "mysql"),
            ("mysql://nova:pa55@ctl/nova_cell1", "mysql"),
            ("mariadb+pymysql://nova:pa55@ctl/nova", "mariadb"),
            ("postgresql+psycopg2://nova:pa55@ctl/nova", "postgresql"),
        ] {
            assert_eq!(parse(url), Err(UrlError::NotSupportedYet(dialect.to_owned())), "{url}");
        }
    }

    #[test]
    fn no_error_repeats_the_credentials() {
        for url in [
            "mysql+pymysql://nova:pa55@ctl/nova",
            "oracle://nova:pa55@ctl/nova",
            "my sql://nova:pa55@ctl/nova",
            "nova:pa55@ctl/nova",
            "sqlite://nova:pa55@ctl/nova",
        ] {
            let message = parse(url).unwrap_err().to_string();
            assert!(!message.contains("pa55") && !message.contains("ctl"), "{message}");
        }
    }
}
