//! `load MODE OPTION...`: the load that `scripts/compare` puts on a proxy, with the tenants and the compute
//! node in one process, apart from the proxy's.
//!
//! ```text
//! MODE    s2c, c2s   bulk in one direction, in writes of --bytes
//!         echo       64-byte messages there and back, --rate a second, or one after the other with 0
//!         conn       sessions set up and ended again, four at a time
//!         idle       what --sessions idle sessions cost in memory
//!         verify     --bytes both ways through every session, each byte compared
//!         seal       no proxy: AES-256-GCM in place, records of --bytes, on this thread
//! --target PORT      where the proxy listens          --listen PORT    where the compute node does
//! --upgrade TARGET   request target of a WebSocket; a plain TCP proxy without it
//! --sessions N  --bytes N  --rate N  --warm-ms N  --millis N
//! --tls true         the tenants speak TLS 1.3 and trust any certificate
//! --idle N           echo: tenants beside the sessions that exchange one message and stay; measured by turns with
//!                    the sessions alone
//! --asleep true      echo: tenants and compute node sleep while they wait, so that the proxy has to wake them
//! --stalled N        echo: tenants beside the sessions that send until nothing moves, and never read
//! --pid N            the proxy, whose threads and children are measured
//! --cgroup DIR       its own cgroup (version 2), which counts the CPU of children that have exited too
//! ```
//!
//! Prints one line of JSON. Everything stays on the loopback address and ends by itself.

use std::error::Error;
use std::process::ExitCode;

mod account;
mod args;
mod bulk;
mod conn;
mod echo;
mod idle;
mod seal;
mod station;
mod tenant;
mod tls;
mod verify;
mod wire;

use args::Args;

/// Whatever went wrong; the run is void then.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<serde_json::Value> {
    let args = Args::parse(std::env::args().skip(1))?;
    let _most = consolegate::engine::descriptors::raise();
    match args.mode.as_str() {
        "s2c" | "c2s" => bulk::run(&args),
        "echo" => echo::run(&args),
        "conn" => conn::run(&args),
        "idle" => idle::run(&args),
        "seal" => seal::run(&args),
        "verify" => verify::run(&args),
        other => Err(format!("unknown mode {other}").into()),
    }
}
