//! The cell database: the two rows that a console token leads to.
//!
//! Only reading, and only the columns the proxy needs. In particular `tls_port` is never selected:
//! schemas before Nova 31 lack it. Nothing is contacted before the first look-up, and a database that
//! went away is found again by the next one.

mod sqlite;
mod url;

use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tracing::error;

use self::sqlite::SqliteCell;
pub use self::url::{DatabaseUrl, UrlError};
use crate::console::TokenHash;
use crate::secret::Secret;

/// Open connections per process: look-ups are short, and every proxy of a cloud asks the same server.
pub const CONNECTIONS_MAX: u32 = 4;

/// The uuid that is looked up when there is no token row, so that both cases cost two queries.
pub const NIL_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// What the proxy needs of a row of `console_auth_tokens` (`nova/db/main/models.py`, `ConsoleAuthToken`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// `console_type`, as stored
    pub console_type: String,
    /// `host`
    pub host: String,
    /// `port`, as stored
    pub port: i64,
    /// `internal_access_path`
    pub internal_access_path: Option<String>,
    /// `instance_uuid`
    pub instance_uuid: String,
    /// `expires`: seconds since 1970, UTC
    pub expires: i64,
    /// `access_url_base`
    pub access_url_base: Option<String>,
}

/// What the proxy needs of a row of `instances` that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// `id`: what the compute service's own look-ups start from
    pub id: i64,
    /// `host`: the compute service that runs it; none while it is being built or shelved
    pub host: Option<String>,
}

/// What one look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The token, if it exists and is not expired
    pub token: Option<TokenRow>,
    /// Its instance, if it exists and is not deleted
    pub instance: Option<InstanceRow>,
}

/// Why the database could not answer. The text holds neither credentials nor tokens.
#[derive(Debug, Error)]
pub enum SqlError {
    /// No `[database] connection`: oslo.db's text (`oslo_db/sqlalchemy/enginefacade.py`).
    #[error("No sql_connection parameter is established")]
    NotConfigured,
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached.
    #[error("could not connect to the database: {0}")]
    Connect(String),
    /// A query failed.
    #[error("the database refused a query: {0}")]
    Query(String),
    /// All connections stayed busy.
    #[error("no database connection became free in {} ms", .0.as_millis())]
    Busy(Duration),
}

/// The cell database, opened at the first look-up.
#[derive(Debug)]
pub struct CellDatabase(Result<Backend, Unusable>);

#[derive(Debug)]
enum Backend {
    Sqlite(SqliteCell),
}

#[derive(Debug)]
enum Unusable {
    NotConfigured,
    Url(UrlError),
}

impl CellDatabase {
    /// The database behind `[database] connection`. Nothing is opened; a URL that cannot be used is
    /// logged now and refused at each look-up, so that the web files are served all the same.
    ///
    /// Each look-up takes at most about `limit`. Relative SQLite paths are taken from `directory`.
    #[must_use]
    pub fn new(connection: Option<&Secret>, directory: &Path, limit: Duration) -> Self {
        let Some(connection) = connection.filter(|url| !url.is_empty()) else {
            return Self(Err(Unusable::NotConfigured));
        };
        let url = std::str::from_utf8(connection.expose())
            .map_err(|_| UrlError::Malformed)
            .and_then(|url| DatabaseUrl::parse(url, directory));
        match url {
            Ok(DatabaseUrl::Sqlite { path }) => Self(Ok(Backend::Sqlite(SqliteCell::new(path, limit)))),
            Err(reason) => {
                error!("[database] connection cannot be used, no token will be accepted: {reason}");
                Self(Err(Unusable::Url(reason)))
            }
        }
    }

    /// The token row of `hash` that expires after `now` (seconds since 1970, strictly), and its instance.
    ///
    /// The instance is asked for even when there is no token row: with [`NIL_UUID`] then, so that an
    /// unknown token takes as long as a known one.
    ///
    /// # Errors
    ///
    /// [`SqlError`], naming the real cause.
    pub async fn look_up(&self, hash: &TokenHash, now: i64) -> Result<Rows, SqlError> {
        match &self.0 {
            Ok(Backend::Sqlite(cell)) => cell.look_up(hash, now).await,
            Err(Unusable::NotConfigured) => Err(SqlError::NotConfigured),
            Err(Unusable::Url(reason)) => Err(SqlError::Url(reason.clone())),
        }
    }
}
