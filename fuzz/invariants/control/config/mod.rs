//! nova.conf, from bytes to typed values.

#[path = "../../../../src/control/config/argv.rs"]
mod argv;
#[path = "../../../../src/control/config/exit.rs"]
mod exit;
#[path = "../../../../src/control/config/files.rs"]
mod files;
#[path = "../../../../src/control/config/help.rs"]
mod help;
#[path = "../../../../src/control/config/ini.rs"]
mod ini;
#[path = "../../../../src/control/config/number.rs"]
mod number;
#[path = "../../../../src/control/config/options/mod.rs"]
mod options;
#[path = "../../../../src/control/config/program.rs"]
mod program;
#[path = "../../../../src/control/config/resolve.rs"]
mod resolve;
#[path = "../../../../src/control/config/substitute.rs"]
mod substitute;
#[path = "../../../../src/control/config/survey.rs"]
mod survey;
#[path = "../../../../src/control/config/uri.rs"]
mod uri;
#[path = "../../../../src/control/config/values.rs"]
mod values;

use std::ffi::OsString;

pub(crate) use exit::{Environment, Exit};
use files::ParsedFile;
use program::Program;
use resolve::{Layer, Reading};

/// What no message may repeat: the passwords of the seeds' URLs.
const PASSWORD: &str = "pa55word";

/// Lines of a command line.
const ARGUMENTS_MAX: usize = 32;

/// Any bytes as a file, and as a command line; then the file as a configuration.
pub(crate) fn config(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let program = Program::ALL[usize::from(*first) % Program::ALL.len()];
    command_line(program, bytes);
    let assignments = match ini::parse(bytes) {
        Ok(assignments) => assignments,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= 1 + bytes.len());
            return;
        }
    };
    assert_eq!(ini::parse(bytes).as_ref(), Ok(&assignments), "same input, same result");
    for one in &assignments {
        assert!(!one.section.is_empty() && !one.name.is_empty());
        assert_eq!(one.name, one.name.trim(), "a name has no blanks around it");
    }
    if !bytes.contains(&b'\r') {
        assert_eq!(values_of(&crlf(bytes)), values_of(bytes), "line ends do not matter");
    }
    configuration(program, bytes, assignments);
}

/// What it comes to is bounded, says why where there is nothing, and shows no secret.
fn configuration(program: Program, bytes: &[u8], assignments: Vec<ini::Assignment>) {
    let only_in_secrets = assignments.iter().all(|one| {
        !one.value.contains(PASSWORD) || SECRETS.contains(&(one.section.as_str(), one.name.as_str()))
    });
    let environment = |_: &str| None::<OsString>;
    let layers = [Layer::File(ParsedFile::new("nova.conf".into(), assignments))];
    let (warnings, files) = (Vec::new(), Vec::new());
    let reading = Reading { program, layers: &layers, environment: &environment, warnings, files };
    let survey = resolve::resolve(reading, true);
    for one in &survey.options {
        if let Err(complaint) = &one.result {
            assert!(!complaint.is_empty());
            assert!(complaint.len() <= 4_096, "{} bytes of complaint", complaint.len());
        }
    }
    let shown = format!("{survey:?}");
    assert!(!only_in_secrets || !shown.contains(PASSWORD), "a password shows in {shown}");
    let warnings = survey.warnings.len();
    assert!(warnings <= survey.options.len() * 4 + bytes.len(), "{warnings} warnings");
    match survey.values() {
        Ok(values) => {
            let shown = format!("{values:?}");
            assert!(!only_in_secrets || !shown.contains(PASSWORD), "a password shows in {shown}");
        }
        Err(exit) => assert!(exit.status != 0 && !exit.stderr.is_empty(), "a failure says why"),
    }
}

/// Where the seeds have passwords.
const SECRETS: [(&str, &str); 2] = [("DEFAULT", "transport_url"), ("database", "connection")];

fn command_line(program: Program, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arguments: Vec<String> = text.split('\n').take(ARGUMENTS_MAX).map(str::to_owned).collect();
    let _ = argv::mode(&arguments);
    let line = argv::parse(program, &arguments);
    if let Err(argv::Stop::Usage(message)) = &line {
        assert!(!message.is_empty(), "a failure says why");
    }
    if let Ok(line) = line {
        // Single letters may stand together, as in `-dd`.
        let most: usize = arguments.iter().map(|argument| argument.len().max(1)).sum();
        assert!(line.events.len() <= most, "a letter is one event at most");
    }
}

/// The same lines ended as elsewhere.
fn crlf(bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    lines.join(&b"\r\n"[..])
}

/// The assignments, or the line of the first mistake.
fn values_of(bytes: &[u8]) -> Result<Vec<(String, String, String)>, usize> {
    let all = ini::parse(bytes).map_err(|error| error.line)?;
    Ok(all.into_iter().map(|one| (one.section, one.name, one.value)).collect())
}
