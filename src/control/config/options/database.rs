//! The database of the cell (`oslo_db/options.py`).

use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::{ANY_INT, Kind};

const GROUP: &str = "database";

const OWN_POOL: &str = "[consolegate] database_connections_max and database_timeout_ms bound the connections";
const NOT_IN_NOVA: &str = "Nova's proxies do not use it";
const NO_DEBUG: &str = "statements are not logged";

pub(super) static DECLARED: &[OptionDef] = &[
    option(GROUP, "connection", Kind::Str, "Database of the cell, as SQLAlchemy writes it")
        .deprecated(&[(DEFAULT, "sql_connection"), (GROUP, "sql_connection"), ("sql", "connection")])
        .secret(),
    option(GROUP, "slave_connection", Kind::Str, "Replica to read from, if synchronous_reader is off")
        .secret(),
    option(GROUP, "synchronous_reader", Kind::Bool, "Read from connection even if there is a replica")
        .default("true"),
    option(GROUP, "connection_parameters", Kind::Str, "Appended to the query of the URL, as a=b&c=d")
        .default("")
        .secret(),
    option(GROUP, "mysql_sql_mode", Kind::Str, "sql_mode of MySQL sessions; empty leaves the server's")
        .default("TRADITIONAL"),
    option(GROUP, "mysql_wsrep_sync_wait", ANY_INT, "wsrep_sync_wait of MySQL sessions, for Galera"),
    option(GROUP, "connection_recycle_time", ANY_INT, "Seconds after which a connection is replaced")
        .default("3600")
        .deprecated(&[(GROUP, "idle_timeout"), (GROUP, "sql_idle_timeout"), (DEFAULT, "sql_idle_timeout")]),
    option(
        GROUP,
        "max_pool_size",
        ANY_INT,
        "Most connections, if that is fewer than [consolegate] database_connections_max; 0 is no limit",
    )
    .default("5")
    .deprecated(&[(GROUP, "sql_max_pool_size"), (DEFAULT, "sql_max_pool_size")]),
    option(
        GROUP,
        "max_retries",
        ANY_INT,
        "Times retry_interval, how long an unreachable database is waited for, at most [consolegate] \
         database_timeout_ms; -1 takes that",
    )
    .default("10")
    .deprecated(&[(GROUP, "sql_max_retries"), (DEFAULT, "sql_max_retries")]),
    option(GROUP, "retry_interval", ANY_INT, "Longest pause between attempts, in seconds, at most 2")
        .default("10")
        .deprecated(&[(GROUP, "reconnect_interval"), (DEFAULT, "sql_retry_interval")]),
    option(GROUP, "max_overflow", ANY_INT, "Connections beyond max_pool_size")
        .default("50")
        .no_effect(OWN_POOL),
    option(GROUP, "pool_timeout", ANY_INT, "Seconds to wait for a connection").no_effect(OWN_POOL),
    option(GROUP, "connection_debug", Kind::Int { min: 0, max: 100 }, "Logging of statements")
        .default("0")
        .no_effect(NO_DEBUG),
    option(GROUP, "connection_trace", Kind::Bool, "Python's stack in statements, as a comment")
        .default("false")
        .no_effect("there is no Python stack"),
    option(GROUP, "sqlite_synchronous", Kind::Bool, "Synchronous writes to SQLite")
        .default("true")
        .no_effect("nothing is written"),
    option(GROUP, "backend", Kind::Str, "Python library")
        .default("sqlalchemy")
        .deprecated(&[(DEFAULT, "db_backend")])
        .no_effect("there is no Python library"),
    option(GROUP, "asyncio_connection", Kind::Str, "URL for Python's asyncio")
        .secret()
        .no_effect(NOT_IN_NOVA),
    option(GROUP, "asyncio_slave_connection", Kind::Str, "Replica for Python's asyncio")
        .secret()
        .no_effect(NOT_IN_NOVA),
    option(GROUP, "use_db_reconnect", Kind::Bool, "Retries in oslo.db")
        .default("false")
        .no_effect(NOT_IN_NOVA),
    option(GROUP, "db_retry_interval", ANY_INT, "Retries in oslo.db").default("1").no_effect(NOT_IN_NOVA),
    option(GROUP, "db_inc_retry_interval", Kind::Bool, "Retries in oslo.db")
        .default("true")
        .no_effect(NOT_IN_NOVA),
    option(GROUP, "db_max_retry_interval", ANY_INT, "Retries in oslo.db")
        .default("10")
        .no_effect(NOT_IN_NOVA),
    option(GROUP, "db_max_retries", ANY_INT, "Retries in oslo.db").default("20").no_effect(NOT_IN_NOVA),
];
