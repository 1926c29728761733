//! One connection, whichever database is behind it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Connection, Decode, MySql, Postgres, Row as _, Sqlite, Type};
use tokio::time::timeout;

/// Idle for longer than this, a connection is asked whether it still is one; after as long, a file is looked at.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What that may take.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// What saying goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(100);

/// Device and inode: a file replaced under the same name is another file, and an open connection would read
/// the old one for ever.
pub(super) type FileId = (u64, u64);

/// A connection.
pub(crate) struct Link {
    wire: Wire,
    file: Option<OpenFile>,
}

/// The file that a connection has open.
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    /// When it was last seen to have that name
    pub(super) seen: Instant,
}

/// The driver's connection.
pub(super) enum Wire {
    Sqlite(SqliteConnection),
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// One row of a result.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
    Postgres(PgRow),
}

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Integer(i64),
}

/// A query with its parameters bound. The three drivers have no type in common that would take parameters.
macro_rules! query {
    ($sql:expr, $arguments:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone($sql)));
        for argument in $arguments {
            query = match *argument {
                // Owned: a statement's parameters outlive the call that binds them.
                Argument::Text(text) => query.bind(text.to_owned()),
                Argument::OptionalText(text) => query.bind(text.map(str::to_owned)),
                Argument::Integer(number) => query.bind(number),
            };
        }
        query
    }};
}

impl Link {
    pub(super) fn new(wire: Wire, file: Option<OpenFile>) -> Self {
        Self { wire, file }
    }

    /// Runs a prepared statement, and returns its rows.
    pub(crate) async fn fetch(
        &mut self,
        sql: &Arc<str>,
        arguments: &[Argument<'_>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        match &mut self.wire {
            Wire::Sqlite(wire) => {
                let rows = query!(sql, arguments).fetch_all(wire).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Wire::MySql(wire) => {
                let rows = query!(sql, arguments).fetch_all(wire).await?;
                Ok(rows.into_iter().map(Row::MySql).collect())
            }
            Wire::Postgres(wire) => {
                let rows = query!(sql, arguments).fetch_all(wire).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Runs a prepared statement, and returns how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &Arc<str>,
        arguments: &[Argument<'_>],
    ) -> Result<u64, sqlx::Error> {
        match &mut self.wire {
            Wire::Sqlite(wire) => Ok(query!(sql, arguments).execute(wire).await?.rows_affected()),
            Wire::MySql(wire) => Ok(query!(sql, arguments).execute(wire).await?.rows_affected()),
            Wire::Postgres(wire) => Ok(query!(sql, arguments).execute(wire).await?.rows_affected()),
        }
    }

    /// Whether it can be used after having been idle for `idle`.
    pub(super) async fn is_healthy(&mut self, idle: Duration) -> bool {
        if let Some(file) = &mut self.file {
            if file.seen.elapsed() < TRUSTED_FOR {
                return true;
            }
            file.seen = Instant::now();
            return file_id(&file.path).await.is_ok_and(|now| now == file.id);
        }
        if idle < TRUSTED_FOR {
            return true;
        }
        let pinged = match &mut self.wire {
            Wire::Sqlite(_) => return true,
            Wire::MySql(wire) => timeout(PING_LIMIT, wire.ping()).await,
            Wire::Postgres(wire) => timeout(PING_LIMIT, wire.ping()).await,
        };
        matches!(pinged, Ok(Ok(())))
    }

    /// Says goodbye: a server logs clients that just go.
    pub(super) async fn close(self) {
        // One that does not close cleanly is closed by being dropped.
        let _ = match self.wire {
            Wire::Sqlite(wire) => timeout(CLOSE_LIMIT, wire.close()).await,
            Wire::MySql(wire) => timeout(CLOSE_LIMIT, wire.close()).await,
            Wire::Postgres(wire) => timeout(CLOSE_LIMIT, wire.close()).await,
        };
    }
}

impl Row {
    /// The column of that name.
    pub(crate) fn get<T>(&self, name: &str) -> Result<T, sqlx::Error>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
        T: for<'r> Decode<'r, MySql> + Type<MySql>,
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(name),
            Self::MySql(row) => row.try_get(name),
            Self::Postgres(row) => row.try_get(name),
        }
    }

    /// Whether there is a column of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        fn has(columns: &[impl Column], name: &str) -> bool {
            columns.iter().any(|column| column.name() == name)
        }
        match self {
            Self::Sqlite(row) => has(row.columns(), name),
            Self::MySql(row) => has(row.columns(), name),
            Self::Postgres(row) => has(row.columns(), name),
        }
    }
}

/// Which file has the name now.
pub(super) async fn file_id(path: &Path) -> io::Result<FileId> {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || fs::metadata(path).map(|meta| (meta.dev(), meta.ino())));
    looked.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

/// Whether a connection is of no use after this error.
pub(super) fn is_lost(reason: &sqlx::Error) -> bool {
    match reason {
        // 0A000: PostgreSQL's "cached plan must not change result type", after a migration.
        sqlx::Error::Database(error) => {
            is_passing(&**error) || error.code().is_some_and(|code| code == "0A000")
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        _ => false,
    }
}

/// Whether a server says that it cannot serve *now*: it starts, ends, is full, or has left its cluster.
pub(super) fn is_passing(error: &dyn DatabaseError) -> bool {
    if let Some(mysql) = error.try_downcast_ref::<MySqlDatabaseError>() {
        // Too many connections, in all or of this user; unknown command (a Galera node that is not synced);
        // shutting down; connection killed; "needs to be re-prepared"; idle for too long.
        return [1040, 1203, 1047, 1053, 1927, 1615, 4031].contains(&mysql.number());
    }
    // PostgreSQL's classes 08 and 57P, and 53300, too_many_connections. SQLite's codes are numbers below them.
    error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P") || code == "53300")
}
