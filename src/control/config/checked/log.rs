//! Where and how to log.

use std::path::{Path, PathBuf};

use super::read::Read;
use crate::control::config::Exit;
use crate::control::config::options::DEFAULT;
use crate::telemetry::{
    FACILITIES, FACILITY_USER, Formats, LogSettings, RateLimit, Rotation, Sockets, When, facility, level,
};

/// `oslo_log/log.py`, `_setup_logging_from_conf`
pub(super) fn log_settings(read: &Read<'_>) -> Result<LogSettings, Exit> {
    let format = |name| read.whole_text(DEFAULT, name).to_owned();
    let (journal, syslog) = (read.is_on(DEFAULT, "use_journal"), read.is_on(DEFAULT, "use_syslog"));
    Ok(LogSettings {
        program: read.0.program.name().to_owned(),
        file: file(read),
        rotation: rotation(read)?,
        stderr: read.is_on(DEFAULT, "use_stderr"),
        color: read.is_on(DEFAULT, "log_color"),
        journal,
        syslog,
        // Checked where it counts only, as in oslo.log.
        facility: if journal || syslog { facility_of(read)? } else { FACILITY_USER },
        json: read.is_on(DEFAULT, "use_json"),
        debug: read.is_on(DEFAULT, "debug"),
        formats: Formats {
            context: format("logging_context_format_string"),
            default: format("logging_default_format_string"),
            debug_suffix: format("logging_debug_format_suffix"),
            exception_prefix: format("logging_exception_prefix"),
            user_identity: format("logging_user_identity_format"),
            instance_uuid: format("instance_uuid_format"),
            date: format("log_date_format"),
        },
        levels: read
            .list(DEFAULT, "default_log_levels")
            .iter()
            .map(|pair| level_of(pair))
            .collect::<Result<_, _>>()?,
        rate_limit: rate_limit(read),
        config: read.path(DEFAULT, "log_config_append"),
        sockets: Sockets::default(),
    })
}

/// `oslo_log/log.py`, `_get_log_file_path`
fn file(read: &Read<'_>) -> Option<PathBuf> {
    let file = match (read.text(DEFAULT, "log_dir"), read.text(DEFAULT, "log_file")) {
        (Some(directory), Some(file)) => Some(Path::new(directory).join(file)),
        (Some(directory), None) => Some(Path::new(directory).join(format!("{}.log", read.0.program.name()))),
        (None, file) => file.map(PathBuf::from),
    };
    file.map(|file| std::path::absolute(&file).unwrap_or(file))
}

fn rotation(read: &Read<'_>) -> Result<Rotation, Exit> {
    let number = |name: &str| read.int(DEFAULT, name).unwrap_or(0);
    let count = usize::try_from(number("max_logfile_count")).unwrap_or(0);
    match read.text(DEFAULT, "log_rotation_type").unwrap_or_default().to_lowercase().as_str() {
        "size" => {
            let mebibytes = u64::try_from(number("max_logfile_size_mb")).unwrap_or(0);
            Ok(Rotation::Size { bytes_max: mebibytes.saturating_mul(1 << 20), count })
        }
        "interval" => {
            let interval = number("log_rotate_interval");
            let when = match read
                .text(DEFAULT, "log_rotate_interval_type")
                .unwrap_or_default()
                .to_lowercase()
                .as_str()
            {
                "seconds" => When::Seconds,
                "minutes" => When::Minutes,
                "hours" => When::Hours,
                "weekday" => match u8::try_from(interval) {
                    Ok(day @ 0..=6) => When::Weekday(day),
                    _ => {
                        return Err(Exit::config(format!(
                            "Invalid day specified for weekly rollover: w{interval}"
                        )));
                    }
                },
                "midnight" => When::Midnight,
                _ => When::Days,
            };
            Ok(Rotation::Interval { when, interval: u32::try_from(interval).unwrap_or(1).max(1), count })
        }
        _ => Ok(Rotation::None),
    }
}

fn facility_of(read: &Read<'_>) -> Result<u8, Exit> {
    let name = read.text(DEFAULT, "syslog_log_facility").unwrap_or_default();
    facility(name).ok_or_else(|| {
        let names: Vec<String> = FACILITIES.iter().map(|(name, _)| format!("'{name}'")).collect();
        Exit::config(format!("syslog facility must be one of: {}", names.join(", ")))
    })
}

fn level_of(pair: &str) -> Result<(String, u32), Exit> {
    let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
    let number = level(text).ok_or_else(|| Exit::config(format!("Unknown level: '{text}'")))?;
    Ok((name.to_owned(), number))
}

fn rate_limit(read: &Read<'_>) -> Option<RateLimit> {
    let number = |name| read.int(DEFAULT, name).and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    let (burst, interval_s) = (number("rate_limit_burst"), number("rate_limit_interval"));
    let except_level = read.text(DEFAULT, "rate_limit_except_level").and_then(level);
    (burst >= 1 && interval_s >= 1).then_some(RateLimit { burst, interval_s, except_level })
}
