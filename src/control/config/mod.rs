//! nova.conf, the command line and the environment, as oslo.config reads them.
//!
//! The way of a value: [`options`](OptionDef) declares it, `argv` and `files` find texts for it, `resolve`
//! picks the one that counts and follows its `$references`, `values` gives it its type, and [`Config`] holds
//! what all of them mean together. Nothing here logs: warnings are collected, since where to log is itself
//! configured.
//!
//! Out of scope: applying a reload, and opening what the options name.
//!
//! `tests/config_real.rs` compares the result with oslo.config itself and lists where we differ on purpose.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

mod argv;
mod checked;
mod completion;
mod exit;
mod files;
mod help;
mod ini;
mod number;
mod options;
mod program;
mod resolve;
mod substitute;
mod survey;
#[cfg(test)]
mod tests;
mod uri;
mod values;

use argv::{Event, Stop};
pub use checked::{Config, IoEngine, Listen, ProcessSettings, VncConfig};
pub use exit::{Environment, Exit};
pub use options::{DEFAULT, Default, Effect, Fact, Flag, OWN, OptionDef, find, options};
pub use program::Program;
use resolve::{Layer, Reading};
pub use survey::{Origin, Resolved, Survey, Values};
pub use values::{Kind, Value};

/// Reads the configuration of the program that `argv` starts; `argv[0]` is its name.
///
/// # Errors
///
/// [`Exit`] when there is nothing to start: help was asked for, or something is wrong.
pub fn load(argv: &[OsString], environment: &Environment<'_>) -> Result<Config, Exit> {
    Config::check(&read(argv, environment)?)
}

/// Whether the command line asks for a check instead of a start.
#[must_use]
pub fn asks_for_check(argv: &[OsString]) -> bool {
    // A flag that takes a value does not take this word for one, as with argparse.
    argv.iter().skip(1).any(|argument| argument == argv::CHECK)
}

/// What [`load`] would make of it, and everything that is wrong with it. What is wrong counts as not set.
///
/// # Errors
///
/// [`Exit`] when help was asked for, or the command line or a file cannot be read at all.
pub fn examine(argv: &[OsString], environment: &Environment<'_>) -> Result<(Config, Vec<String>), Exit> {
    let (values, mut complaints) = resolve(argv, environment, false)?.usable_values();
    let (config, exits) = Config::examine(&values);
    complaints.extend(exits.iter().map(Exit::complaint));
    Ok((config, complaints))
}

/// The first half of [`load`]: every option's value, before what they mean together is checked.
///
/// # Errors
///
/// As [`load`].
pub fn read(argv: &[OsString], environment: &Environment<'_>) -> Result<Values, Exit> {
    resolve(argv, environment, false)?.values()
}

/// Every option that is declared, also those of other services, with where its value comes from; a bad value
/// is the result of its option alone.
///
/// # Errors
///
/// [`Exit`] when help was asked for, or the command line or a file cannot be read at all.
pub fn survey(argv: &[OsString], environment: &Environment<'_>) -> Result<Survey, Exit> {
    resolve(argv, environment, true)
}

fn resolve(argv: &[OsString], environment: &Environment<'_>, elsewhere: bool) -> Result<Survey, Exit> {
    let name = program::base_name(argv.first().map_or(OsStr::new("consolegate"), OsString::as_os_str));
    let mut arguments = Vec::new();
    for argument in argv.iter().skip(1) {
        let Some(argument) = argument.to_str() else {
            return Err(Exit::failed(2, format!("{name}: error: argument {argument:?} is not valid UTF-8")));
        };
        arguments.push(argument.to_owned());
    }
    let program = choose(&name, &arguments)?;
    if let [flag, shell, ..] = arguments.as_slice()
        && flag == "--shell_completion"
        && let Some(script) = completion::script(program, shell)
    {
        // Before anything is parsed, as `ConfigOpts.__call__` has it.
        return Err(Exit::done(script));
    }
    let line = argv::parse(program, &arguments).map_err(|stop| match stop {
        Stop::Help => Exit::done(help::help(program)),
        Stop::Version => Exit::done(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Stop::Usage(message) => Exit::usage(program, &message),
    })?;
    let (layers, files) = layers(program, &arguments, line.events, environment)?;
    let reading = Reading { program, layers: &layers, environment, warnings: line.warnings, files };
    Ok(resolve::resolve(reading, elsewhere))
}

/// The name in `argv[0]` decides; `--mode` overrides.
fn choose(name: &str, arguments: &[String]) -> Result<Program, Exit> {
    let asks = |flags: &[&str]| arguments.iter().any(|argument| flags.contains(&argument.as_str()));
    match (argv::mode(arguments), Program::from_name(name)) {
        (Some(mode), _) => Program::from_name(mode).ok_or_else(|| {
            let names = Program::ALL.map(Program::name).join(", ");
            Exit::failed(
                2,
                format!("{name}: error: argument --mode: invalid choice: {mode} (choose from {names})"),
            )
        }),
        (None, Some(program)) => Ok(program),
        (None, None) if asks(&["--version"]) => Err(Exit::done(format!("{}\n", env!("CARGO_PKG_VERSION")))),
        (None, None) if arguments.is_empty() || asks(&["-h", "--help"]) => Err(Exit::done(help::overview())),
        (None, None) => {
            Err(Exit::failed(2, format!("{}{name}: error: argument --mode is required", help::overview())))
        }
    }
}

/// Reads the files, in the order in which they take effect; beside them, where they are.
fn layers(
    program: Program,
    arguments: &[String],
    events: Vec<Event>,
    environment: &Environment<'_>,
) -> Result<(Vec<Layer>, Vec<PathBuf>), Exit> {
    let mut reader = files::Reader::new(environment);
    let mut files = Vec::new();
    // Abbreviations do not count, as in oslo.config (`ConfigOpts._parse_config_files`).
    let names = |flag: &str| {
        let is_flag = |argument: &String| {
            argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        arguments.iter().any(is_flag)
    };
    if !names("--config-file") {
        reader.default_files(program.name(), &mut files)?;
    }
    if !names("--config-dir") {
        reader.default_directories(program.name(), &mut files)?;
    }
    let mut layers: Vec<Layer> = files.drain(..).map(Layer::File).collect();
    for event in events {
        match event {
            Event::Set { option, text } => layers.push(Layer::Flag { option, text }),
            Event::ConfigFile(path) => reader.named_file(&path, &mut files)?,
            Event::ConfigDir(path) => reader.named_directory(&path, &mut files)?,
        }
        layers.extend(files.drain(..).map(Layer::File));
    }
    let read = reader.finish()?;
    Ok((layers, read))
}
