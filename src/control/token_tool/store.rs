//! What the token tool reads and writes in a cell database.

use super::schema;
use crate::console::{ConsoleType, TokenHash};
use crate::control::sql::{Argument, Dialect, Link, SqlError, Target};

/// Most tokens one `list` shows.
const LIST_MAX: i64 = 100_000;

const INSERT_TOKEN: &str = "INSERT INTO console_auth_tokens (created_at, token_hash, console_type, host, port, \
     internal_access_path, instance_uuid, expires, access_url_base{more}) VALUES ({now}, ?, ?, ?, ?, ?, ?, ?, ?{values})";

// The columns that are never NULL in an instance Nova made.
const INSERT_INSTANCE: &str = "INSERT INTO instances (created_at, uuid, host, node, launched_on, display_name, \
     deleted, cleaned, locked, hidden, shutdown_terminate, disable_terminate) \
     VALUES ({now}, ?, ?, ?, ?, 'console demo', 0, 0, {false}, {false}, {false}, {false})";

/// A row to be written.
pub(super) struct NewToken {
    pub(super) hash: TokenHash,
    pub(super) console_type: ConsoleType,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Tables before Nova 31 take none
    pub(super) tls_port: Option<u16>,
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
pub(super) struct Store {
    link: Link,
    dialect: Dialect,
}

impl Store {
    pub(super) async fn open(target: Target) -> Result<Self, String> {
        let link = target.connect().await.map_err(|reason: SqlError| reason.to_string())?;
        Ok(Self { link, dialect: target.dialect() })
    }

    pub(super) async fn create_tables(&mut self) -> Result<(), String> {
        for statement in schema::statements(self.dialect) {
            self.link.execute(&statement, &[]).await.map_err(refused)?;
        }
        Ok(())
    }

    /// Makes the row of the instance where it is missing.
    pub(super) async fn create_instance(&mut self, uuid: &str, host: &str) -> Result<(), String> {
        if self.count("SELECT INT(id) FROM instances WHERE uuid = ?", uuid).await? == 0 {
            let host = Argument::Text(host);
            self.execute(INSERT_INSTANCE, &[Argument::Text(uuid), host, host, host])
                .await
                .map_err(refused)?;
        }
        Ok(())
    }

    pub(super) async fn has_instance(&mut self, uuid: &str) -> Result<bool, String> {
        Ok(self.count("SELECT INT(id) FROM instances WHERE uuid = ? AND deleted = 0", uuid).await? > 0)
    }

    pub(super) async fn insert(&mut self, token: &NewToken) -> Result<(), String> {
        let hash = token.hash.to_hex();
        let mut arguments = vec![
            Argument::Text(&hash),
            Argument::Text(token.console_type.as_str()),
            Argument::Text(&token.host),
            Argument::Integer(token.port.map_or(-1, i64::from)),
            Argument::OptionalText(token.internal_access_path.as_deref()),
            Argument::Text(&token.instance_uuid),
            Argument::Integer(token.expires),
            Argument::Text(&token.access_url_base),
        ];
        arguments.extend(token.tls_port.map(|port| Argument::Integer(i64::from(port))));
        let (more, values) = if token.tls_port.is_some() { (", tls_port", ", ?") } else { ("", "") };
        let insert = INSERT_TOKEN.replace("{more}", more).replace("{values}", values);
        self.execute(&insert, &arguments).await.map(drop).map_err(|reason| match reason.as_database_error() {
            Some(database) if database.is_unique_violation() => "this token exists already".to_owned(),
            _ => refused(reason),
        })
    }

    pub(super) async fn list(&mut self) -> Result<Vec<TokenLine>, String> {
        let sql = self.dialect.sql(
            "SELECT INT(id), console_type, host, INT(port), instance_uuid, INT(expires) \
             FROM console_auth_tokens ORDER BY id LIMIT ?",
        );
        let rows = self.link.fetch(&sql, &[Argument::Integer(LIST_MAX)]).await.map_err(refused)?;
        rows.iter()
            .map(|row| {
                Ok(TokenLine {
                    id: row.get("id")?,
                    console_type: row.get("console_type")?,
                    host: row.get("host")?,
                    port: row.get("port")?,
                    instance_uuid: row.get("instance_uuid")?,
                    expires: row.get("expires")?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(refused)
    }

    pub(super) async fn revoke_token(&mut self, hash: &TokenHash) -> Result<u64, String> {
        let hash = hash.to_hex();
        self.delete("DELETE FROM console_auth_tokens WHERE token_hash = ?", Argument::Text(&hash)).await
    }

    pub(super) async fn revoke_instance(&mut self, uuid: &str) -> Result<u64, String> {
        self.delete("DELETE FROM console_auth_tokens WHERE instance_uuid = ?", Argument::Text(uuid)).await
    }

    /// Those that `nova/db/main/api.py`, `console_auth_token_get_valid`, would not find any more.
    pub(super) async fn revoke_expired(&mut self, now: i64) -> Result<u64, String> {
        self.delete("DELETE FROM console_auth_tokens WHERE expires <= ?", Argument::Integer(now)).await
    }

    async fn delete(&mut self, sql: &str, argument: Argument<'_>) -> Result<u64, String> {
        self.execute(sql, &[argument]).await.map_err(refused)
    }

    async fn count(&mut self, sql: &str, uuid: &str) -> Result<usize, String> {
        let sql = self.dialect.sql(sql);
        let rows = self.link.fetch(&sql, &[Argument::Text(uuid)]).await.map_err(refused)?;
        Ok(rows.len())
    }

    async fn execute(&mut self, sql: &str, arguments: &[Argument<'_>]) -> Result<u64, sqlx::Error> {
        let (now, no) = match self.dialect {
            // Nova's migrations store microseconds (SQLAlchemy's DATETIME for SQLite).
            Dialect::Sqlite => ("strftime('%Y-%m-%d %H:%M:%f000', 'now')", "0"),
            Dialect::MySql => ("UTC_TIMESTAMP()", "FALSE"),
            Dialect::Postgres => ("CURRENT_TIMESTAMP", "FALSE"),
        };
        let sql = self.dialect.sql(&sql.replace("{now}", now).replace("{false}", no));
        self.link.execute(&sql, arguments).await
    }
}

fn refused(reason: sqlx::Error) -> String {
    let message = reason.to_string();
    // SQLite's, MySQL's and PostgreSQL's words for it.
    let is_missing = message.contains("no such table")
        || message.contains("doesn't exist")
        || message.contains("relation") && message.contains("does not exist");
    let hint = if is_missing { " (create --init makes the tables)" } else { "" };
    format!("the database refused: {message}{hint}")
}
