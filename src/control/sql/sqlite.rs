//! The cell database in an SQLite file: demonstrations, tests and one-node clouds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, Sqlite};

use super::{CONNECTIONS_MAX, InstanceRow, NIL_UUID, Rows, SqlError, TokenRow};
use crate::console::TokenHash;

/// Longest wait for another process' lock, in ms, before the look-up fails with that reason.
const LOCK_WAIT_MS_MAX: u64 = 5_000;

const SELECT_TOKEN: &str = "SELECT console_type, host, port, internal_access_path, instance_uuid, expires, \
     access_url_base FROM console_auth_tokens WHERE token_hash = ? AND expires > ? LIMIT 1";

// In `instances` a deleted row holds its own id in `deleted`; 0 is a live one.
const SELECT_INSTANCE: &str = "SELECT id, host FROM instances WHERE uuid = ? AND deleted = 0 LIMIT 1";

/// One SQLite file, opened read-only and only when asked.
#[derive(Debug)]
pub(super) struct SqliteCell {
    path: PathBuf,
    limit: Duration,
    /// The connections, and which file they have open.
    opened: Mutex<Option<(FileId, SqlitePool)>>,
}

/// Device and inode: a file replaced under the same name is another file, and open connections would
/// read the old one for ever.
type FileId = (u64, u64);

impl SqliteCell {
    pub(super) fn new(path: PathBuf, limit: Duration) -> Self {
        Self { path, limit, opened: Mutex::new(None) }
    }

    pub(super) async fn look_up(&self, hash: &TokenHash, now: i64) -> Result<Rows, SqlError> {
        let mut connection = self.connection().await?;
        let token = sqlx::query(SELECT_TOKEN)
            .bind(hash.to_hex())
            .bind(now)
            .fetch_optional(&mut *connection)
            .await
            .and_then(|row| row.as_ref().map(token_row).transpose())
            .map_err(query_error)?;
        let uuid = token.as_ref().map_or(NIL_UUID, |token| &token.instance_uuid);
        let instance = sqlx::query(SELECT_INSTANCE)
            .bind(uuid)
            .fetch_optional(&mut *connection)
            .await
            .and_then(|row| {
                row.map(|row| Ok(InstanceRow { id: row.try_get("id")?, host: row.try_get("host")? }))
                    .transpose()
            })
            .map_err(query_error)?;
        Ok(Rows { token, instance })
    }

    /// A pooled connection to the file that has the name now.
    async fn connection(&self) -> Result<PoolConnection<Sqlite>, SqlError> {
        let path = self.path.clone();
        let id = tokio::task::spawn_blocking(move || fs::metadata(path).map(|meta| (meta.dev(), meta.ino())))
            .await
            .map_err(|stopped| SqlError::Connect(stopped.to_string()))?
            .map_err(|reason| SqlError::Connect(format!("{}: {reason}", self.path.display())))?;
        let pool = self.pool(id);
        if pool.size() == 0 {
            // The pool would report only a time-out; a bare connection tells why there is none.
            let probe = self.options().connect().await.map_err(|reason| self.connect_error(&reason))?;
            // A probe that does not close cleanly is closed by being dropped.
            let _ = probe.close().await;
        }
        pool.acquire().await.map_err(|reason| match reason {
            sqlx::Error::PoolTimedOut => SqlError::Busy(self.limit),
            reason => self.connect_error(&reason),
        })
    }

    fn pool(&self, id: FileId) -> SqlitePool {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some((open_id, pool)) if *open_id == id => pool.clone(),
            _ => {
                let pool = SqlitePoolOptions::new()
                    .max_connections(CONNECTIONS_MAX)
                    .acquire_timeout(self.limit)
                    .connect_lazy_with(self.options());
                *opened = Some((id, pool.clone()));
                pool
            }
        }
    }

    fn options(&self) -> SqliteConnectOptions {
        let lock_wait = (self.limit / 2).min(Duration::from_millis(LOCK_WAIT_MS_MAX));
        SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(lock_wait)
            .disable_statement_logging()
    }

    fn connect_error(&self, reason: &sqlx::Error) -> SqlError {
        SqlError::Connect(format!("{}: {reason}", self.path.display()))
    }
}

fn token_row(row: &SqliteRow) -> Result<TokenRow, sqlx::Error> {
    Ok(TokenRow {
        console_type: row.try_get("console_type")?,
        host: row.try_get("host")?,
        port: row.try_get("port")?,
        internal_access_path: row.try_get("internal_access_path")?,
        instance_uuid: row.try_get("instance_uuid")?,
        expires: row.try_get("expires")?,
        access_url_base: row.try_get("access_url_base")?,
    })
}

fn query_error(reason: sqlx::Error) -> SqlError {
    SqlError::Query(reason.to_string())
}
