//! What a look-up asks the database: one statement for the token and its instance.

use std::sync::Arc;

use super::link::{Argument, Link, Row};
use super::target::Dialect;
use super::{InstanceRow, NIL_UUID, Rows, TokenRow};
use crate::console::TokenHash;

const TOKEN: &str = "t.console_type, t.host AS host, INT(t.port), t.internal_access_path, t.instance_uuid, \
     INT(t.expires), t.access_url_base";

const INSTANCE: &str = "INT(i.id), i.host AS instance_host";

const OF_A_TOKEN: &str = "WHERE t.token_hash = ? AND t.expires > ? LIMIT 1";

// In `instances` a deleted row holds its own id in `deleted`; 0 is a live one.
const JOIN: &str = "LEFT JOIN instances i ON i.uuid = t.instance_uuid AND i.deleted = 0";

const SELECT_INSTANCE: &str = "FROM instances i WHERE i.uuid = ? AND i.deleted = 0 LIMIT 1";

/// The statements, in the database's dialect.
#[derive(Debug)]
pub(super) struct Statements {
    lean: Queries,
    tls_port: Option<TlsPort>,
    /// The second of two
    instance: Arc<str>,
    /// Where it matters: a row with how many collations the two columns have that a join compares
    collations: Option<Arc<str>>,
}

/// Two ways to ask for the same.
#[derive(Debug)]
struct Queries {
    /// The token and its instance
    both: Arc<str>,
    /// The first of two
    token: Arc<str>,
}

/// Where a `tls_port` is wanted: whether there is one, and the queries that have it.
#[derive(Debug)]
struct TlsPort {
    exists: Arc<str>,
    queries: Queries,
}

/// What the catalogue says of the tables. It is asked once per connection: an upgrade of the tables is seen by those
/// that are made after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    has_tls_port: bool,
    /// After years of upgrades MySQL's two tables may have different collations, which makes a join slow or an error.
    can_join: bool,
}

impl Statements {
    pub(super) fn new(dialect: Dialect, tls_port: bool) -> Self {
        let queries = |more: &str| Queries {
            both: dialect.sql(&format!(
                "SELECT {TOKEN}{more}, {INSTANCE} FROM console_auth_tokens t {JOIN} {OF_A_TOKEN}"
            )),
            token: dialect.sql(&format!("SELECT {TOKEN}{more} FROM console_auth_tokens t {OF_A_TOKEN}")),
        };
        Self {
            lean: queries(""),
            tls_port: tls_port.then(|| TlsPort {
                exists: dialect.has_column("console_auth_tokens", "tls_port"),
                queries: queries(", INT(t.tls_port)"),
            }),
            instance: dialect.sql(&format!("SELECT {INSTANCE} {SELECT_INSTANCE}")),
            collations: dialect.collations([("console_auth_tokens", "instance_uuid"), ("instances", "uuid")]),
        }
    }

    /// What the token and its instance are. `shape` is the connection's, if it was ever asked for.
    pub(super) async fn run(
        &self,
        link: &mut Link,
        shape: &mut Option<Shape>,
        hash: &TokenHash,
        now: i64,
    ) -> Result<Rows, sqlx::Error> {
        let known = match *shape {
            Some(known) => known,
            None => *shape.insert(self.shape(link).await?),
        };
        let queries = match &self.tls_port {
            Some(tls_port) if known.has_tls_port => &tls_port.queries,
            _ => &self.lean,
        };
        let hash = hash.to_hex();
        let arguments = [Argument::Text(&hash), Argument::Integer(now)];
        if known.can_join {
            let rows = link.fetch(&queries.both, &arguments).await?;
            let Some(row) = rows.first() else { return Ok(Rows { token: None, instance: None }) };
            return Ok(Rows { token: Some(token_row(row)?), instance: instance_row(row)? });
        }
        let rows = link.fetch(&queries.token, &arguments).await?;
        let token = rows.first().map(token_row).transpose()?;
        let uuid = token.as_ref().map_or(NIL_UUID, |token| &token.instance_uuid);
        let rows = link.fetch(&self.instance, &[Argument::Text(uuid)]).await?;
        let instance = rows.first().map(instance_row).transpose()?.flatten();
        Ok(Rows { token, instance })
    }

    async fn shape(&self, link: &mut Link) -> Result<Shape, sqlx::Error> {
        let has_tls_port = match &self.tls_port {
            Some(tls_port) => !link.fetch(&tls_port.exists, &[]).await?.is_empty(),
            None => false,
        };
        let can_join = match &self.collations {
            Some(collations) => match link.fetch(collations, &[]).await?.first() {
                Some(row) => row.get::<i64>("collations")? <= 1,
                None => false,
            },
            None => true,
        };
        Ok(Shape { has_tls_port, can_join })
    }
}

fn token_row(row: &Row) -> Result<TokenRow, sqlx::Error> {
    Ok(TokenRow {
        console_type: row.get("console_type")?,
        host: row.get("host")?,
        port: row.get("port")?,
        tls_port: if row.has("tls_port") { row.get("tls_port")? } else { None },
        internal_access_path: row.get("internal_access_path")?,
        instance_uuid: row.get("instance_uuid")?,
        expires: row.get("expires")?,
        access_url_base: row.get("access_url_base")?,
    })
}

/// None where a join found no instance.
fn instance_row(row: &Row) -> Result<Option<InstanceRow>, sqlx::Error> {
    let Some(id) = row.get("id")? else { return Ok(None) };
    Ok(Some(InstanceRow { id, host: row.get("instance_host")? }))
}
