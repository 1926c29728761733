//! The slow path: whatever blocks, on one thread named `control` that no worker ever waits for.

pub mod sql;
pub mod token_tool;

/// Our clock: whole seconds since 1970, UTC, as `oslo_utils.timeutils.utcnow_ts` gives them.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
