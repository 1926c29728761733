//! From a token to the console it opens: what Nova's proxies do in
//! `nova/console/websocketproxy.py`, `_get_connect_info_database`.

use std::cell::RefCell;
use std::time::{self, Duration};

use tokio::time::Instant;
use tracing::{error, warn};

use super::rpc::{Compute, PortQuestion, RpcSettings};
use super::sql::{CellDatabase, InstanceRow, Rows, TokenRow};
use super::unix_now;
use crate::console::{ConnectInfo, ConsoleType, TokenHash};
use crate::session::AuthorizeError;
use crate::telemetry::labels::Verdict;
use crate::telemetry::metrics::metrics;

/// `[consolegate] port_check`: whether the compute node is asked if the port still is this instance's.
/// After a migration another instance may listen there (CVE-2013-0335): without the
/// check a token opens whatever console has the port now.
#[derive(Clone, Debug)]
pub enum PortCheck {
    /// Over Nova's message bus, `validate_console_port`. Fails closed.
    Rpc(Box<RpcSettings>),
    /// Not at all: for sites without Nova's bus.
    Off,
}

/// Longest text of a row that is believed: the columns are VARCHAR(255), but not every database says no.
const COLUMN_CHARS_MAX: usize = 255;

/// How much earlier than the session the port check gives up, at most: its reason shall be there in time.
const MARGIN_MAX: Duration = Duration::from_millis(100);

/// Decides over tokens.
#[derive(Debug)]
pub struct ConsoleAuth {
    database: CellDatabase,
    /// None where ports are not checked
    compute: Option<Compute>,
    /// What the database said last, and when
    database_seen: RefCell<Option<(Instant, Result<(), String>)>>,
}

impl ConsoleAuth {
    /// Decides with what is in `database`. [`PortCheck::Off`] is logged, once.
    #[must_use]
    pub fn new(database: CellDatabase, port_check: PortCheck) -> Self {
        let compute = match port_check {
            PortCheck::Rpc(settings) => Some(Compute::new(*settings)),
            PortCheck::Off => {
                warn!(
                    "[consolegate] port_check = off: a token is not checked against the compute node, and may \
                     open another instance's console after a migration"
                );
                None
            }
        };
        Self { database, compute, database_seen: RefCell::default() }
    }

    /// What the token with this hash opens. The port check ends shortly before `deadline`; the look-up has to be
    /// given up by the caller.
    ///
    /// Unknown, expired and mismatching tokens take the same queries and give the same answer.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`]; no text in it holds the token, its hash or the database's credentials.
    pub async fn authorize(
        &self,
        hash: &TokenHash,
        deadline: Instant,
    ) -> Result<ConnectInfo, AuthorizeError> {
        let margin = MARGIN_MAX.min(deadline.saturating_duration_since(Instant::now()) / 10);
        let begun = time::Instant::now();
        let rows = self.look_up(hash).await;
        let found = rows.map_err(AuthorizeError::Database).and_then(judge);
        let verdict = match &found {
            Ok(_) => Verdict::Accepted,
            Err(AuthorizeError::Database(_)) => Verdict::Failed,
            Err(_) => Verdict::Refused,
        };
        metrics().token_lookup.of(verdict).observe(begun.elapsed());
        let found = found?;
        if let Some(compute) = &self.compute {
            check_port(compute, &found, deadline - margin).await?;
        }
        Ok(found.info)
    }

    async fn look_up(&self, hash: &TokenHash) -> Result<Rows, String> {
        let rows = self.database.look_up(hash, unix_now()).await;
        let rows = rows.map_err(|reason| reason.to_string());
        self.database_seen.replace(Some((Instant::now(), rows.as_ref().map(|_| ()).map_err(Clone::clone))));
        rows
    }

