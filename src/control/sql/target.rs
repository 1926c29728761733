//! A database that can be connected to, whichever it is: what its URL says, and how a connection is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::link::{Link, OpenFile, Wire, file_id};
use super::{DatabaseSettings, DatabaseUrl, SqlError, UrlError, mysql, postgres};
use crate::secret::Secret;

/// Longest wait for another process' lock on an SQLite file before the query fails with that reason.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Time for a server to accept a connection: PyMySQL's default for `connect_timeout`.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    kind: Kind,
    /// From the URL's `connect_timeout`
    pub(super) connect_limit: Duration,
    /// From the URL's `read_timeout` and `write_timeout`
    pub(super) query_limit: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Kind {
    Sqlite { path: PathBuf, write: bool, create: bool, lock_wait: Duration },
    MySql { options: Box<MySqlConnectOptions>, session: Option<Arc<str>> },
    Postgres(Box<PgConnectOptions>),
}

impl Target {
    /// What `url` with the other options of `[database]` leads to, and what the operator should know of it.
    ///
    /// Reads the files that the URL names, so it blocks.
    pub(crate) fn new(
        url: &Secret,
        settings: &DatabaseSettings,
        directory: &std::path::Path,
        warnings: &mut Vec<String>,
    ) -> Result<Self, UrlError> {
        let text = std::str::from_utf8(url.expose()).map_err(|_| UrlError::Malformed)?;
        let mut url = DatabaseUrl::parse(text, directory)?;
        if let Some(parameters) = &settings.connection_parameters {
            url.add_parameters(std::str::from_utf8(parameters.expose()).map_err(|_| UrlError::Malformed)?)?;
        }
        let server = |(connect, query): (Option<Duration>, Option<Duration>), kind| Self {
            kind,
            connect_limit: connect.unwrap_or(CONNECT_LIMIT),
            query_limit: query,
        };
        match url {
            DatabaseUrl::Sqlite { path } => Ok(Self {
                kind: Kind::Sqlite { path, write: false, create: false, lock_wait: LOCK_WAIT_MAX },
                connect_limit: CONNECT_LIMIT,
                query_limit: None,
            }),
            DatabaseUrl::MySql(url) => {
                let options = Box::new(mysql::options(&url, warnings)?);
                let kind = Kind::MySql { options, session: mysql::session(settings).map(Arc::from) };
                Ok(server(mysql::limits(&url)?, kind))
            }
            DatabaseUrl::Postgres(url) => {
                let options = Box::new(postgres::options(&url, warnings)?);
                Ok(server((url.query.seconds("connect_timeout")?, None), Kind::Postgres(options)))
            }
        }
    }

    /// The same, to be written to; with `create`, an SQLite file is made.
    pub(crate) fn for_writing(mut self, may_create: bool) -> Self {
        if let Kind::Sqlite { write, create, .. } = &mut self.kind {
            (*write, *create) = (true, may_create);
        }
        self
    }

    /// The same, with at most half of `limit` spent on waiting for a lock, so that the reason is told in time.
    pub(super) fn within(mut self, limit: Duration) -> Self {
        if let Kind::Sqlite { lock_wait, .. } = &mut self.kind {
            *lock_wait = LOCK_WAIT_MAX.min(limit / 2);
        }
        self
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Sqlite { .. } => Dialect::Sqlite,
            Kind::MySql { .. } => Dialect::MySql,
            Kind::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A new connection, ready for queries. The error names the real cause.
    pub(crate) async fn connect(&self) -> Result<Link, SqlError> {
        let made = match &self.kind {
            Kind::Sqlite { path, write, create, lock_wait } => {
                let said = |reason: &dyn std::fmt::Display| {
                    SqlError::Refused(format!("{}: {reason}", path.display()))
                };
                // SQLite's own message does not say why it cannot open a file.
                if !create {
                    file_id(path).await.map_err(|reason| said(&reason))?;
                }
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .read_only(!write)
                    .create_if_missing(*create)
                    .busy_timeout(*lock_wait)
                    .disable_statement_logging();
                let wire = options.connect().await.map_err(|reason| said(&reason))?;
                let id = file_id(path).await.map_err(|reason| said(&reason))?;
                return Ok(Link::new(
                    Wire::Sqlite(wire),
                    Some(OpenFile { path: path.clone(), id, seen: Instant::now() }),
                ));
            }
            Kind::MySql { options, session } => self.connect_mysql(options, session.as_ref()).await,
            Kind::Postgres(options) => match options.connect().await {
                // libpq's `prefer`: in the clear rather than not at all.
                Err(reason) if is_tls(&reason) && matches!(options.get_ssl_mode(), PgSslMode::Prefer) => {
                    (**options).clone().ssl_mode(PgSslMode::Disable).connect().await.map(Wire::Postgres)
                }
                made => made.map(Wire::Postgres),
            },
        };
        made.map(|wire| Link::new(wire, None)).map_err(|reason| connect_error(&reason))
    }

    async fn connect_mysql(
        &self,
        options: &MySqlConnectOptions,
        session: Option<&Arc<str>>,
    ) -> Result<Wire, sqlx::Error> {
        let mut wire = match options.connect().await {
            // As libmysqlclient's `PREFERRED`: in the clear rather than not at all.
            Err(reason) if is_tls(&reason) && matches!(options.get_ssl_mode(), MySqlSslMode::Preferred) => {
                options.clone().ssl_mode(MySqlSslMode::Disabled).connect().await?
            }
            made => made?,
        };
        if let Some(session) = session {
            sqlx::raw_sql(AssertSqlSafe(Arc::clone(session))).execute(&mut wire).await?;
        }
        Ok(Wire::MySql(wire))
    }
}

/// What the dialects of SQL differ in, as far as we speak them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    MySql,
    Postgres,
}

