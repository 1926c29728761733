//! SIGUSR2: what the process is doing, in the form of oslo.reports' Guru Meditation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use consolegate::control::config::Values;
use consolegate::engine::Census;
use consolegate::session::PHASE_NAMES;
use tracing::{error, info};

/// What the supervisor knows when a report is asked for.
pub(super) struct Facts<'a> {
    pub(super) values: &'a Values,
    pub(super) engine: &'a str,
    pub(super) sessions_max: u64,
    /// Connections since the start
    pub(super) accepted: u64,
    /// Of each worker; none of one that does not answer
    pub(super) workers: Vec<Option<Census>>,
    /// The last lines from WARNING on
    pub(super) recent: Vec<String>,
}

/// Writes the report into `directory`, or to standard error.
pub(super) fn write(facts: &Facts<'_>, directory: Option<&Path>) {
    let text = text(facts);
    let Some(directory) = directory else {
        eprintln!("{text}");
        return;
    };
    // The name that oslo.reports gives, in UTC.
    let now = httpdate::fmt_http_date(SystemTime::now());
    let name = format!("{}_gurumeditation_{}", facts.values.program.name(), timestamp(&now));
    let path = directory.join(name);
    match fs::write(&path, text) {
        Ok(()) => info!("A state report was written to {}", path.display()),
        Err(error) => error!("The state report could not be written to {}: {error}", path.display()),
    }
}

/// `YYYYMMDDHHMMSS` from a date of HTTP, `Tue, 24 Nov 2026 18:00:00 GMT`.
fn timestamp(date: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, time, _] = fields.as_slice() else { return String::new() };
    let month = MONTHS.iter().position(|name| name == month).map_or(0, |place| place + 1);
    format!("{year}{month:02}{day}{}", time.replace(':', ""))
}

fn text(facts: &Facts<'_>) -> String {
    let rule = "=".repeat(72);
    let mut out = format!("{rule}\n{}\n{rule}\n{}\n", heading("Guru Meditation"), "|".repeat(72));
    for (title, section) in [
        ("Package", package(facts)),
        ("Threads", threads()),
        ("Sessions", sessions(facts)),
        ("Limits", limits(facts)),
        ("Last Errors", facts.recent.concat()),
        ("Configuration", configuration(facts.values)),
    ] {
        // Writing to memory does not fail.
        let _ = write!(out, "\n\n{rule}\n{}\n{rule}\n{section}", heading(title));
    }
    out
}

fn heading(title: &str) -> String {
    format!("===={title:^64}====")
}

fn package(facts: &Facts<'_>) -> String {
    format!(
        "product = consolegate\nprogram = {}\nversion = {}\nprocess = {}\n",
        facts.values.program.name(),
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    )
}

/// The threads as the kernel sees them: a stack could only be had by stopping them.
fn threads() -> String {
    let mut lines: Vec<String> = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            let stat = read("stat");
            // The name may hold anything; what follows it does not.
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let (state, user, system) = (fields.first()?, fields.get(11)?, fields.get(12)?);
            let id = path.file_name()?.to_string_lossy().into_owned();
            let name = read("comm");
            let waits = read("wchan");
            Some(format!(
                "{} ({id}): state {state}, {user} ticks in user mode, {system} in the kernel, waits in {}\n",
                name.trim_end(),
                if matches!(waits.as_str(), "" | "0") { "nothing that the kernel tells" } else { &waits },
            ))
        })
        .collect();
    lines.sort();
    if lines.is_empty() { "not known without /proc\n".to_owned() } else { lines.concat() }
}

fn sessions(facts: &Facts<'_>) -> String {
    let mut out = format!("accepted = {}\n", facts.accepted);
    for (number, census) in facts.workers.iter().enumerate() {
        let Some(census) = census else {
            let _ = writeln!(out, "worker {number} does not answer");
            continue;
        };
        let counts: Vec<String> = PHASE_NAMES
            .iter()
            .zip(census)
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        let _ = writeln!(out, "worker {number} ({}) = {counts}", facts.engine);
    }
    out
}

fn limits(facts: &Facts<'_>) -> String {
    let status = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        status.lines().find(|line| line.starts_with("Max open files")).unwrap_or("Max open files: not known");
    let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory: String = memory
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
        .fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
    format!("connections per worker = {}\n{files}\n{memory}", facts.sessions_max)
}

/// Every option; what is secret shows as `***`.
fn configuration(values: &Values) -> String {
    let mut out = String::new();
    let mut current = "";
    for (group, name, value) in values.iter() {
        if group != current {
            let _ = writeln!(out, "\n{group}:");
            current = group;
        }
        let _ = writeln!(out, "  {name} = {value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_named_for_its_time() {
        assert_eq!(timestamp("Tue, 24 Nov 2026 08:05:09 GMT"), "20261124080509");
    }
}
