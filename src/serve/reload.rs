//! SIGHUP: the configuration is read again, and what may change at run time does.
//!
//! As with oslo.config (`ConfigOpts.mutate_config_files`) these are the options that are declared mutable; the
//! others are named in a warning and keep their values.

use std::ffi::OsString;
use std::path::PathBuf;

use consolegate::control::config::{self, Config, DEFAULT, Value, Values};
use consolegate::telemetry::labels::Outcome;
use consolegate::telemetry::log::Logger;
use consolegate::telemetry::metrics::metrics;
use tracing::{error, info, warn};

/// Logger of oslo.config's lines.
const TARGET: &str = "oslo_config.cfg";
/// Options that a reload changes: those of Nova's that are mutable and that we have.
const MUTABLE: [(&str, &str); 2] = [(DEFAULT, "debug"), (DEFAULT, "log_config_append")];

/// What a reload starts from.
pub(super) struct Reloader {
    argv: Vec<OsString>,
    /// Where relative paths begin: a daemon has left it
    directory: PathBuf,
    /// What the process was started with
    first: Values,
    /// What is in effect
    last: Values,
    warnings: Vec<String>,
}

impl Reloader {
    pub(super) fn new(argv: Vec<OsString>, directory: PathBuf, config: &Config) -> Self {
        let values = config.values.clone();
        Self { argv, directory, first: values.clone(), last: values, warnings: config.warnings.clone() }
    }

    /// Reads everything again. What is broken is an error line, and the old configuration stays.
    pub(super) fn reload(&mut self, logger: &Logger) {
        let outcome = match self.read() {
            Ok(config) => {
                self.apply(config, logger);
                Outcome::Ok
            }
            Err(reason) => {
                error!("The configuration could not be read again, the old one stays: {reason}");
                Outcome::Failed
            }
        };
        metrics().config_reload.of(outcome).add(1);
        logger.reopen();
        read_log_config(logger);
    }

    fn read(&self) -> Result<Config, String> {
        // All that is relative was made absolute at start, so nobody else looks at the working directory.
        let before = std::env::current_dir();
        std::env::set_current_dir(&self.directory)
            .map_err(|error| format!("{}: {error}", self.directory.display()))?;
        let config = config::load(&self.argv, &|name| std::env::var_os(name));
        if let Ok(before) = before {
            let _ = std::env::set_current_dir(before);
        }
        config.map_err(|exit| exit.complaint())
    }

    fn apply(&mut self, config: Config, logger: &Logger) {
        for warning in config.warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            warn!(target: TARGET, "{warning}");
        }
        for (group, name) in changes(&self.first, &config.values) {
            if !MUTABLE.contains(&(group, name)) {
                let name =
                    config::find(group, name).and_then(|option| option.flag).map_or(name, |flag| flag.name);
                warn!(target: TARGET, "Ignoring change to immutable option {group}.{name}");
            }
        }
        for (group, name) in changes(&self.last, &config.values) {
            if MUTABLE.contains(&(group, name)) {
                let (old, new) = (text(&self.last, group, name), text(&config.values, group, name));
                let flag =
                    config::find(group, name).and_then(|option| option.flag).map_or(name, |flag| flag.name);
                // Before the line: who reads it may count on it.
                if name == "debug" {
                    logger.set_debug(config.log.debug);
                }
                info!(target: TARGET, "Option {group}.{flag} changed from [{old}] to [{new}]");
            }
        }
        if let Err(reason) = logger.configure(config.log.config.as_deref()) {
            error!("{reason}");
        }
        self.warnings = config.warnings;
        self.last = config.values;
    }
}

/// Reads the logging configuration file again if it was changed.
pub(super) fn read_log_config(logger: &Logger) {
    let Some(path) = logger.config() else { return };
    match logger.configure(Some(&path)) {
        Ok(true) => info!("The logging configuration was read again: {}", path.display()),
        Ok(false) => {}
        Err(reason) => error!("{reason}"),
    }
}

/// The options that have another value, or have one where they had none.
fn changes(old: &Values, new: &Values) -> Vec<(&'static str, &'static str)> {
    let configured = |values: &Values, group, name| {
        values.is_configured(group, name).then(|| values.value(group, name).clone())
    };
    new.iter()
        .map(|(group, name, _)| (group, name))
        .filter(|(group, name)| configured(old, group, name) != configured(new, group, name))
        .collect()
}

/// A value as it usually stands in a file, which is what oslo.config shows; without one, Python's `None`.
fn text(values: &Values, group: &str, name: &str) -> String {
    match values.value(group, name) {
        _ if !values.is_configured(group, name) => "None".to_owned(),
        Value::Unset => "None".to_owned(),
        Value::Bool(on) => on.to_string(),
        value => value.to_string(),
    }
}
