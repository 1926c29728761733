//! The reference of all options, the same on every machine.

use std::fmt::Write as _;

use crate::control::config::{Effect, OptionDef, Program, options};

const HEAD: &str = "\
# Configuration

<!-- Printed by `consolegate options --format markdown`; do not edit. -->

Every option that the programs know, by group. Files are found and read as oslo.config does it for Nova's proxies;
`consolegate options` shows what each option comes to on a machine and which line of which file says so, and
`--help` lists those that may stand on the command line. An option may also be set by the environment variable
`OS_GROUP__NAME`. Options that are not here are ignored, but in `[consolegate]`, where they are warned of.

**Effect**: *yes* is an option that works. *None* is accepted, so that files need no change, and a warning at start says
so if it is set. *Elsewhere* is read by the services named only; its values count here where others refer to them
with `$`. **Old names** are still read, with a warning. `<...>` is what the machine says.
";

/// docs/CONFIGURATION.md.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut groups: Vec<&str> = Vec::new();
    for option in options() {
        if !groups.contains(&option.group) {
            groups.push(option.group);
        }
    }
    groups.sort_unstable();
    for group in groups {
        let _ = write!(
            text,
            "\n## [{group}]\n\n| Option | Type | Default | Effect | What it is | Old names |\n| - | - | - | - | - | - |\n"
        );
        for option in options().iter().filter(|option| option.group == group) {
            row(option, &mut text);
        }
    }
    text
}

fn row(option: &OptionDef, text: &mut String) {
    let old: Vec<String> =
        option.deprecated.iter().map(|(group, name)| format!("`[{group}] {name}`")).collect();
    let mut help = option.help.to_owned();
    if let Some(flag) = option.flag {
        let prefix = if option.group == "DEFAULT" { String::new() } else { format!("{}-", option.group) };
        let only = flag.only.map(|program| format!(" of {}", program.name())).unwrap_or_default();
        let _ = write!(help, "; flag `--{prefix}{}`{only}", flag.name);
    }
    if option.secret {
        help.push_str("; never shown");
    }
    let cells = [
        format!("`{}`", option.name),
        option.kind.to_string(),
        default(option),
        effect(option),
        help,
        old.join(", "),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// One for all programs, or one for each that has one.
fn default(option: &OptionDef) -> String {
    let readers: Vec<Program> =
        Program::ALL.into_iter().filter(|program| option.only.is_none_or(|only| only == *program)).collect();
    let defaults: Vec<Option<String>> =
        readers.iter().map(|program| option.documented_default(*program)).collect();
    let code = |text: &str| if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") };
    match defaults.first() {
        Some(first) if defaults.iter().all(|one| one == first) => {
            first.as_deref().map(code).unwrap_or_default()
        }
        _ => {
            let each = readers.iter().zip(&defaults);
            let each = each
                .filter_map(|(program, text)| Some(format!("{}: {}", program.name(), code(text.as_ref()?))));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn effect(option: &OptionDef) -> String {
    let only = option.only.map(|program| format!(" ({} only)", program.name())).unwrap_or_default();
    match option.effect {
        Effect::Used => format!("yes{only}"),
        Effect::NoEffect(why) => format!("none: {why}{only}"),
        Effect::Elsewhere(who) => format!("elsewhere: {who}"),
    }
}
