//! The slow path: whatever blocks, on one thread named `control` that no worker ever waits for.
//!
//! Sessions ask through the trait [`Authorizer`](crate::session::Authorizer); each [`Question`] becomes a
//! task that is answered exactly once, also when it fails, takes too long or the process ends:
//!
//! * a token is looked up in the cell database ([`consoleauth`], [`sql`]), and its port checked over the
//!   message bus ([`rpc`]),
//! * a compute node's name is resolved,
//! * a web file is opened and read.
//!
//! Sessions also tell it things, without an answer: `recorder` writes recordings on a thread of its own, and
//! `directory` knows which consoles are open. `admin` shows that to operators, with probes and metrics.
//!
//! The thread runs a `tokio-uring` runtime where the kernel allows one, else plain tokio. It also takes the
//! process' signals. [`token_tool`] and [`options_tool`] are the subcommands `consolegate token` and `consolegate
//! options`, which run without any of this.
//!
//! Nothing is contacted at start: with database and name servers down, the program serves its web files.
//!
//! [`Question`]: crate::session::Question

mod admin;
mod answer;
pub mod certs;
pub mod config;
pub mod consoleauth;
mod desk;
mod directory;
mod files;
pub mod options_tool;
mod places;
pub mod reach;
mod recorder;
mod resolve;
pub mod rpc;
mod runtime;
mod signals;
pub mod sql;
mod thread;
pub mod token_tool;

pub use admin::AdminSettings;
pub use consoleauth::PortCheck;
pub use signals::{Command, HeldSignals};
pub use sql::DatabaseSettings;
pub use thread::{Control, ControlSettings};

/// Our clock: whole seconds since 1970, UTC, as `oslo_utils.timeutils.utcnow_ts` gives them.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
