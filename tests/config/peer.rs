//! One configuration, what we make of it, and what Nova's own options under the real oslo.config make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use consolegate::control::config::{DEFAULT, OWN, OptionDef, Origin, Program, Value, find, read, survey};
use serde_json::{Value as Json, json};

/// What stands in arguments for the directory of the case.
const HERE: &str = "@/";

/// Group and name of an option.
pub(crate) type Name = (String, String);

/// The names under which files may have each of Nova's options, by the current one, which is among them.
pub(crate) type Known = BTreeMap<Name, BTreeSet<Name>>;

/// The current name of one of ours.
pub(crate) fn name_of(option: &OptionDef) -> Name {
    (option.group.to_owned(), option.name.to_owned())
}

/// One configuration: files by name below the case's directory, which `@/` stands for in argv.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) argv: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
}

impl Case {
    /// One for nova-novncproxy.
    pub(crate) fn new(name: &str, argv: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            program: Program::NoVncProxy,
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn program(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    fn directory(&self, root: &Path) -> PathBuf {
        root.join(&self.name)
    }

    fn arguments(&self, root: &Path) -> Vec<String> {
        let directory = format!("{}/", self.directory(root).display());
        self.argv.iter().map(|argument| argument.replace(HERE, &directory)).collect()
    }

    fn variables(&self, root: &Path) -> BTreeMap<String, String> {
        let home = ("HOME".to_owned(), self.directory(root).display().to_string());
        self.environment.iter().cloned().chain([home]).collect()
    }
}

/// What became of a case.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The program ended before it had values
    Ended {
        status: i64,
        /// The line that says why
        reason: String,
    },
    /// It has values
    Read {
        /// The lines about old names of options that the program reads, sorted, each once: oslo.config warns
        /// again where it looks a value up again
        deprecations: Vec<String>,
        /// By `group.name`
        options: BTreeMap<String, Got>,
    },
}

/// What became of an option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    /// Its value, or what is said of the text that is none
    pub(crate) result: Result<Json, String>,
    /// Whether a file has it under an old name; unknown where a file has it no longer to decide
    pub(crate) old_name: Option<bool>,
}

impl Got {
    fn shown(&self) -> String {
        let place = if self.old_name == Some(true) { " under an old name" } else { "" };
        match &self.result {
            Ok(value) => format!("{value}{place}"),
            Err(error) => format!("{error}{place}"),
        }
    }
}

/// Where the outcomes of one case part.
#[derive(Debug, PartialEq)]
pub(crate) struct Difference {
    /// `group.name`, or nothing where the outcomes as a whole differ
    pub(crate) option: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl Difference {
    /// Whether it is that a default is where Nova is installed, or the machine or process that reads it.
    pub(crate) fn is_of_the_installation(&self) -> bool {
        match &*self.option {
            "DEFAULT.pybasedir" | "DEFAULT.state_path" => self.ours == "\"/usr/lib/python3/dist-packages\"",
            "oslo_messaging_rabbit.hostname" | "oslo_messaging_rabbit.processname" => self.ours == "null",
            _ => false,
        }
    }
}

/// Both outcomes of each case, theirs second.
pub(crate) fn outcomes(cases: &[&Case], name: &str) -> Vec<(Outcome, Outcome)> {
    let root = std::env::temp_dir().join(format!("consolegate-config-{name}-{}", std::process::id()));
    for case in cases {
        for (name, text) in &case.files {
            let path = case.directory(&root).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(case.directory(&root)).unwrap();
    }
    let theirs = theirs(cases, &root);
    assert_eq!(theirs.len(), cases.len());
    // Tests of one process share the directory that relative paths start at.
    static DIRECTORY: Mutex<()> = Mutex::new(());
    let _guard = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    let pairs = cases.iter().zip(theirs).map(|(case, theirs)| (ours(case, &root), theirs)).collect();
    let _ = fs::remove_dir_all(&root);
    pairs
}

/// Everything in which the two differ. Options that only one side has are not among it.
pub(crate) fn differences(ours: &Outcome, theirs: &Outcome) -> Vec<Difference> {
    let whole = || Difference { option: String::new(), ours: brief(ours), theirs: brief(theirs) };
    let (
        Outcome::Read { deprecations: our_lines, options: ours },
        Outcome::Read { deprecations: their_lines, options: theirs },
    ) = (ours, theirs)
    else {
        return if ours == theirs { Vec::new() } else { vec![whole()] };
    };
    let mut all = Vec::new();
    if our_lines != their_lines {
        all.push(Difference {
            option: String::new(),
            ours: format!("{our_lines:?}"),
            theirs: format!("{their_lines:?}"),
        });
    }
    for (option, ours) in ours {
        let Some(theirs) = theirs.get(option) else { continue };
        let old_names_differ = ours.old_name.is_some() && ours.old_name != theirs.old_name;
        if ours.result != theirs.result || old_names_differ {
            all.push(Difference { option: option.clone(), ours: ours.shown(), theirs: theirs.shown() });
        }
    }
    all
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ended { .. } => format!("{outcome:?}"),
        Outcome::Read { options, .. } => format!("{} options", options.len()),
    }
}

fn ours(case: &Case, root: &Path) -> Outcome {
    let argv: Vec<OsString> = std::iter::once(case.program.name().to_owned())
        .chain(case.arguments(root))
        .map(OsString::from)
        .collect();
    let variables = case.variables(root);
    let environment = |name: &str| variables.get(name).map(OsString::from);
    // A relative path is relative to where the program starts.
    std::env::set_current_dir(case.directory(root)).unwrap();
    let read = read(&argv, &environment);
    let survey = survey(&argv, &environment);
    std::env::set_current_dir("/").unwrap();
    let survey = match (read, survey) {
        // The program reads further ones only where it needs them, Nova's too.
        (Err(exit), Ok(survey)) if exit.stderr.starts_with("Value for option ") => {
            let first = survey.clone().values().unwrap_err();
            assert_eq!(first, exit, "{}: a survey has the errors of the program", case.name);
            survey
        }
        (Err(exit), _) => {
            return Outcome::Ended { status: exit.status.into(), reason: reason(&exit.stderr) };
        }
        (Ok(_), survey) => survey.expect("what can be read can be surveyed"),
    };
    let warnings = survey.warnings.iter().filter_map(|one| one.strip_prefix("Deprecated: "));
    let options = survey.options.iter().filter(|one| one.option.group != OWN).map(|one| {
        let got = Got {
            result: one.result.as_ref().map(to_json).map_err(|message| reason(message)),
            old_name: matches!(one.origin, Origin::File { .. }).then(|| one.old_name().is_some()),
        };
        (format!("{}.{}", one.option.group, one.option.name), got)
    });
    Outcome::Read { deprecations: old_names(warnings), options: options.collect() }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Unset => Json::Null,
        Value::Bool(on) => json!(on),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Str(text) => json!(text),
        Value::List(items) => json!(items),
        Value::Secret(secret) => json!(str::from_utf8(secret.expose()).unwrap()),
    }
}

