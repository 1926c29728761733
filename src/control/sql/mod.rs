//! The cell database: the two rows that a console token leads to.
//!
//! Only reading, and only the columns the proxy needs. In particular `tls_port` is selected only where SPICE goes
//! under TLS, and the catalogue has it: schemas before Nova 31 lack it. Nothing is contacted before the first
//! look-up, and a database that went away is found again by the next one.
//!
//! [`DatabaseUrl`] says which database it is, `target` how to connect to it, `link` is one connection, `pool`
//! the few that all sessions share, `statements` what they are asked. How an outage costs each session a bounded
//! wait is in `outage`.

mod authorities;
mod link;
mod misses;
mod mysql;
mod named;
mod option_file;
mod outage;
mod pool;
mod postgres;
mod statements;
mod target;
mod url;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tracing::{error, warn};

pub(super) use self::link::{Argument, Link};
use self::misses::Misses;
pub use self::named::named_files;
use self::pool::{Bounds, Pool};
pub(super) use self::target::{Dialect, Target};
pub(super) use self::url::decode;
pub use self::url::{DatabaseUrl, Query, ServerUrl, UrlError};
use crate::console::TokenHash;
use crate::secret::Secret;
use crate::session::Limits;
use crate::session::limits::{duration, size};

/// The uuid that is looked up when there is no token row and two queries are needed, so that both cases cost two.
const NIL_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// The group `[database]`, as far as it matters to a proxy.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `connection`; or `slave_connection`, where `synchronous_reader` is off
    pub connection: Option<Secret>,
    /// `connection_parameters`
    pub connection_parameters: Option<Secret>,
    /// `mysql_sql_mode`; none leaves the server's
    pub mysql_sql_mode: Option<String>,
    /// `mysql_wsrep_sync_wait`
    pub mysql_wsrep_sync_wait: Option<i64>,
    /// `connection_recycle_time`; none keeps connections
    pub recycle: Option<Duration>,
    /// `max_pool_size`, where it is fewer than our own bound
    pub pool_size: Option<usize>,
    /// `max_retries` times `retry_interval`; none waits for as long as our own bound allows
    pub patience: Option<Duration>,
    /// `retry_interval`
    pub retry_interval: Duration,
    /// Whether `tls_port` is wanted of a token, where the table has it
    pub tls_port: bool,
}

impl Default for DatabaseSettings {
    /// The defaults of oslo.db (`oslo_db/options.py`).
    fn default() -> Self {
        Self {
            connection: None,
            connection_parameters: None,
            mysql_sql_mode: Some("TRADITIONAL".to_owned()),
            mysql_wsrep_sync_wait: None,
            recycle: Some(Duration::from_secs(3_600)),
            pool_size: None,
            patience: None,
            retry_interval: Duration::from_secs(10),
            tls_port: false,
        }
    }
}

/// What the proxy needs of a row of `console_auth_tokens` (`nova/db/main/models.py`, `ConsoleAuthToken`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// `console_type`, as stored
    pub console_type: String,
    /// `host`
    pub host: String,
    /// `port`, as stored
    pub port: i64,
    /// `tls_port`, as stored; none where the table lacks it, or nobody wants it
    pub tls_port: Option<i64>,
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
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SqlError {
    /// No `[database] connection`: oslo.db's text (`oslo_db/sqlalchemy/enginefacade.py`).
    #[error("No sql_connection parameter is established")]
    NotConfigured,
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached now.
    #[error("could not connect to the database: {0}")]
    Connect(String),
    /// The database can be reached, and will not have us; or the file is not there.
    #[error("could not open the database: {0}")]
    Refused(String),
    /// The connection broke during a query.
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// A query was not answered.
    #[error("the database did not answer a query within {} ms", .0.as_millis())]
    Silent(Duration),
    /// A query failed.
    #[error("the database refused a query: {0}")]
    Query(String),
    /// All connections stayed busy.
    #[error("no database connection became free in {} ms", .0.as_millis())]
    Busy(Duration),
}

impl SqlError {
    /// Whether it may be over in a moment.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Lost(_) | Self::Silent(_) | Self::Busy(_))
    }
}

/// The cell database, opened at the first look-up.
#[derive(Debug)]
pub struct CellDatabase {
    pool: Result<Pool, SqlError>,
    misses: Mutex<Misses>,
}

impl CellDatabase {
    /// The database behind `[database] connection`. Nothing is contacted; a URL that cannot be used is
    /// logged now and refused at each look-up, so that the web files are served all the same. Files that the
    /// URL names are read now, so this blocks.
    ///
    /// Relative SQLite paths are taken from `directory`.
    #[must_use]
    pub fn new(settings: &DatabaseSettings, directory: &Path, limits: &Limits) -> Self {
        let mut warnings = Vec::new();
        let target = match settings.connection.as_ref().filter(|url| !url.is_empty()) {
            Some(url) => Target::new(url, settings, directory, &mut warnings).map_err(SqlError::Url),
            None => Err(SqlError::NotConfigured),
        };
        warnings.iter().for_each(|warning| warn!("{warning}"));
        if let Err(reason @ SqlError::Url(_)) = &target {
            error!("[database] connection cannot be used, no token will be accepted: {reason}");
        }
        let misses = Misses::new(duration(limits.unknown_token_ms), size(limits.unknown_tokens_max));
        Self {
            pool: target.map(|target| Pool::new(target, bounds(settings, limits), settings.tls_port)),
            misses: Mutex::new(misses),
        }
    }

    /// The token row of `hash` that expires after `now` (seconds since 1970, strictly), and its instance.
    ///
    /// An unknown token takes as many queries as a known one: one, or two where the tables cannot be joined. A token
    /// that led to nothing is not looked up again for `unknown_token_ms`.
    ///
    /// # Errors
    ///
    /// [`SqlError`], naming the real cause.
    pub async fn look_up(&self, hash: &TokenHash, now: i64) -> Result<Rows, SqlError> {
        let known = || {
            let is_known = self.lock_misses().contains(hash, Instant::now());
            is_known.then_some(Rows { token: None, instance: None })
        };
        if let Some(rows) = known() {
            return Ok(rows);
        }
        // Of many that come with the same dead token at once, few ask.
        let rows = self.ask(hash, now, known).await?;
        if rows.token.is_none() || rows.instance.is_none() {
            self.lock_misses().note(hash, Instant::now());
        }
        Ok(rows)
    }

    /// Whether a token could be looked up now, tables included.
    ///
    /// # Errors
    ///
    /// What [`CellDatabase::look_up`] would say.
    pub async fn probe(&self) -> Result<(), SqlError> {
        // Nobody has a token with this hash, nor one that expires then.
        self.ask(&TokenHash([0; 32]), i64::from(i32::MAX), || None).await.map(drop)
    }

    async fn ask(
        &self,
        hash: &TokenHash,
        now: i64,
        meanwhile: impl Fn() -> Option<Rows>,
    ) -> Result<Rows, SqlError> {
        match &self.pool {
            Ok(pool) => pool.rows(hash, now, meanwhile).await,
            Err(reason) => Err(reason.clone()),
        }
    }

    fn lock_misses(&self) -> std::sync::MutexGuard<'_, Misses> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounds(settings: &DatabaseSettings, limits: &Limits) -> Bounds {
    let wait = duration(limits.database_timeout_ms.min(limits.authorize_timeout_ms));
    let connections = size(limits.database_connections_max);
    Bounds {
        wait,
        patience: settings.patience.unwrap_or(wait).min(wait),
        retry_interval: settings.retry_interval,
        recycle: settings.recycle,
        connections: settings.pool_size.unwrap_or(connections).min(connections),
    }
}
