//! Whether the program lives, and whether it is ready.
//!
//! It lives while its workers answer. It is ready while it lives and is not draining; a database or a message
//! bus that does not answer degrades it, but a load balancer gains nothing from taking it away: the next proxy
//! asks the same database. `strict_readiness` says otherwise.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout, timeout_at};

use super::Office;
use crate::control::unix_now;
use crate::session::Traffic;
use crate::session::limits::duration;
use crate::telemetry::metrics::metrics;

/// How long a worker may take to answer. It never does anything that takes a thousandth of that.
const WORKER_LIMIT: Duration = Duration::from_secs(2);

/// How long a probe of the database or the message bus may take: a probe of ours must not outlast the
/// prober's patience.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// One thing that was looked at.
struct Check {
    name: &'static str,
    /// A failure degrades, and no more
    soft: bool,
    result: Result<String, String>,
}

/// What came of all checks.
pub(super) struct Report {
    /// Whether the answer is yes
    pub(super) ok: bool,
    /// For whoever wants to know why
    pub(super) detail: Value,
}

/// Asks the workers what the relays among `numbers` have carried. Says also how many of them did not answer.
pub(super) async fn ask_workers(office: &Office, numbers: Arc<[u64]>) -> (Vec<Traffic>, usize, usize) {
    let (sender, mut answers) = unbounded_channel();
    let reply = Arc::new(move |traffic| {
        // Nobody waits for an answer that comes too late.
        let _ = sender.send(traffic);
    });
    let asked = office.workers.traffic(numbers, reply);
    let until = Instant::now() + WORKER_LIMIT;
    let (mut all, mut missing) = (Vec::new(), asked);
    while missing > 0
        && let Ok(Some(traffic)) = timeout_at(until, answers.recv()).await
    {
        all.extend(traffic);
        missing -= 1;
    }
    (all, asked, missing)
}

/// `/livez`
pub(super) async fn live(office: &Office) -> Report {
    let workers = workers(office).await;
    report(vec![workers], false, ["alive", "alive", "stuck"])
}

/// `/readyz`
pub(super) async fn ready(office: &Office) -> Report {
    let draining = metrics().is_draining();
    let disabled = is_disabled(office).await;
    let mut checks = vec![
        workers(office).await,
        Check {
            name: "draining",
            soft: false,
            result: if draining { Err("no new session is taken".to_owned()) } else { Ok("no".to_owned()) },
        },
        Check {
            name: "disable_file",
            soft: false,
            result: if disabled { Err("it exists".to_owned()) } else { Ok("absent".to_owned()) },
        },
        database(office).await,
    ];
    checks.extend(message_bus(office).await);
    checks.extend(certificate(metrics().cert_not_after.get(), unix_now()));
    report(checks, office.settings.strict, ["ready", "degraded", "not ready"])
}

/// Whether an operator took the program out of service by a file.
pub(super) async fn is_disabled(office: &Office) -> bool {
    match &office.settings.disable_file {
        Some(path) => tokio::fs::try_exists(path).await.unwrap_or(false),
        None => false,
    }
}

async fn workers(office: &Office) -> Check {
    let (_, asked, missing) = ask_workers(office, Arc::from([])).await;
    let text = format!("{} of {asked} answer", asked - missing);
    let result = if missing == 0 && asked > 0 { Ok(text) } else { Err(text) };
    Check { name: "workers", soft: false, result }
}

async fn database(office: &Office) -> Check {
    let age = duration(office.limits.readiness_age_ms);
    let result = match timeout(PROBE_LIMIT, office.desk.consoleauth().database_answers(age)).await {
        Ok(result) => result.map(|()| "answers".to_owned()),
        Err(_) => Err(format!("no answer within {} s", PROBE_LIMIT.as_secs())),
    };
    Check { name: "database", soft: true, result }
}

/// None without a certificate for browsers. One that has expired is still served, and a load balancer may not look
/// at it: soft.
fn certificate(not_after_unix_s: u64, now_unix_s: i64) -> Option<Check> {
    let not_after = i64::try_from(not_after_unix_s).ok().filter(|not_after| *not_after != 0)?;
    let date = jiff::Timestamp::from_second(not_after).map(|at| at.to_string()).unwrap_or_default();
    let result = if not_after < now_unix_s {
        Err(format!("expired at {date}"))
    } else {
        Ok(format!("good until {date}"))
    };
    Some(Check { name: "certificate", soft: true, result })
}

/// None where ports are not checked.
async fn message_bus(office: &Office) -> Option<Check> {
    let age = duration(office.limits.readiness_age_ms);
    let result = match timeout(PROBE_LIMIT, office.desk.consoleauth().bus_answers(age)).await {
        Ok(result) => result?,
        Err(_) => Err(format!("no answer within {} s", PROBE_LIMIT.as_secs())),
    };
    Some(Check { name: "message_bus", soft: true, result })
}

/// `names` are those of yes, of yes with a soft failure, and of no.
fn report(checks: Vec<Check>, strict: bool, names: [&str; 3]) -> Report {
    let failed = |soft: bool| checks.iter().any(|check| check.soft == soft && check.result.is_err());
    let is_broken = failed(false) || (strict && failed(true));
    let ok = !is_broken;
    let [yes, degraded, no] = names;
    let status = match (ok, failed(true)) {
        (false, _) => no,
        (true, true) => degraded,
        (true, false) => yes,
    };
    let mut details = serde_json::Map::new();
    for Check { name, soft, result } in checks {
        let ok = result.is_ok();
        let text = result.unwrap_or_else(|text| text);
        details.insert(name.to_owned(), json!({ "ok": ok, "soft": soft, "detail": text }));
    }
    Report { ok, detail: json!({ "status": status, "checks": details }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(soft: bool, ok: bool) -> Check {
        let result = if ok { Ok(String::new()) } else { Err(String::new()) };
        Check { name: if soft { "soft" } else { "hard" }, soft, result }
    }

    #[test]
    fn a_soft_failure_degrades_unless_readiness_is_strict() {
        for (hard, soft, strict, ok, status) in [
            (true, true, false, true, "ready"),
            (true, false, false, true, "degraded"),
            (true, false, true, false, "not ready"),
            (false, true, false, false, "not ready"),
        ] {
            let report = report(
                vec![check(false, hard), check(true, soft)],
                strict,
                ["ready", "degraded", "not ready"],
            );
            assert_eq!((report.ok, report.detail["status"].as_str()), (ok, Some(status)));
        }
    }
}
