//! Which levels which loggers log: Python's hierarchy of dotted names.

use tracing::level_filters::LevelFilter;

use super::record::Severity;

/// Names of our own loggers, or of Nova's and its libraries', where a line is theirs. All others belong to ours.
const OURS: [&str; 6] = ["consolegate", "nova", "oslo", "sqlalchemy", "amqp", "root"];
/// What a library logs from unless something names it: at INFO they report what concerns their own working.
const LIBRARY: u32 = 30;
/// Libraries that do what one of Nova's does, and follow its level.
const ALIASES: [(&str, &str); 1] = [("sqlx", "sqlalchemy")];
/// Libraries that never log. lapin says again what `control::rpc` says of a broker, and at its lowest level shows
/// the password that it logs in with.
const SILENT: [&str; 3] = ["lapin", "amq_protocol", "amq_protocol_tcp"];

/// Where each logger begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) root: u32,
    pub(super) loggers: Vec<(String, u32)>,
}

impl Levels {
    pub(super) fn allows(&self, target: &str, severity: Severity) -> bool {
        severity.number() >= self.of(&target.replace("::", "."))
    }

    /// The level of logger `name`: its own, or that of the nearest ancestor that has one. Of two entries for one
    /// name the last counts, as if `setLevel` were called twice.
    fn of(&self, name: &str) -> u32 {
        if SILENT.iter().any(|library| is_below(name, library)) {
            return u32::MAX;
        }
        let alias = ALIASES.iter().find(|(library, _)| is_below(name, library)).map(|(_, alias)| *alias);
        if let Some(level) = self.nearest(name).or_else(|| self.nearest(alias?)) {
            level
        } else if OURS.iter().any(|ours| name.starts_with(ours)) {
            self.root
        } else {
            self.root.max(LIBRARY)
        }
    }

    fn nearest(&self, name: &str) -> Option<u32> {
        let named = self.loggers.iter().filter(|(logger, level)| *level > 0 && is_below(name, logger));
        named.max_by_key(|(logger, _)| logger.len()).map(|(_, level)| *level)
    }

    /// The most that any logger logs.
    pub(super) fn most(&self) -> LevelFilter {
        let lowest = self.loggers.iter().map(|(_, level)| *level).filter(|level| *level > 0).min();
        match self.root.min(lowest.unwrap_or(self.root)) {
            0..=5 => LevelFilter::TRACE,
            6..=10 => LevelFilter::DEBUG,
            11..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            _ => LevelFilter::ERROR,
        }
    }
}

/// Whether `name` is `ancestor` or below it.
pub(super) fn is_below(name: &str, ancestor: &str) -> bool {
    name.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_ancestor_decides() {
        let logger = |name: &str, level| (name.to_owned(), level);
        let loggers = vec![
            logger("nova", 40),
            logger("nova.console", 10),
            logger("sqlalchemy", 20),
            logger("nova.console", 20),
            logger("lapin", 5),
        ];
        let levels = Levels { root: 20, loggers };
        for (name, level) in [
            ("nova", 40),
            ("nova.compute", 40),
            ("nova.console.websocketproxy", 20),
            ("novaclient", 20),
            ("consolegate.control", 20),
            ("sqlx.query", 20),
            ("lapin.io_loop", u32::MAX),
            ("tokio", 30),
        ] {
            assert_eq!(levels.of(name), level, "{name}");
        }
        assert!(levels.allows("nova::console", Severity::Info) && !levels.allows("nova", Severity::Warning));
        assert_eq!(levels.most(), LevelFilter::TRACE);
        assert_eq!(Levels { root: 10, loggers: Vec::new() }.most(), LevelFilter::DEBUG);
    }
}
