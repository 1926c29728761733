//! `consolegate options`: what every option is, and what it came to on this machine.
//!
//! [`reference()`] is docs/CONFIGURATION.md; `tests/options.rs` keeps that file current.
//!
//! The JSON is an interface; a key may be added, none is taken away or changes its meaning:
//!
//! ```text
//! {"program": NAME, "warnings": [TEXT],
//!  "options": [{"group", "name", "type", "help": TEXT, "secret": BOOL,
//!               "default": TEXT as it would stand in a file, or null,
//!               "deprecated": [{"group", "name"}],
//!               "value": null, BOOL, NUMBER, TEXT or [TEXT]; "***" for a secret,
//!               "error": TEXT or null; with one, "value" is null,
//!               "origin": {"kind": "default" | "file" | "environment" | "command line",
//!                          for a file "file", "line", "group" and "name" as they stand there,
//!                          for the environment "variable"},
//!               "effect": "used" | "none" | "elsewhere",
//!               "reason": why it has none, or the service that reads it; null for "used"}]}
//! ```

mod args;
mod markdown;
mod shown;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use self::args::{Format, Request};
use super::config::{self, Effect, Environment, Program};

pub use markdown::reference;

/// The subcommand; `args` is what follows `consolegate options`.
///
/// Exit status: 0 all is good, 1 a value or a file is not, 2 wrong usage.
#[must_use]
pub fn main(args: &[OsString]) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    ExitCode::from(run(args, &environment, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// [`main`] with its streams, environment and exit status in the caller's hands.
pub fn run(args: &[OsString], environment: &Environment<'_>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // Nothing is left to be done when even stderr is closed.
    let mut complain = |text: &str| {
        let _ = writeln!(err, "consolegate options: {text}");
    };
    let (text, status) = match args::parse(args) {
        Err(complaint) => {
            complain(&format!("{complaint}; see consolegate options --help"));
            return 2;
        }
        Ok(Request::Help) => (args::HELP.to_owned(), 0),
        Ok(Request::Reference) => (reference(), 0),
        Ok(Request::Show { format, program, places }) => match show(format, program, places, environment) {
            Ok((text, is_good)) => (text, u8::from(!is_good)),
            Err(reason) => {
                complain(&reason);
                return 1;
            }
        },
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => status,
        Err(reason) => {
            complain(&format!("could not write the answer: {reason}"));
            1
        }
    }
}

/// The text, and whether the program could start with these values.
fn show(
    format: Format,
    program: Program,
    places: Vec<OsString>,
    environment: &Environment<'_>,
) -> Result<(String, bool), String> {
    let argv: Vec<OsString> = std::iter::once(program.name().into()).chain(places).collect();
    let survey = config::survey(&argv, environment).map_err(|exit| exit.complaint())?;
    // What another service reads does not stop this one.
    let is_good =
        survey.options.iter().all(|one| one.result.is_ok() || matches!(one.effect, Effect::Elsewhere(_)));
    let text = if format == Format::Json { shown::json(&survey) } else { shown::text(&survey) };
    Ok((text, is_good))
}
