//! What the token tool reads and writes in an SQLite file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};

use super::schema;
use crate::console::{ConsoleType, TokenHash};

/// Wait for another process' lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Most tokens one `list` shows.
const LIST_MAX: i64 = 100_000;

// Nova's migrations store microseconds (SQLAlchemy's DATETIME for SQLite).
const INSERT_TOKEN: &str = "INSERT INTO console_auth_tokens (created_at, token_hash, console_type, host, port, \
     internal_access_path, instance_uuid, expires, access_url_base) \
     VALUES (strftime('%Y-%m-%d %H:%M:%f000', 'now'), ?, ?, ?, ?, ?, ?, ?, ?)";

// The columns that are never NULL in an instance Nova made.
const INSERT_INSTANCE: &str = "INSERT INTO instances (created_at, uuid, host, node, launched_on, display_name, \
     deleted, cleaned, locked, hidden, shutdown_terminate, disable_terminate) \
     SELECT strftime('%Y-%m-%d %H:%M:%f000', 'now'), ?1, ?2, ?2, ?2, 'console demo', 0, 0, 0, 0, 0, 0 \
     WHERE NOT EXISTS (SELECT 1 FROM instances WHERE uuid = ?1)";

/// A row to be written.
pub(super) struct NewToken {
    pub(super) hash: TokenHash,
    pub(super) console_type: ConsoleType,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) internal_access_path: Option<String>,
    pub(super) instance_uuid: String,
    /// Seconds since 1970, UTC
    pub(super) expires: i64,
    pub(super) access_url_base: String,
}

/// A row to be shown.
pub(super) struct TokenLine {
    pub(super) id: i64,
    pub(super) console_type: String,
    pub(super) host: String,
    pub(super) port: i64,
    pub(super) instance_uuid: String,
    /// Seconds since 1970, UTC
    pub(super) expires: i64,
}

/// The database, open for writing.
pub(super) struct Store(SqliteConnection);

impl Store {
    pub(super) async fn open(path: &Path, create: bool) -> Result<Self, String> {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .busy_timeout(LOCK_WAIT)
            .disable_statement_logging()
            .connect()
            .await
            .map(Self)
            .map_err(|reason| format!("could not open {}: {reason}", path.display()))
    }

    pub(super) async fn create_tables(&mut self) -> Result<(), String> {
        for statement in schema::STATEMENTS {
            sqlx::query(statement).execute(&mut self.0).await.map_err(refused)?;
        }
        Ok(())
    }

    pub(super) async fn create_instance(&mut self, uuid: &str, host: &str) -> Result<(), String> {
        sqlx::query(INSERT_INSTANCE).bind(uuid).bind(host).execute(&mut self.0).await.map_err(refused)?;
        Ok(())
    }

    pub(super) async fn has_instance(&mut self, uuid: &str) -> Result<bool, String> {
        sqlx::query("SELECT 1 FROM instances WHERE uuid = ? AND deleted = 0")
            .bind(uuid)
            .fetch_optional(&mut self.0)
            .await
            .map(|row| row.is_some())
            .map_err(refused)
    }

    pub(super) async fn insert(&mut self, token: &NewToken) -> Result<(), String> {
        sqlx::query(INSERT_TOKEN)
            .bind(token.hash.to_hex())
            .bind(token.console_type.as_str())
            .bind(&token.host)
            .bind(i64::from(token.port))
            .bind(&token.internal_access_path)
            .bind(&token.instance_uuid)
            .bind(token.expires)
            .bind(&token.access_url_base)
            .execute(&mut self.0)
            .await
            .map_err(|reason| match reason.as_database_error() {
                Some(database) if database.is_unique_violation() => "this token exists already".to_owned(),
                _ => refused(reason),
            })?;
        Ok(())
    }

    pub(super) async fn list(&mut self) -> Result<Vec<TokenLine>, String> {
        let rows = sqlx::query(
            "SELECT id, console_type, host, port, instance_uuid, expires FROM console_auth_tokens \
             ORDER BY id LIMIT ?",
        )
        .bind(LIST_MAX)
        .fetch_all(&mut self.0)
        .await
        .map_err(refused)?;
        rows.iter()
            .map(|row| {
                Ok(TokenLine {
                    id: row.try_get("id")?,
                    console_type: row.try_get("console_type")?,
                    host: row.try_get("host")?,
                    port: row.try_get("port")?,
                    instance_uuid: row.try_get("instance_uuid")?,
                    expires: row.try_get("expires")?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(refused)
    }

    pub(super) async fn revoke_token(&mut self, hash: &TokenHash) -> Result<u64, String> {
        let query = sqlx::query("DELETE FROM console_auth_tokens WHERE token_hash = ?").bind(hash.to_hex());
        Ok(query.execute(&mut self.0).await.map_err(refused)?.rows_affected())
    }

    pub(super) async fn revoke_instance(&mut self, uuid: &str) -> Result<u64, String> {
        let query = sqlx::query("DELETE FROM console_auth_tokens WHERE instance_uuid = ?").bind(uuid);
        Ok(query.execute(&mut self.0).await.map_err(refused)?.rows_affected())
    }

    /// Those that `nova/db/main/api.py`, `console_auth_token_get_valid`, would not find any more.
    pub(super) async fn revoke_expired(&mut self, now: i64) -> Result<u64, String> {
        let query = sqlx::query("DELETE FROM console_auth_tokens WHERE expires <= ?").bind(now);
        Ok(query.execute(&mut self.0).await.map_err(refused)?.rows_affected())
    }
}

fn refused(reason: sqlx::Error) -> String {
    let message = reason.to_string();
    let hint = if message.contains("no such table") { " (create --init makes the tables)" } else { "" };
    format!("the database refused: {message}{hint}")
}
