//! From files, flags and the environment to one value per option.

use std::path::PathBuf;

use super::Environment;
use super::files::ParsedFile;
use super::options::{DEFAULT, Effect, OWN, OptionDef, find, find_by_old_name, options};
use super::program::Program;
use super::substitute::substitute;
use super::survey::{Origin, Resolved, Survey};
use super::values::{Kind, Value};
use crate::secret::Secret;

/// References followed for one option. More of them is a mistake or a loop.
const REFERENCES_MAX: usize = 100;
/// How deep references may lie within each other.
const REFERENCE_DEPTH_MAX: usize = 16;

/// What gives options values, lowest first: default files, then argv from left to right. No `Debug`:
/// secrets are among them.
pub(super) enum Layer {
    File(ParsedFile),
    Flag { option: &'static OptionDef, text: String },
}

/// What one reading comes to.
pub(super) struct Reading<'a> {
    pub(super) program: Program,
    pub(super) layers: &'a [Layer],
    pub(super) environment: &'a Environment<'a>,
    /// Those that the command line gave rise to
    pub(super) warnings: Vec<String>,
    /// Files that were read, and directories of them
    pub(super) files: Vec<PathBuf>,
}

/// Gives the options their values: those that the program reads, and if `elsewhere` all others too.
pub(super) fn resolve(reading: Reading<'_>, elsewhere: bool) -> Survey {
    let Reading { program, layers, environment, warnings, files } = reading;
    let mut resolver = Resolver { program, layers, environment, warnings };
    // Flags first and sorted, as oslo.config validates them (`_validate_cli_options`): of several
    // mistakes both programs name the same.
    let (mut ours, others): (Vec<_>, Vec<_>) = options().iter().partition(|option| option.is_for(program));
    ours.sort_by_key(|option| {
        let flag = option.flag_in(program);
        (flag.is_none(), flag.map(|flag| flag.name))
    });
    let mut resolved = Vec::new();
    for option in ours {
        let one = resolver.value(option);
        resolver.warn_of_no_effect(option, one.result.as_ref().unwrap_or(&Value::Unset));
        resolved.push(one);
    }
    resolver.warn_of_unknown();
    let warnings = std::mem::take(&mut resolver.warnings);
    if elsewhere {
        // What there is to say of these is for the services that read them.
        resolved.extend(others.into_iter().map(|option| resolver.value(option)));
    }
    Survey { program, options: resolved, warnings, files }
}

struct Resolver<'a> {
    program: Program,
    layers: &'a [Layer],
    environment: &'a Environment<'a>,
    warnings: Vec<String>,
}

