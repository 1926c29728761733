//! What the options came to: each one with its origin, or all of them as values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Exit;
use super::options::{Effect, OptionDef};
use super::program::Program;
use super::values::Value;

/// Where a value came from. `Display` is what messages say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is configured
    Default,
    /// A file
    File {
        /// The file, absolute if it was named or found by us
        path: PathBuf,
        /// Line, from 1
        line: usize,
        /// Group in which it stands there, which may be an old one; in lower case but for `DEFAULT`
        group: String,
        /// Name by which it stands there, which may be an old one
        name: String,
    },
    /// The environment variable of this name
    Variable(String),
    /// A flag
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, group, .. } => write!(f, "[{group}] in {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

/// One option and what it came to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its declaration
    pub option: &'static OptionDef,
    /// What the program does with it
    pub effect: Effect,
    /// Its value, or the whole message that says why there is none. No secret is in either.
    pub result: Result<Value, String>,
    /// Where the text of that came from
    pub origin: Origin,
}

impl Resolved {
    /// The old `(group, name)` under which the file has it.
    #[must_use]
    pub fn old_name(&self) -> Option<(&str, &str)> {
        match &self.origin {
            Origin::File { group, name, .. }
                if (&**group, &**name) != (self.option.group, self.option.name) =>
            {
                Some((group, name))
            }
            _ => None,
        }
    }
}

/// All options, one by one.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Which program's
    pub program: Program,
    /// Flags first and sorted, then what else the program reads, then what is read elsewhere
    pub options: Vec<Resolved>,
    /// What the operator should know of those that the program reads
    pub warnings: Vec<String>,
    /// Files that were read, and directories of them
    pub files: Vec<PathBuf>,
}

impl Survey {
    /// What the program reads, in a form to look values up.
    ///
    /// # Errors
    ///
    /// [`Exit`] with the first message of an option that the program reads.
    pub fn values(self) -> Result<Values, Exit> {
        let (values, mut complaints) = self.usable_values();
        if complaints.is_empty() { Ok(values) } else { Err(Exit::config(complaints.swap_remove(0))) }
    }

    /// The same with all messages. An option that has one has its default.
    pub(super) fn usable_values(self) -> (Values, Vec<String>) {
        let program = self.program;
        let (mut values, mut configured, mut complaints) = (BTreeMap::new(), Vec::new(), Vec::new());
        let is_elsewhere = |one: &Resolved| matches!(one.effect, Effect::Elsewhere(_));
        // oslo.config checks flags, but not what variables give them, before it reads anything.
        let is_read_later =
            |one: &Resolved| one.option.flag.is_none() || matches!(one.origin, Origin::Variable(_));
        let mut options: Vec<_> = self.options.into_iter().filter(|one| !is_elsewhere(one)).collect();
        options.sort_by_key(is_read_later);
        for one in options {
            let key = (one.option.group, one.option.name);
            match one.result {
                Ok(value) => {
                    values.insert(key, value);
                    if one.origin != Origin::Default {
                        configured.push(key);
                    }
                }
                Err(complaint) => {
                    complaints.push(complaint);
                    let default = one.option.default_text(program);
                    let default = default.and_then(|text| one.option.kind.parse(&text).ok());
                    values.insert(key, default.unwrap_or_else(|| one.option.kind.unset()));
                }
            }
        }
        let (warnings, files) = (self.warnings, self.files);
        (Values { program, values, configured, warnings, files }, complaints)
    }
}

/// The effective values of all options that a program reads.
#[derive(Clone, Debug)]
pub struct Values {
    /// Which program's
    pub program: Program,
    values: BTreeMap<(&'static str, &'static str), Value>,
    configured: Vec<(&'static str, &'static str)>,
    /// What the operator should know, to be logged once logging is up
    pub warnings: Vec<String>,
    /// Files that were read, and directories of them
    pub files: Vec<PathBuf>,
}

impl Values {
    /// The value of an option; unset for one that is not declared or not for this program.
    #[must_use]
    pub fn value(&self, group: &str, name: &str) -> &Value {
        self.iter().find(|(g, n, _)| *g == group && *n == name).map_or(&Value::Unset, |(_, _, value)| value)
    }

    /// Whether anything gives it a value, beside its default.
    #[must_use]
    pub fn is_configured(&self, group: &str, name: &str) -> bool {
        self.configured.contains(&(group, name))
    }

    /// All values as `(group, name, value)`, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, &Value)> {
        self.values.iter().map(|((group, name), value)| (*group, *name, value))
    }
}
