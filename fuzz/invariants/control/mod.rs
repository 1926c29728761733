//! The parsers of the slow path, from their own files: they need neither tokio nor a database driver, and the fuzz
//! targets are built without both. `crate::secret`, `crate::session` and `crate::console` have to be in the root of
//! the target that includes this.
#![allow(dead_code, unused_imports, reason = "only the parsers are called, not what stands beside them")]

pub(crate) mod config;
#[path = "../../../src/control/sql/url.rs"]
pub(crate) mod database_url;
pub(crate) mod rpc;