impl Dialect {
    /// A query with a row for the column if the table has it, in the database or search path that is used.
    pub(super) fn has_column(self, table: &str, column: &str) -> Arc<str> {
        let schema = match self {
            Self::Sqlite => {
                return format!("SELECT name FROM pragma_table_info('{table}') WHERE name = '{column}'")
                    .into();
            }
            Self::MySql => "table_schema = DATABASE()",
            Self::Postgres => "table_schema = ANY (current_schemas(false))",
        };
        format!(
            "SELECT 1 FROM information_schema.columns WHERE {schema} AND table_name = '{table}' \
             AND column_name = '{column}'"
        )
        .into()
    }

    /// A query for how many `collations` these two columns have, where columns have them and more than one cannot be
    /// compared: in MySQL.
    pub(super) fn collations(self, columns: [(&str, &str); 2]) -> Option<Arc<str>> {
        let [first, second] =
            columns.map(|(table, column)| format!("(table_name = '{table}' AND column_name = '{column}')"));
        (self == Self::MySql).then(|| {
            format!(
                "SELECT COUNT(DISTINCT collation_name) AS collations FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND ({first} OR {second})"
            )
            .into()
        })
    }

    /// `text` in this dialect. In `text`, `?` is a parameter, and `INT(name)` a column as a 64-bit number that
    /// keeps its name.
    pub(crate) fn sql(self, text: &str) -> Arc<str> {
        let integer = match self {
            Self::Sqlite => "INTEGER",
            Self::MySql => "SIGNED",
            Self::Postgres => "BIGINT",
        };
        let mut sql = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("INT(") {
            let (column, after) = after.split_once(')').unwrap_or((after, ""));
            let name = column.rsplit('.').next().unwrap_or(column);
            sql.push_str(&format!("{before}CAST({column} AS {integer}) AS {name}"));
            rest = after;
        }
        sql.push_str(rest);
        if self != Self::Postgres {
            return sql.into();
        }
        let mut numbered = String::with_capacity(sql.len() + 16);
        for (number, part) in sql.split('?').enumerate() {
            if number > 0 {
                numbered.push_str(&format!("${number}"));
            }
            numbered.push_str(part);
        }
        numbered.into()
    }
}

/// Whether encryption failed: rustls' errors come as invalid data.
fn is_tls(reason: &sqlx::Error) -> bool {
    match reason {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(reason) => reason.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Whether another attempt can help, and the reason in words.
fn connect_error(reason: &sqlx::Error) -> SqlError {
    let passing = match reason {
        sqlx::Error::Io(_) => !is_tls(reason),
        sqlx::Error::Database(error) => super::link::is_passing(&**error),
        _ => false,
    };
    let text = reason.to_string();
    if passing { SqlError::Connect(text) } else { SqlError::Refused(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_spelled_in_each_dialect() {
        let text = "SELECT INT(port), INT(i.id), host FROM t WHERE a = ? AND b > ?";
        assert_eq!(
            &*Dialect::MySql.sql(text),
            "SELECT CAST(port AS SIGNED) AS port, CAST(i.id AS SIGNED) AS id, host FROM t WHERE a = ? AND b > ?"
        );
        assert_eq!(
            &*Dialect::Postgres.sql(text),
            "SELECT CAST(port AS BIGINT) AS port, CAST(i.id AS BIGINT) AS id, host FROM t WHERE a = $1 AND b > $2"
        );
        assert!(Dialect::Sqlite.sql(text).contains("CAST(port AS INTEGER) AS port"));
    }
}