/// Those that are about old names, sorted and each once.
fn old_names<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> =
        lines.filter(|line| line.contains(" is deprecated. Use option ")).map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// The line of a message that both programs have: without our note about the place, and without the
/// name of the place itself, which oslo.config prints as a Python object.
fn reason(stderr: &str) -> String {
    let without_note = stderr.split("\n(option ").next().unwrap_or_default().trim_end();
    // A value of several lines is part of its message.
    let message = without_note.rfind("Value for option ").map(|start| &without_note[start..]);
    let last = message.unwrap_or_else(|| without_note.lines().next_back().unwrap_or_default());
    match (last.split_once(" from "), last.split_once(" is not valid: ")) {
        (Some((option, _)), Some((_, why))) => format!("{option} is not valid: {why}"),
        _ => last.to_owned(),
    }
}

/// What Nova registers.
pub(crate) fn known() -> Known {
    let known = ask(String::new()).remove(0);
    let name = |name: &Json| {
        let part = |index: usize| name[index].as_str().unwrap();
        // Groups have no case but for this one, as in files.
        let group = if part(0) == DEFAULT { DEFAULT.to_owned() } else { part(0).to_lowercase() };
        (group, part(1).to_owned())
    };
    let all = known.as_object().unwrap().values().map(|names| {
        let names = names.as_array().unwrap();
        (name(&names[0]), names.iter().map(name).collect())
    });
    all.collect()
}

fn theirs(cases: &[&Case], root: &Path) -> Vec<Outcome> {
    let mut questions = String::new();
    for case in cases {
        let question = json!({
            "program": case.program.name(),
            "argv": case.arguments(root),
            "environment": case.variables(root),
            "directory": case.directory(root),
        });
        questions.push_str(&format!("{question}\n"));
    }
    let answers = ask(questions).into_iter().skip(1);
    answers.zip(cases).map(|(answer, case)| outcome(&answer, case.program)).collect()
}

/// The lines with which Nova's side answers these.
fn ask(questions: String) -> Vec<Json> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON")
        .map_or_else(|| manifest.join("target/test-python/bin/python"), PathBuf::from);
    let mut child = Command::new(&python)
        .args(["-W", "ignore"])
        .arg(manifest.join("tests/config/nova_peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{} failed: is nova installed there?", python.display());
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn outcome(answer: &Json, program: Program) -> Outcome {
    let status = answer["status"].as_i64().unwrap();
    if status != 0 || answer.get("stderr").is_some() {
        return Outcome::Ended { status, reason: reason(answer["stderr"].as_str().unwrap()) };
    }
    let lines = |of: &Json| -> Vec<String> {
        let all = of.get("deprecations").and_then(Json::as_array).into_iter().flatten();
        all.map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let options = answer["options"].as_object().unwrap();
    let all: Vec<String> = lines(answer).into_iter().chain(options.values().flat_map(lines)).collect();
    let got = options.iter().map(|(key, got)| {
        let (group, name) = key.split_once('.').unwrap();
        let new = |line: &String| {
            line.ends_with(&format!(" Use option \"{name}\" from group \"{group}\"."))
                || line
                    .ends_with(&format!(" Use option \"{}\" from group \"{group}\".", name.replace('_', "-")))
        };
        let result = match got.get("error") {
            Some(error) => Err(reason(error.as_str().unwrap())),
            None => Ok(got["value"].clone()),
        };
        (key.clone(), Got { result, old_name: Some(all.iter().any(new)) })
    });
    let is_read = |key: &String| {
        let (group, name) = key.split_once('.').unwrap();
        find(group, name).is_some_and(|option| option.is_for(program))
    };
    let of_the_program = options.iter().filter(|(key, _)| is_read(key)).flat_map(|(_, got)| lines(got));
    let of_the_program: Vec<String> = lines(answer).into_iter().chain(of_the_program).collect();
    Outcome::Read {
        deprecations: old_names(of_the_program.iter().map(String::as_str)),
        options: got.collect(),
    }
}
