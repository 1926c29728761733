//! Sessions set up and ended again: connect, upgrade, the compute node's first bytes, goodbye.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::account::Account;
use crate::args::Args;
use crate::station::{Role, Station};
use crate::tenant::Tenant;

/// What RFB servers say first (RFC 6143 section 7.1.1).
const BANNER: &[u8] = b"RFB 003.008\n";

/// Tenants that connect at the same time.
const TENANTS: usize = 4;

pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let node = Station::listen(args.listen, Role::Banner(BANNER))?;
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (used, count, seconds) = thread::scope(|scope| {
        let tenants: Vec<_> = (0..TENANTS)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let mut tenant = Tenant::connect(args)?;
                        if tenant.take(BANNER.len())? != BANNER {
                            return Err("the compute node's first bytes came changed".into());
                        }
                        tenant.close()?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Outcome::Ok(())
                })
            })
            .collect();
        thread::sleep(args.warm);
        let account = Account::new(args);
        let (used, count, begun) = (account.used(), done.load(Ordering::Relaxed), Instant::now());
        thread::sleep(args.window);
        let figures =
            (account.used().since(used), done.load(Ordering::Relaxed) - count, begun.elapsed().as_secs_f64());
        stop.store(true, Ordering::Relaxed);
        for tenant in tenants {
            tenant.join().unwrap_or_else(|_| Err("a tenant panicked".into()))?;
        }
        Outcome::Ok(figures)
    })?;
    node.stop()?;
    if count == 0 {
        return Err("no session was set up in time".into());
    }
    Ok(json!({
        "sessions": count,
        "per_s": count as f64 / seconds,
        "cpu_us_each": used.cpu_ns as f64 / 1e3 / count as f64,
    }))
}
