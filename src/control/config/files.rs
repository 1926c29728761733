//! Which configuration files are read, and in what order (`oslo_config/cfg.py`, `find_config_files`,
//! `ConfigParser._parse_file`).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Environment, Exit, ini, options::DEFAULT};

/// Longest file that is read. A nova.conf with every option and its help is about 400 KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files that are read from one directory.
const DIRECTORY_FILES_MAX: usize = 10_000;
/// Where packages of the RPM family put their defaults, below `/etc/nova/nova.conf`.
const VENDOR_FILE: &str = "/usr/share/nova/nova-dist.conf";

/// The assignments of one file. No `Debug`: secrets are among them.
pub(super) struct ParsedFile {
    pub(super) path: PathBuf,
    /// By group and name, in the order of the file
    values: HashMap<(String, String), Vec<Assigned>>,
}

/// What a file assigns to a name.
pub(super) struct Assigned {
    pub(super) text: String,
    /// Line, from 1
    pub(super) line: usize,
}

impl ParsedFile {
    pub(super) fn new(path: PathBuf, assignments: Vec<ini::Assignment>) -> Self {
        let mut values: HashMap<_, Vec<Assigned>> = HashMap::new();
        for one in assignments {
            // Group names are compared in lower case, but for this one.
            let group = if one.section == DEFAULT { one.section } else { one.section.to_lowercase() };
            let assigned = Assigned { text: one.value, line: one.line };
            values.entry((group, one.name)).or_default().push(assigned);
        }
        Self { path, values }
    }

    /// All that is assigned to the name; empty if nothing is.
    pub(super) fn all(&self, group: &str, name: &str) -> &[Assigned] {
        self.values.get(&(group.to_owned(), name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// What counts where one value is wanted: the last.
    pub(super) fn last(&self, group: &str, name: &str) -> Option<&Assigned> {
        self.all(group, name).last()
    }

    /// All names in `group`, sorted.
    pub(super) fn names_in(&self, group: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .values
            .keys()
            .filter(|(in_group, _)| in_group == group)
            .map(|(_, name)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }
}

/// Reads files, and collects those that are not there to name them all at once.
pub(super) struct Reader<'a> {
    environment: &'a Environment<'a>,
    not_found: Vec<String>,
    not_opened: Vec<String>,
    read: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment<'a>) -> Self {
        Self { environment, not_found: Vec::new(), not_opened: Vec::new(), read: Vec::new() }
    }

    /// The files read without `--config-file`: nova.conf, then one named as the program.
    pub(super) fn default_files(&mut self, program: &str, files: &mut Vec<ParsedFile>) -> Result<(), Exit> {
        let vendor = PathBuf::from(VENDOR_FILE);
        let vendor = vendor.exists().then_some(vendor);
        for path in vendor.into_iter().chain(self.search(program, ".conf")) {
            files.extend(self.file(&path)?);
        }
        Ok(())
    }

    /// The files read without `--config-dir`: those of nova.conf.d, then of one named as the program.
    pub(super) fn default_directories(
        &mut self,
        program: &str,
        files: &mut Vec<ParsedFile>,
    ) -> Result<(), Exit> {
        for path in self.search(program, ".conf.d") {
            self.directory_files(&path, files)?;
        }
        Ok(())
    }

    /// `--config-file`
    pub(super) fn named_file(&mut self, path: &str, files: &mut Vec<ParsedFile>) -> Result<(), Exit> {
        let path = self.expand_home(path);
        let path = std::path::absolute(&path).unwrap_or(path);
        files.extend(self.file(&path)?);
        Ok(())
    }

    /// `--config-dir`
    pub(super) fn named_directory(&mut self, path: &str, files: &mut Vec<ParsedFile>) -> Result<(), Exit> {
        let expanded = self.expand_home(path);
        if !expanded.exists() {
            return Err(Exit::config(format!(
                "Failed to read config file directory: {}",
                expanded.display()
            )));
        }
        self.directory_files(&expanded, files)
    }

    /// Fails if a file was missing or closed to us; returns what was read, files and directories.
    pub(super) fn finish(self) -> Result<Vec<PathBuf>, Exit> {
        for (paths, verb) in [(self.not_found, "find"), (self.not_opened, "open")] {
            if !paths.is_empty() {
                return Err(Exit::config(format!("Failed to {verb} some config files: {}", paths.join(","))));
            }
        }
        Ok(self.read)
    }

    /// The first hit for `nova` and for the program, in the places oslo.config looks.
    fn search(&self, program: &str, extension: &str) -> Vec<PathBuf> {
        let home = self.home();
        let snap = |name: &str| (self.environment)(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let directories: Vec<PathBuf> = [
            home.as_ref().map(|home| home.join(".nova")),
            home,
            Some(PathBuf::from("/etc/nova")),
            Some(PathBuf::from("/etc")),
            snap("SNAP_COMMON").map(|snap| snap.join("etc/nova")),
            snap("SNAP").map(|snap| snap.join("etc/nova")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let first = |name: &str| {
            directories
                .iter()
                .map(|directory| directory.join(format!("{name}{extension}")))
                .find(|path| path.exists())
        };
        [first("nova"), first(program)].into_iter().flatten().collect()
    }

    fn directory_files(&mut self, directory: &Path, files: &mut Vec<ParsedFile>) -> Result<(), Exit> {
        let failed = |error: io::Error| {
            Exit::config(format!("Failed to read config file directory: {}: {error}", directory.display()))
        };
        self.read.push(std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()));
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.as_bytes().ends_with(b".conf") && !name.as_bytes().starts_with(b".") {
                names.push(name);
            }
            if names.len() > DIRECTORY_FILES_MAX {
                return Err(failed(io::Error::other(format!("more than {DIRECTORY_FILES_MAX} files"))));
            }
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = directory.join(name);
            files.extend(self.file(&std::path::absolute(&path).unwrap_or(path))?);
        }
        Ok(())
    }

    /// None when it is not there or closed to us, which [`Self::finish`] reports.
    fn file(&mut self, path: &Path) -> Result<Option<ParsedFile>, Exit> {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let shown = path.display();
                match error.kind() {
                    ErrorKind::NotFound => self.not_found.push(shown.to_string()),
                    ErrorKind::PermissionDenied => self.not_opened.push(shown.to_string()),
                    _ => self.not_opened.push(format!("{shown}: {error}")),
                }
                return Ok(None);
            }
        };
        let assignments = ini::parse(&bytes).map_err(|error| {
            let shown = path.display();
            Exit::config(format!("Failed to parse {shown}: at {shown}:{error}"))
        })?;
        self.read.push(path.to_owned());
        Ok(Some(ParsedFile::new(path.to_owned(), assignments)))
    }

    /// `~` and `~/…` as Python's `expanduser` has them.
    fn expand_home(&self, path: &str) -> PathBuf {
        let rest = match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => return PathBuf::from(path),
        };
        self.home().map_or_else(|| PathBuf::from(path), |home| home.join(rest))
    }

    /// `$HOME`, else what the user database says.
    fn home(&self) -> Option<PathBuf> {
        if let Some(home) = (self.environment)("HOME") {
            return Some(PathBuf::from(home));
        }
        nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.dir)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
