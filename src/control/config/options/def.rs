//! How one option is declared.

use super::machine::Fact;
use crate::control::config::program::Program;
use crate::control::config::values::Kind;

/// The declaration of one option.
#[derive(Clone, Debug)]
pub struct OptionDef {
    /// Section of the file, lower case but for `DEFAULT`
    pub group: &'static str,
    /// Name in files and in the environment
    pub name: &'static str,
    /// Type
    pub kind: Kind,
    /// Value when nothing is configured
    pub default: Default,
    /// How it is spelled on the command line, if it may stand there
    pub flag: Option<Flag>,
    /// The only program that reads it; all do when absent
    pub only: Option<Program>,
    /// Older `(group, name)`s, still read from files with a warning
    pub deprecated: &'static [(&'static str, &'static str)],
    /// Whether the value may never be shown
    pub secret: bool,
    /// What this program does with it
    pub effect: Effect,
    /// One line for `--help` and the documentation
    pub help: &'static str,
}

/// The value of an option that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// None
    Unset,
    /// Text as it would stand in a file
    Text(&'static str),
    /// A number
    Number(i64),
    /// One per program, in the order of [`Program::ALL`]
    PerProgram([Option<&'static str>; 3]),
    /// What the machine says
    Machine(Fact),
}

/// The spelling of an option on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Long name, without the group's prefix
    pub name: &'static str,
    /// Letter of the short form
    pub short: Option<char>,
    /// Other long names, as good as the first
    pub aliases: &'static [&'static str],
    /// Long names of old releases, accepted whole and with a warning
    pub historic: &'static [&'static str],
    /// The only program that takes it; all that read the option do when absent
    pub only: Option<Program>,
}

/// What this program does with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It works
    Used,
    /// Accepted, without effect for this reason; a warning at start says so when it is set
    NoEffect(&'static str),
    /// Another service of the same nova.conf reads it, named here. Nothing is said about it at start, and
    /// a value that is wrong does not stop the start.
    Elsewhere(&'static str),
}

impl OptionDef {
    pub(super) const fn new(group: &'static str, name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            group,
            name,
            kind,
            default: Default::Unset,
            flag: None,
            only: None,
            deprecated: &[],
            secret: false,
            effect: Effect::Used,
            help,
        }
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.default = Default::Text(text);
        self
    }

    pub(super) const fn defaults(mut self, per_program: [Option<&'static str>; 3]) -> Self {
        self.default = Default::PerProgram(per_program);
        self
    }

    pub(super) const fn machine(mut self, fact: Fact) -> Self {
        self.default = Default::Machine(fact);
        self
    }

    pub(super) const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(Flag { name, short: None, aliases: &[], historic: &[], only: None });
        self
    }

    /// As [`OptionDef::flag`], for one of the programs that read the option.
    pub(super) const fn flag_of(mut self, program: Program, name: &'static str) -> Self {
        self.flag = Some(Flag { name, short: None, aliases: &[], historic: &[], only: Some(program) });
        self
    }

    pub(super) const fn short(mut self, short: char) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.short = Some(short);
        }
        self
    }

    pub(super) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.aliases = aliases;
        }
        self
    }

    pub(super) const fn historic(mut self, historic: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.historic = historic;
        }
        self
    }

    pub(super) const fn deprecated(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.deprecated = names;
        self
    }

    pub(super) const fn only(mut self, program: Program) -> Self {
        self.only = Some(program);
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn no_effect(mut self, reason: &'static str) -> Self {
        self.effect = Effect::NoEffect(reason);
        self
    }

    pub(super) const fn elsewhere(mut self, who: &'static str) -> Self {
        self.effect = Effect::Elsewhere(who);
        self
    }

    /// The name that messages have: oslo.config says log-dir where files have log_dir.
    #[must_use]
    pub fn shown_name(&self) -> &'static str {
        self.flag.map_or(self.name, |flag| flag.name)
    }

    /// What `program` does with the option.
    #[must_use]
    pub fn effect_in(&self, program: Program) -> Effect {
        match self.only {
            Some(only) if only != program => Effect::Elsewhere(only.name()),
            _ => self.effect,
        }
    }

    /// Whether `program` reads the option.
    #[must_use]
    pub fn is_for(&self, program: Program) -> bool {
        !matches!(self.effect_in(program), Effect::Elsewhere(_))
    }

    /// Its flag on the command line of `program`.
    #[must_use]
    pub fn flag_in(&self, program: Program) -> Option<Flag> {
        self.flag.filter(|flag| self.is_for(program) && flag.only.is_none_or(|only| only == program))
    }

    /// The default of `program`, as it would stand in a file.
    #[must_use]
    pub fn default_text(&self, program: Program) -> Option<String> {
        match self.default {
            Default::Unset => None,
            Default::Text(text) => Some(text.to_owned()),
            Default::Number(number) => Some(number.to_string()),
            Default::PerProgram(texts) => {
                let position = Program::ALL.iter().position(|one| *one == program);
                position.and_then(|index| texts[index]).map(str::to_owned)
            }
            Default::Machine(fact) => Some(fact.text()),
        }
    }

    /// The default of `program` for documentation, the same on every machine.
    #[must_use]
    pub fn documented_default(&self, program: Program) -> Option<String> {
        match self.default {
            Default::Machine(fact) => Some(fact.placeholder().to_owned()),
            _ => self.default_text(program),
        }
    }

    /// The environment variable that sets it (`oslo_config/sources/_environment.py`).
    #[must_use]
    pub fn variable(&self) -> String {
        format!("OS_{}__{}", self.group.to_uppercase(), self.name.to_uppercase())
    }
}
