//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;

/// What to do to whom.
pub(crate) struct Args {
    pub(crate) mode: String,
    pub(crate) target: u16,
    pub(crate) listen: u16,
    /// `None` for plain TCP
    pub(crate) upgrade: Option<String>,
    pub(crate) sessions: usize,
    /// Tenants beside them that send and never read
    pub(crate) stalled: usize,
    /// Tenants beside them that exchange one message and no more
    pub(crate) idle: usize,
    /// Tenants and compute node sleep while they wait for an echo
    pub(crate) asleep: bool,
    /// The tenants speak TLS 1.3
    pub(crate) tls: bool,
    pub(crate) bytes: usize,
    /// Messages that a tenant hands over at once
    pub(crate) batch: usize,
    /// Messages a second over all sessions; 0 sends the next when the last came back
    pub(crate) rate: u64,
    pub(crate) warm: Duration,
    pub(crate) window: Duration,
    pub(crate) pid: Option<u32>,
    pub(crate) cgroup: Option<PathBuf>,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            mode: words.next().ok_or("usage: load MODE --target PORT --listen PORT ...")?,
            target: 0,
            listen: 0,
            upgrade: None,
            sessions: 1,
            stalled: 0,
            idle: 0,
            asleep: false,
            tls: false,
            bytes: 65_536,
            batch: 1,
            rate: 0,
            warm: Duration::from_millis(200),
            window: Duration::from_millis(800),
            pid: None,
            cgroup: None,
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--target" => args.target = value.parse()?,
                "--listen" => args.listen = value.parse()?,
                "--upgrade" => args.upgrade = Some(value),
                "--sessions" => args.sessions = value.parse()?,
                "--stalled" => args.stalled = value.parse()?,
                "--idle" => args.idle = value.parse()?,
                "--asleep" => args.asleep = value.parse()?,
                "--tls" => args.tls = value.parse()?,
                "--bytes" => args.bytes = value.parse()?,
                "--batch" => args.batch = value.parse()?,
                "--rate" => args.rate = value.parse()?,
                "--warm-ms" => args.warm = Duration::from_millis(value.parse()?),
                "--millis" => args.window = Duration::from_millis(value.parse()?),
                "--pid" => args.pid = Some(value.parse()?),
                "--cgroup" => args.cgroup = Some(value.into()),
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        if args.mode != "seal" && (args.target == 0 || args.listen == 0)
            || args.sessions == 0
            || args.bytes == 0
        {
            return Err("--target, --listen, --sessions and --bytes must not be 0".into());
        }
        Ok(args)
    }
}