    /// Whether the database answers; what is known of that counts for `age`. Then it is asked for a token that
    /// nobody can have.
    ///
    /// # Errors
    ///
    /// What it said, without credentials.
    pub async fn database_answers(&self, age: Duration) -> Result<(), String> {
        let seen = self.database_seen.borrow().clone();
        match seen {
            Some((at, result)) if at.elapsed() < age => result,
            _ => {
                let answers = self.database.probe().await.map_err(|reason| reason.to_string());
                self.database_seen.replace(Some((Instant::now(), answers.clone())));
                answers
            }
        }
    }

    /// [`Compute::bus_answers`]. None where ports are not checked.
    pub async fn bus_answers(&self, age: Duration) -> Option<Result<String, String>> {
        Some(self.compute.as_ref()?.bus_answers(age).await)
    }

    /// Ends what is kept open.
    pub async fn close(&self) {
        if let Some(compute) = &self.compute {
            compute.close().await;
        }
    }
}

/// Asks the compute service whether the console still is where the token says. A no is an invalid token, as in
/// Nova's `_check_console_port`; not knowing is a failure of its own. Both open nothing.
async fn check_port(
    compute: &Compute,
    Found { info, port, instance }: &Found,
    deadline: Instant,
) -> Result<(), AuthorizeError> {
    let host = instance.host.as_deref().unwrap_or_default();
    let question = PortQuestion {
        instance_id: instance.id,
        instance_uuid: &info.instance_uuid,
        host,
        port: *port,
        console_type: info.console_type,
    };
    let begun = time::Instant::now();
    let answer = compute.validate_console_port(&question, deadline).await;
    let verdict = match &answer {
        Ok(true) => Verdict::Accepted,
        Ok(false) => Verdict::Refused,
        Err(_) => Verdict::Failed,
    };
    metrics().rpc_call.of(verdict).observe(begun.elapsed());
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => {
            warn!(
                instance_uuid = info.instance_uuid,
                "refused a token: nova-compute on {host} says that port {port} is not the instance's {} console",
                info.console_type.as_str()
            );
            Err(AuthorizeError::TokenInvalid)
        }
        Err(reason) => {
            error!(
                instance_uuid = info.instance_uuid,
                "refused a token: validate_console_port on {host} failed: {reason}"
            );
            Err(AuthorizeError::PortCheck(reason.to_string()))
        }
    }
}

/// What the rows say, before the port check.
struct Found {
    info: ConnectInfo,
    /// As it stands in the row: Nova compares it as a text
    port: i64,
    instance: InstanceRow,
}

fn judge(rows: Rows) -> Result<Found, AuthorizeError> {
    // A deleted instance is an invalid token: `InstanceNotFound` becomes `InvalidToken` in Nova, too.
    let (Some(token), Some(instance)) = (rows.token, rows.instance) else {
        return Err(AuthorizeError::TokenInvalid);
    };
    if instance.host.as_ref().is_none_or(String::is_empty) {
        return Err(AuthorizeError::InstanceWithoutHost { instance_uuid: token.instance_uuid });
    }
    let port = token.port;
    Ok(Found { info: connect_info(token)?, port, instance })
}

/// A row that Nova cannot have written opens nothing.
fn connect_info(token: TokenRow) -> Result<ConnectInfo, AuthorizeError> {
    let Some(console_type) = ConsoleType::from_name(&token.console_type) else {
        warn!(
            instance_uuid = ?token.instance_uuid,
            "a row of console_auth_tokens has an unknown console_type: {:?}", shortened(&token.console_type)
        );
        return Err(AuthorizeError::TokenInvalid);
    };
    let port = usable_port(token.port);
    // SPICE may listen for TLS alone. The column must not be empty: -1 is libvirt's word for no port.
    let is_spice = matches!(console_type, ConsoleType::SpiceHtml5 | ConsoleType::SpiceDirect);
    if port.is_none() && !(is_spice && matches!(token.port, -1 | 0)) {
        warn!(instance_uuid = ?token.instance_uuid, "a row of console_auth_tokens has port {}", token.port);
        return Err(AuthorizeError::TokenInvalid);
    }
    let tls_port = token.tls_port.and_then(usable_port);
    let texts = [Some(&token.host), token.internal_access_path.as_ref(), token.access_url_base.as_ref()];
    if texts.into_iter().flatten().any(|text| text.chars().nth(COLUMN_CHARS_MAX).is_some()) {
        warn!(instance_uuid = ?token.instance_uuid, "a row of console_auth_tokens has a text over its column's length");
        return Err(AuthorizeError::TokenInvalid);
    }
    Ok(ConnectInfo {
        console_type,
        host: token.host,
        port,
        tls_port,
        internal_access_path: token.internal_access_path,
        instance_uuid: token.instance_uuid,
        expires: token.expires,
        access_url_base: token.access_url_base,
    })
}

