//! From files, flags and the environment to one value per option.

use std::collections::BTreeMap;
use std::fmt;

use super::files::ParsedFile;
use super::options::{DEFAULT, Effect, OWN, OptionDef, find, options};
use super::program::Program;
use super::substitute::substitute;
use super::values::Value;
use super::{Environment, Exit};
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

/// Where a value came from, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    File(String),
    Variable(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(place) => f.write_str(place),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::CommandLine => f.write_str("the command line"),
        }
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

/// Gives every option of `program` its value.
pub(super) fn resolve(
    program: Program,
    layers: &[Layer],
    environment: &Environment<'_>,
    warnings: Vec<String>,
) -> Result<Values, Exit> {
    let mut resolver = Resolver { program, layers, environment, warnings };
    let mut values = BTreeMap::new();
    let mut configured = Vec::new();
    // Flags first and sorted, as oslo.config validates them (`_validate_cli_options`): of several
    // mistakes both programs name the same.
    let mut ours: Vec<&'static OptionDef> =
        options().iter().filter(|option| option.is_for(program)).collect();
    ours.sort_by_key(|option| (option.flag.is_none(), option.flag.map(|flag| flag.name)));
    for option in ours {
        let key = (option.group, option.name);
        let (value, origin) = resolver.value(option)?;
        resolver.warn_of_no_effect(option, &value);
        if origin != Origin::Default {
            configured.push(key);
        }
        values.insert(key, value);
    }
    resolver.warn_of_unknown();
    Ok(Values { program, values, configured, warnings: resolver.warnings })
}

struct Resolver<'a> {
    program: Program,
    layers: &'a [Layer],
    environment: &'a Environment<'a>,
    warnings: Vec<String>,
}

impl Resolver<'_> {
    fn value(&mut self, option: &OptionDef) -> Result<(Value, Origin), Exit> {
        let below = self.layered(option);
        if let (Some((text, origin)), Some(_)) = (&below, option.flag) {
            // Such an option is checked although a variable may win over it: oslo.config does.
            self.checked(option, text, origin)?;
        }
        let found = match (below, self.variable(option)) {
            // The documented order. oslo.config itself lets a variable win over a flag as soon as any
            // file holds the option too.
            (Some((text, Origin::CommandLine)), _) => Some((text, Origin::CommandLine)),
            (_, Some(variable)) => Some(variable),
            (below, None) => below,
        };
        let found = found.or_else(|| Some((option.default_text(self.program)?, Origin::Default)));
        match found {
            None => Ok((Value::Unset, Origin::Default)),
            Some((text, origin)) => Ok((self.checked(option, &text, &origin)?, origin)),
        }
    }

    /// The highest layer that holds the option, under its current name or an older one.
    fn layered(&mut self, option: &OptionDef) -> Option<(String, Origin)> {
        for layer in self.layers.iter().rev() {
            match layer {
                Layer::Flag { option: given, text }
                    if (given.group, given.name) == (option.group, option.name) =>
                {
                    return Some((text.clone(), Origin::CommandLine));
                }
                Layer::Flag { .. } => {}
                Layer::File(file) => {
                    let current = (option.group, option.name);
                    for (group, name) in std::iter::once(&current).chain(option.deprecated) {
                        let Some(text) = file.value(group, name) else { continue };
                        if (*group, *name) != current {
                            // oslo.config says log-dir where the file has log_dir.
                            let usual = option.flag.map_or(option.name, |flag| flag.name);
                            self.warn(format!(
                                "Deprecated: Option \"{name}\" from group \"{group}\" is deprecated. Use option \
                                 \"{usual}\" from group \"{}\".",
                                option.group
                            ));
                        }
                        let place = format!("[{group}] in {}", file.path.display());
                        return Some((text.to_owned(), Origin::File(place)));
                    }
                }
            }
        }
        None
    }

    fn variable(&self, option: &OptionDef) -> Option<(String, Origin)> {
        let name = option.variable();
        let text = (self.environment)(&name)?;
        Some((text.to_string_lossy().into_owned(), Origin::Variable(name)))
    }

    /// Substitutes and reads `text`.
    fn checked(&mut self, option: &OptionDef, text: &str, origin: &Origin) -> Result<Value, Exit> {
        let mut references = References { left: REFERENCES_MAX, secret: option.secret };
        let text = self.substituted(option, option.group, text, &mut references, 0);
        if option.secret {
            return Ok(Value::Secret(Secret::new(text)));
        }
        option.kind.parse(&text).map_err(|reason| {
            // The texts of `_validate_cli_options` and `_do_get`; ours also say where the value stands.
            if option.flag.is_some() && !matches!(origin, Origin::Variable(_)) {
                let place = match origin {
                    Origin::File(place) => format!("\n(option {} from {place})", option.name),
                    _ => String::new(),
                };
                Exit::config(format!(
                    "argument --{}: Invalid {} value: {text}{place}",
                    option.name, option.kind
                ))
            } else {
                Exit::config(format!("Value for option {} from {origin} is not valid: {reason}", option.name))
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
        let Some(option) = find(group, name) else {
            // One of the many options of Nova that this program has no use for itself, such as my_ip.
            let text = self.layers.iter().rev().find_map(|layer| match layer {
                Layer::File(file) => file.value(group, name),
                Layer::Flag { .. } => None,
            })?;
            return Some(substitute(text, &mut |_| None));
        };
        if option.secret && !references.secret {
            // It would be shown wherever the other option is.
            return None;
        }
        let text = match (self.layered(option), self.variable(option)) {
            (Some((text, Origin::CommandLine)), _) | (_, Some((text, _))) | (Some((text, _)), None) => text,
            (None, None) => option.default_text(self.program).unwrap_or_default(),
        };
        let text = self.substituted(option, option.group, &text, references, depth + 1);
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

/// What following the references of one option may still cost.
struct References {
    left: usize,
    /// Whether the option is secret, and so its text not to be shown
    secret: bool,
}
