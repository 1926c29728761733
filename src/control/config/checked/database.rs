//! `[database]`: which database, and what Nova's options mean for a few lasting connections.

use std::time::Duration;

use super::OWN;
use super::read::Read;
use crate::control::DatabaseSettings;
use crate::secret::Secret;

/// Longest time an option of this group can mean.
const SECONDS_MAX: u64 = 86_400 * 365;

/// What the options say of the database.
pub(super) fn settings(read: &Read<'_>) -> DatabaseSettings {
    let positive = |name| read.int("database", name).and_then(|value| u64::try_from(value).ok());
    let seconds = |name| positive(name).map(|value| Duration::from_secs(value.min(SECONDS_MAX)));
    // A negative or zero pause is none.
    let retry_interval = seconds("retry_interval").unwrap_or_default();
    DatabaseSettings {
        connection: connection(read),
        connection_parameters: read.secret("database", "connection_parameters"),
        mysql_sql_mode: read.text("database", "mysql_sql_mode").map(str::to_owned),
        mysql_wsrep_sync_wait: read.int("database", "mysql_wsrep_sync_wait"),
        // SQLAlchemy: -1 never recycles.
        recycle: seconds("connection_recycle_time"),
        pool_size: positive("max_pool_size")
            .filter(|size| *size > 0)
            .and_then(|size| usize::try_from(size).ok()),
        // oslo.db: -1 retries for ever, which [consolegate] database_timeout_ms bounds.
        patience: positive("max_retries")
            .map(|retries| retry_interval.saturating_mul(u32::try_from(retries).unwrap_or(u32::MAX))),
        retry_interval,
        tls_port: read.is_on(OWN, "spice_tls"),
    }
}

/// Looking a token up is a read: it may go to the replica where the operator says so
/// (`oslo_db/sqlalchemy/enginefacade.py`, `_TransactionFactory._create_connection`).
fn connection(read: &Read<'_>) -> Option<Secret> {
    let replica = read.secret("database", "slave_connection");
    match replica.filter(|_| !read.is_on("database", "synchronous_reader")) {
        Some(replica) => Some(replica),
        None => read.secret("database", "connection"),
    }
}
