//! What idle sessions cost in process memory.

use std::thread;

use serde_json::{Value, json};

use crate::Outcome;
use crate::account::Account;
use crate::args::Args;
use crate::station::{Role, Station};
use crate::tenant::Tenant;

/// Sessions opened before the books are opened, so that what a process allocates once is not counted.
const WARM_SESSIONS: usize = 8;

/// How often the books are looked at on the way.
const PARTS: usize = 4;

pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let node = Station::listen(args.listen, Role::Echo)?;
    let account = Account::new(args);
    let warm = Tenant::connect_all(args, WARM_SESSIONS, true)?;
    thread::sleep(args.warm);
    let before = account.memory();
    let (mut tenants, mut curve) = (Vec::new(), Vec::new());
    for part in 1..=PARTS {
        tenants.extend(Tenant::connect_all(args, args.sessions * part / PARTS - tenants.len(), true)?);
        thread::sleep(args.window / u32::try_from(PARTS)?);
        curve.push(json!([tenants.len(), account.memory()]));
    }
    let (after, processes) = (account.memory(), account.process_count());
    drop((warm, tenants));
    node.stop()?;
    Ok(json!({
        "sessions": args.sessions,
        "processes": processes,
        "bytes_each": (after as f64 - before as f64) / args.sessions as f64,
        "bytes_total": after,
        "curve": curve,
    }))
}
