//! `read_default_file`: one group of a MySQL option file, as PyMySQL reads it (`pymysql/optionfile.py`).

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Largest file.
const FILE_BYTES_MAX: u64 = 65_536;

/// The options of one group. Keys are in lower case, with dashes.
#[derive(Default)]
pub(super) struct OptionFile(HashMap<String, Secret>);

impl OptionFile {
    /// Reads `group` of the file. A group that is not there is empty.
    pub(super) fn read(path: &Path, group: &str) -> io::Result<Self> {
        let path = match (path.strip_prefix("~"), std::env::var_os("HOME")) {
            (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => path.to_owned(),
        };
        let mut text = String::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("the file is larger than 64 KiB"));
        }
        Ok(Self::parse(&text, group))
    }

    /// Python's `RawConfigParser`, less continuation lines: no option that is read here has them.
    fn parse(text: &str, group: &str) -> Self {
        let mut options = HashMap::new();
        let mut is_wanted = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';', '!']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                is_wanted = name == group;
            } else if is_wanted {
                let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
                let key = key.trim().to_lowercase().replace('_', "-");
                options.insert(key, Secret::new(unquoted(value.trim())));
            }
        }
        Self(options)
    }

    /// The value of `key`, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).filter(|value| !value.is_empty())?;
        std::str::from_utf8(value.expose()).ok()
    }
}

impl fmt::Debug for OptionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_is_read_as_pymysql_reads_it() {
        let text = "user=nobody\n# a comment\n[client]\nUser = nova\npassword = 'pa#55 ; x'\nssl_ca: /etc/ca.pem\n\
                    skip-name\nsocket=\n!includedir /etc\n[tripleo]\nbind-address = 192.0.2.1\nssl-ca=/t.pem\n";
        let client = OptionFile::parse(text, "client");
        assert_eq!(client.get("user"), Some("nova"));
        assert_eq!(client.get("password"), Some("pa#55 ; x"));
        assert_eq!(client.get("ssl-ca"), Some("/etc/ca.pem"));
        assert_eq!(
            (client.get("skip-name"), client.get("socket"), client.get("bind-address")),
            (None, None, None)
        );
        assert!(!format!("{client:?}").contains("pa#55"));
        assert_eq!(OptionFile::parse(text, "tripleo").get("ssl-ca"), Some("/t.pem"));
        assert_eq!(OptionFile::parse(text, "elsewhere").get("user"), None);
    }

    #[test]
    fn a_file_that_is_too_large_or_missing_is_an_error() {
        let path = std::env::temp_dir().join(format!("consolegate-large-{}.cnf", std::process::id()));
        std::fs::write(&path, "#".repeat(65_537)).unwrap();
        let reason = OptionFile::read(&path, "client").unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(reason.contains("larger"), "{reason}");
        assert!(OptionFile::read(&path, "client").is_err());
    }
}