impl Resolver<'_> {
    fn value(&mut self, option: &'static OptionDef) -> Resolved {
        let below = self.layered(option);
        let effect = option.effect_in(self.program);
        let resolved = |result, origin| Resolved { option, effect, result, origin };
        if let (Some(found), true) = (&below, self.is_flag(option)) {
            // Such an option is checked although a variable may win over it: oslo.config does.
            if let Err(reason) = self.checked(option, found) {
                return resolved(Err(reason), found.origin.clone());
            }
        }
        let found = self.with_variable(option, below).or_else(|| {
            let text = option.default_text(self.program)?;
            Some(Found { texts: vec![text], origin: Origin::Default })
        });
        match found {
            None => resolved(Ok(option.kind.unset()), Origin::Default),
            Some(found) => {
                let result = self.checked(option, &found);
                resolved(result, found.origin)
            }
        }
    }

    /// Whether the option may stand on the command line of this program.
    fn is_flag(&self, option: &OptionDef) -> bool {
        option.flag_in(self.program).is_some()
    }

    /// The highest layer that holds the option, under its current name or an older one.
    fn layered(&mut self, option: &OptionDef) -> Option<Found> {
        let mut all: Option<Found> = None;
        let mut flag: Option<Found> = None;
        for layer in self.layers.iter().rev() {
            match layer {
                Layer::Flag { option: given, text }
                    if (given.group, given.name) == (option.group, option.name) =>
                {
                    // Files below are looked at all the same, for old names to warn of.
                    flag.get_or_insert_with(|| Found {
                        texts: vec![text.clone()],
                        origin: Origin::CommandLine,
                    });
                }
                Layer::Flag { .. } => {}
                Layer::File(file) => {
                    let current = (option.group, option.name);
                    for (group, name) in std::iter::once(&current).chain(option.deprecated) {
                        let assigned = file.all(group, name);
                        let Some(last) = assigned.last() else { continue };
                        if (*group, *name) != current {
                            self.warn_of_old_name(option, group, name);
                        }
                        let origin = Origin::File {
                            path: file.path.clone(),
                            line: last.line,
                            group: (*group).to_owned(),
                            name: (*name).to_owned(),
                        };
                        if option.kind != Kind::Multi {
                            return flag.or(Some(Found { texts: vec![last.text.clone()], origin }));
                        }
                        // All files count, and every name in each (`_Namespace._get_file_value`).
                        let found = all.get_or_insert(Found { texts: Vec::new(), origin });
                        found.texts.splice(..0, assigned.iter().map(|one| one.text.clone()));
                    }
                }
            }
        }
        flag.or(all)
    }

    fn warn_of_old_name(&mut self, option: &OptionDef, group: &str, name: &str) {
        self.warn(format!(
            "Deprecated: Option \"{name}\" from group \"{group}\" is deprecated. Use option \"{}\" from group \
             \"{}\".",
            option.shown_name(),
            option.group
        ));
    }

    /// The option's variable, or what `layered` has. The documented order: oslo.config itself lets a variable
    /// win over a flag as soon as any file holds the option too.
    fn with_variable(&self, option: &OptionDef, layered: Option<Found>) -> Option<Found> {
        if layered.as_ref().is_some_and(|found| found.origin == Origin::CommandLine) {
            return layered;
        }
        let name = option.variable();
        let Some(text) = (self.environment)(&name) else { return layered };
        Some(Found { texts: vec![text.to_string_lossy().into_owned()], origin: Origin::Variable(name) })
    }

    /// Substitutes and reads what was found. An error is the whole message.
    fn checked(&mut self, option: &OptionDef, found: &Found) -> Result<Value, String> {
        let mut references = References { left: REFERENCES_MAX, secret: option.secret };
        let mut texts: Vec<String> = found
            .texts
            .iter()
            .map(|text| self.substituted(option, option.group, text, &mut references, 0))
            .collect();
        if option.kind == Kind::Multi {
            return Ok(Value::List(texts));
        }
        let text = texts.pop().unwrap_or_default();
        let parsed = option.kind.parse(&text);
        if option.secret && parsed.is_ok() {
            return Ok(Value::Secret(Secret::new(text)));
        }
        let shown = if option.secret { "***" } else { cut_short(&text) };
        let origin = &found.origin;
        parsed.map_err(|reason| {
            // The texts of `_validate_cli_options` and `_do_get`; ours also say where the value stands.
            if self.is_flag(option) && !matches!(origin, Origin::Variable(_)) {
                let place = match origin {
                    Origin::File { .. } => format!("\n(option {} from {origin})", option.name),
                    _ => String::new(),
                };
                format!("argument --{}: Invalid {} value: {shown}{place}", option.name, option.kind)
            } else {
                let reason = cut_short(&reason);
                format!("Value for option {} from {origin} is not valid: {reason}", option.shown_name())
            }
        })
    }

    fn substituted(
        &mut self,
        option: &OptionDef,
        group: &str,
        text: &str,
        references: &mut References,
        depth: usize,
    ) -> String {
        substitute(text, &mut |name| {
            let value = if depth < REFERENCE_DEPTH_MAX && references.left > 0 {
                references.left -= 1;
                self.referred(group, name, references, depth)
            } else {
                None
            };
            if value.is_none() {
                // A `$` in a secret is most likely a part of it, so no part of its text is shown.
                let what = if references.secret { "a \"$\"".to_owned() } else { format!("\"${name}\"") };
                self.warn(format!(
                    "Option \"{}\" from group \"{}\" holds {what} that refers to no option and is taken as it \
                     stands. Write \"$$\" for a dollar sign.",
                    option.name, option.group
                ));
            }
            value
        })
    }

    /// What `$name` stands for in an option of `group`: with a dot an option of another group, without one
    /// an option of this group or else of `DEFAULT`.
    fn referred(
        &mut self,
        group: &str,
        name: &str,
        references: &mut References,
        depth: usize,
    ) -> Option<String> {
        match name.split_once('.') {
            Some((DEFAULT, _)) => None,
            Some((group, name)) => self.text_of(group, name, references, depth),
            None => self
                .text_of(group, name, references, depth)
                .or_else(|| self.text_of(DEFAULT, name, references, depth)),
        }
    }

    fn text_of(
        &mut self,
        group: &str,
        name: &str,
        references: &mut References,
        depth: usize,
    ) -> Option<String> {
        let Some(option) = find(group, name).or_else(|| find_by_old_name(group, name)) else {
            // One of the many options of Nova that this program has no use for itself.
            let text = self.layers.iter().rev().find_map(|layer| match layer {
                Layer::File(file) => file.last(group, name),
                Layer::Flag { .. } => None,
            })?;
            return Some(substitute(&text.text, &mut |_| None));
        };
        if option.secret && !references.secret {
            // It would be shown wherever the other option is.
            return None;
        }
        let below = self.layered(option);
        let texts = self
            .with_variable(option, below)
            .map_or_else(|| option.default_text(self.program).into_iter().collect(), |found| found.texts);
        let mut texts: Vec<String> = texts
            .iter()
            .map(|text| self.substituted(option, option.group, text, references, depth + 1))
            .collect();
        if option.kind == Kind::Multi {
            return Some(Value::List(texts).to_string());
        }
        let text = texts.pop().unwrap_or_default();
        Some(option.kind.parse(&text).map_or(text, |value| value.to_string()))
    }

    fn warn_of_no_effect(&mut self, option: &OptionDef, value: &Value) {
        let Effect::NoEffect(reason) = option.effect else { return };
        let default = option.default_text(self.program).map_or(Value::Unset, |text| {
            if option.secret {
                Value::Secret(Secret::new(text))
            } else {
                option.kind.parse(&text).unwrap_or(Value::Unset)
            }
        });
        if *value != default && *value != Value::Str(String::new()) {
            self.warn(format!(
                "Option \"{}\" from group \"{}\" is set but has no effect: {reason}.",
                option.name, option.group
            ));
        }
    }

    /// A name in our own group that we do not know can only be a mistake; elsewhere it is another service's.
    fn warn_of_unknown(&mut self) {
        for layer in self.layers {
            let Layer::File(file) = layer else { continue };
            for name in file.names_in(OWN).into_iter().filter(|name| find(OWN, name).is_none()) {
                let place = file.path.display();
                self.warn(format!(
                    "Option \"{name}\" from group \"{OWN}\" in {place} is unknown and has no effect."
                ));
            }
        }
    }

    /// Keeps each warning once.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// So much of a text as a complaint shows: references can make a value many times as long as its file.
fn cut_short(text: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 1_000;
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

/// The texts that count for an option: one, or for [`Kind::Multi`] any number.
struct Found {
    texts: Vec<String>,
    origin: Origin,
}

/// What following the references of one option may still cost.
struct References {
    left: usize,
    /// Whether the option is secret, and so its text not to be shown
    secret: bool,
}
