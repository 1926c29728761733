//! As many bytes as the proxy moves, in one direction.

use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::account::Account;
use crate::args::Args;
use crate::station::{Role, Station};
use crate::tenant::Tenant;
use crate::wire::message;

pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let to_tenant = args.mode == "s2c";
    let payload = vec![0x5a; args.bytes];
    let node_role = if to_tenant { Role::Source(payload.clone()) } else { Role::Sink };
    let node = Station::listen(args.listen, node_role)?;
    let tenants = Tenant::connect_all(args, args.sessions, false)?;
    node.wait_for(args.sessions)?;
    let tenant_role = if to_tenant {
        Role::Sink
    } else {
        Role::Source(message(&payload, args.upgrade.is_some())?.repeat(args.batch))
    };
    let tenants = Station::of(tenants.into_iter().map(|tenant| tenant.stream).collect(), tenant_role)?;
    let (source, sink) = if to_tenant { (&node, &tenants) } else { (&tenants, &node) };

    source.go();
    thread::sleep(args.warm);
    let account = Account::new(args);
    let (bytes, used, begun) = (sink.received(), account.used(), Instant::now());
    thread::sleep(args.window);
    let (bytes, used) = (sink.received() - bytes, account.used().since(used));
    let seconds = begun.elapsed().as_secs_f64();
    tenants.stop()?;
    node.stop()?;
    if bytes == 0 {
        return Err("nothing came through".into());
    }
    let gigabytes = bytes as f64 / 1e9;
    Ok(json!({
        "bytes": bytes,
        "mb_per_s": gigabytes * 1e3 / seconds,
        "cpu_s_per_gb": used.cpu_s() / gigabytes,
        "cpu_share": used.cpu_s() / seconds,
        "switches_per_gb": used.switches as f64 / gigabytes,
    }))
}
