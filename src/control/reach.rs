//! Which files a configuration leads to, for the sandbox: everything that is opened once the program runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::{PortCheck, sql};
use crate::sandbox::Paths;
use crate::telemetry::log;

/// Most entries of the web root that are looked at for links to elsewhere.
const ENTRIES_MAX: usize = 20_000;
/// Variables that name what the resolver of certificates and that of time zones read.
const VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "TZDIR"];
/// Where logs are.
const LOGS: &str = "/var/log";

/// The files of `config`; relative ones are taken from `directory`, where the program was started.
///
/// Reads the logging configuration, a MySQL option file and the directories of the web root, so it blocks. What
/// cannot be read adds nothing: whoever needs it will complain.
#[must_use]
pub fn paths(config: &Config, directory: &Path) -> Paths {
    let mut paths = sql::named_files(&config.database, directory);
    let read = &mut paths.read;
    read.extend(config.values.files.iter().cloned());
    read.extend(config.named_paths.iter().cloned());
    read.extend(VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from));
    // POSIX: a file stands behind a colon, which libraries take for granted where the name is absolute.
    let zone = std::env::var("TZ").unwrap_or_default();
    read.extend(Some(zone.trim_start_matches(':')).filter(|zone| zone.starts_with('/')).map(PathBuf::from));
    if let PortCheck::Rpc(settings) = &config.port_check
        && let Some(tls) = &settings.rabbit.tls
    {
        read.extend([&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten().cloned());
    }
    if let Some(web) = &config.web {
        read.push(web.clone());
        // An upgrade may put a new one in its place.
        read.extend(web.parent().filter(|parent| *parent != Path::new("/")).map(Path::to_owned));
        read.extend(links(web));
    }
    let write = &mut paths.write;
    write.extend(log::files(&config.log));
    if config.log.config.is_some() {
        // It may be changed to have more of them.
        write.push(LOGS.into());
    }
    // Numbered files beside it.
    write.extend(config.record.clone());
    // These are made at the start or never: a directory that is missing then needs no place to be made in.
    let at_start = [&config.process.pid_file, &config.admin.socket].into_iter().flatten();
    write.extend(at_start.filter(|path| path.parent().is_some_and(Path::is_dir)).cloned());
    write.extend(config.process.report_directory.clone());
    paths
}

/// Where links below the web root lead to: distributions put the parts of noVNC together that way.
fn links(web: &Path) -> Vec<PathBuf> {
    let Ok(root) = fs::canonicalize(web) else { return Vec::new() };
    let (mut left, mut found, mut seen) = (vec![root.clone()], Vec::new(), 0);
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink()
                && let Ok(target) = fs::canonicalize(entry.path())
                && !target.starts_with(&root)
            {
                found.push(entry.path());
            } else if kind.is_dir() {
                left.push(entry.path());
            }
        }
    }
    found
}
