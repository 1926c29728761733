//! The command line of `consolegate options`.

use std::ffi::OsString;

use crate::control::config::Program;

/// What `--help` prints.
pub(super) const HELP: &str = "\
usage: consolegate options [--format text|json|markdown] [--program NAME]
                           [--config-file FILE]... [--config-dir DIR]...

Shows every option: its type and default, the value that counts and where that comes from, and
what the program does with it. Files and environment are read as the program itself reads them;
secrets are not shown. Nothing is started.

  --format FORMAT   text unless given; json is for programs; markdown is the reference of all
                    options, docs/CONFIGURATION.md, and takes none of the flags below
  --program NAME    nova-novncproxy unless given, nova-spicehtml5proxy or nova-serialproxy
  --config-file FILE, --config-dir DIR
                    as the programs take them, in this order; without them the usual places

Exit status: 0 every value that the program reads is good, 1 one is not or a file cannot be read,
2 wrong usage.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
    Markdown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Help,
    /// The reference, which depends on no machine
    Reference,
    Show {
        format: Format,
        program: Program,
        /// `--config-file` and `--config-dir` as they came
        places: Vec<OsString>,
    },
}

/// Parses what follows `consolegate options`. The error is one line for the user.
pub(super) fn parse(args: &[OsString]) -> Result<Request, String> {
    let (mut format, mut program, mut places) = (Format::Text, None, Vec::new());
    let mut rest = args.iter();
    while let Some(argument) = rest.next() {
        let argument = argument.to_str().ok_or("an argument is not valid UTF-8")?;
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(OsString::from(value))),
            None => (argument, None),
        };
        let mut value =
            || value.clone().or_else(|| rest.next().cloned()).ok_or(format!("{flag} needs a value"));
        match flag {
            "-h" | "--help" => return Ok(Request::Help),
            "--format" => {
                format = match value()?.to_str() {
                    Some("text") => Format::Text,
                    Some("json") => Format::Json,
                    Some("markdown") => Format::Markdown,
                    _ => return Err("--format is text, json or markdown".to_owned()),
                }
            }
            "--program" => {
                let named = value()?.to_str().and_then(Program::from_name);
                program =
                    Some(named.ok_or_else(|| format!("--program is one of {}", Program::NAMES.join(", ")))?);
            }
            "--config-file" | "--config-dir" => {
                let value = value()?;
                places.extend([OsString::from(flag), value]);
            }
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    if format == Format::Markdown {
        if program.is_some() || !places.is_empty() {
            return Err("--format markdown is the same for every program and configuration".to_owned());
        }
        return Ok(Request::Reference);
    }
    Ok(Request::Show { format, program: program.unwrap_or(Program::NoVncProxy), places })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Request, String> {
        parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn places_keep_their_order_and_either_spelling() {
        let request = parsed(&["--config-dir=/d", "--format", "json", "--config-file", "/f"]);
        let Ok(Request::Show { format: Format::Json, program: Program::NoVncProxy, places }) = request else {
            panic!("{request:?}")
        };
        assert_eq!(places, ["--config-dir", "/d", "--config-file", "/f"]);
    }

    #[test]
    fn wrong_usage_is_told() {
        for args in [
            &["--format", "xml"][..],
            &["--format"],
            &["--program", "nova-api"],
            &["--nonsense"],
            &["--format", "markdown", "--config-file", "/f"],
        ] {
            assert!(parsed(args).is_err(), "{args:?}");
        }
    }
}
