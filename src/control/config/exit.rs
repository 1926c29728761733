//! How reading a configuration ends when there is nothing to start, and where it reads its environment.

use std::ffi::OsString;

use super::help;
use super::program::Program;

/// Where the environment is read from: [`std::env::var_os`], or a test's own.
pub type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The program is to end instead of starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status: 0 for help and version, 2 for a wrong command line, 1 for a wrong configuration, 255
    /// where Nova's programs exit with -1
    pub status: u8,
    /// For standard output
    pub stdout: String,
    /// For standard error
    pub stderr: String,
}

impl Exit {
    /// What may be logged or passed on of the failure: a line of a file that cannot be parsed may hold a
    /// password.
    #[must_use]
    pub fn complaint(&self) -> String {
        let message = self.stderr.trim_end();
        match message.split_once(": '") {
            Some((what, _)) if message.starts_with("Failed to parse ") => what.to_owned(),
            _ => message.to_owned(),
        }
    }

    pub(super) fn done(stdout: String) -> Self {
        Self { status: 0, stdout, stderr: String::new() }
    }

    pub(super) fn failed(status: u8, message: impl AsRef<str>) -> Self {
        Self { status, stdout: String::new(), stderr: format!("{}\n", message.as_ref()) }
    }

    pub(super) fn config(message: impl AsRef<str>) -> Self {
        Self::failed(1, message)
    }

    pub(super) fn usage(program: Program, message: &str) -> Self {
        Self::failed(2, format!("{}{}: error: {message}", help::usage(program), program.name()))
    }
}
