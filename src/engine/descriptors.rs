//! How many descriptors there are, and what that allows.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that are not sessions': listeners, engines, database, logs, web files.
const RESERVED: u64 = 64;

/// Raises the soft limit to the hard one, as a service with nothing to lose by it should. Returns the limit.
#[must_use]
pub fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!("the descriptor limit stays at {soft}: {error}");
            soft
        }
    }
}

/// How many descriptors this process may have open now.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Connections per worker that `descriptors` allow: two each, beside the two of every pipe, and 5 % kept back.
#[must_use]
pub fn sessions_max(descriptors: u64, pipes_max: u64, workers: usize) -> u64 {
    let elsewhere = RESERVED.saturating_add(pipes_max.saturating_mul(2));
    let usable = (descriptors / 100).saturating_mul(95).saturating_sub(elsewhere);
    (usable / 2 / u64::try_from(workers).unwrap_or(1).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_a_session_and_some_to_spare() {
        assert_eq!(sessions_max(20_000, 0, 2), (19_000 - 64) / 2 / 2);
        assert_eq!(sessions_max(20_000, 48, 2), (19_000 - 64 - 96) / 2 / 2);
        assert_eq!(sessions_max(10, 48, 8), 1, "a starved process still serves somebody");
    }
}