fn usable_port(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn shortened(text: &str) -> String {
    text.chars().take(COLUMN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::sql::InstanceRow;

    fn rows(change: impl FnOnce(&mut TokenRow)) -> Rows {
        let mut token = TokenRow {
            console_type: "novnc".to_owned(),
            host: "192.0.2.7".to_owned(),
            port: 5900,
            tls_port: None,
            internal_access_path: None,
            instance_uuid: "11111111-2222-4333-8444-555555555555".to_owned(),
            expires: 2_000_000_000,
            access_url_base: None,
        };
        change(&mut token);
        Rows { token: Some(token), instance: Some(InstanceRow { id: 7, host: Some("compute1".to_owned()) }) }
    }

    #[test]
    fn a_complete_row_becomes_connect_info() {
        let Found { info, port, .. } = judge(rows(|_| {})).unwrap();
        assert_eq!(
            (info.console_type, info.host.as_str(), info.port, port),
            (ConsoleType::NoVnc, "192.0.2.7", Some(5900), 5900)
        );
        assert_eq!(info.expires, 2_000_000_000);
    }

    #[test]
    fn spice_may_have_a_port_for_tls_alone() {
        for (port, tls_port, expected) in [
            (5900, Some(5901), (Some(5900), Some(5901))),
            (-1, Some(5901), (None, Some(5901))),
            (0, Some(5901), (None, Some(5901))),
            (-1, Some(-1), (None, None)),
            (5900, Some(-1), (Some(5900), None)),
            (-1, Some(65_536), (None, None)),
        ] {
            let spice = |token: &mut TokenRow| {
                (token.console_type, token.port, token.tls_port) = ("spice-html5".to_owned(), port, tls_port);
            };
            let found = judge(rows(spice)).unwrap();
            assert_eq!((found.info.port, found.info.tls_port), expected);
            assert_eq!(found.port, port, "what nova-compute is asked about");
        }
        for port in [-2, 65_536, i64::MIN] {
            let spice = |token: &mut TokenRow| {
                (token.console_type, token.port) = ("spice-html5".to_owned(), port);
            };
            assert!(matches!(judge(rows(spice)), Err(AuthorizeError::TokenInvalid)), "{port}");
        }
    }

    #[test]
    fn rows_that_nova_cannot_have_written_are_invalid_tokens() {
        for (what, change) in [
            ("type", (|token| token.console_type = "NOVNC".to_owned()) as fn(&mut TokenRow)),
            ("port 0", |token| token.port = 0),
            ("port 65536", |token| token.port = 65_536),
            ("negative port", |token| token.port = -1),
            ("host", |token| token.host = "h".repeat(256)),
            ("path", |token| token.internal_access_path = Some("p".repeat(256))),
        ] {
            assert!(matches!(judge(rows(change)), Err(AuthorizeError::TokenInvalid)), "{what}");
        }
    }

    #[test]
    fn an_instance_that_is_gone_or_nowhere_opens_nothing() {
        let gone = Rows { instance: None, ..rows(|_| {}) };
        assert!(matches!(judge(gone), Err(AuthorizeError::TokenInvalid)));
        for host in [None, Some(String::new())] {
            let nowhere = Rows { instance: Some(InstanceRow { id: 7, host }), ..rows(|_| {}) };
            assert!(matches!(judge(nowhere), Err(AuthorizeError::InstanceWithoutHost { .. })));
        }
    }
}
