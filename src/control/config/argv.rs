//! The command line, as Python's argparse reads what oslo.config registers.
//!
//! Only its form is judged here. Values are checked with those from files, since a later `--config-file`
//! overrides an earlier flag.

use super::options::{DEFAULT, OptionDef, options};
use super::program::Program;
use super::values::{Kind, python_repr};

/// The flag that starts nothing.
pub(super) const CHECK: &str = "--check";

/// What stands on the command line, in its order.
#[derive(Debug)]
pub(super) enum Event {
    /// A flag gives an option a value
    Set { option: &'static OptionDef, text: String },
    /// `--config-file`
    ConfigFile(String),
    /// `--config-dir`
    ConfigDir(String),
}

/// A well-formed command line.
#[derive(Debug, Default)]
pub(super) struct CommandLine {
    pub(super) events: Vec<Event>,
    pub(super) warnings: Vec<String>,
}

/// The command line asks for something else than a start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// It is wrong: status 2 with this text
    Usage(String),
}

#[derive(Clone, Copy)]
enum Action {
    Value(&'static OptionDef),
    /// A flag of a boolean, and what it sets
    Switch(&'static OptionDef, bool),
    ConfigFile,
    ConfigDir,
    Mode,
    /// `--check`, which decides before anything is parsed
    Check,
    Help,
    Version,
    /// `--verbose`, which old releases had
    Verbose,
}

impl Action {
    fn takes(self) -> Takes {
        match self {
            Self::Value(option) => match option.kind {
                Kind::Choice(choices) | Kind::ChoiceAnyCase(choices) | Kind::ListOf(choices) => {
                    Takes::OneOf(choices)
                }
                // Most texts are paths, and of the others none is told from a path by its declaration.
                Kind::Str => Takes::File,
                _ => Takes::Anything,
            },
            Self::ConfigFile => Takes::File,
            Self::ConfigDir => Takes::Directory,
            Self::Mode => Takes::OneOf(&Program::NAMES),
            Self::Switch(..) | Self::Check | Self::Help | Self::Version | Self::Verbose => Takes::Nothing,
        }
    }

    fn takes_value(self) -> bool {
        self.takes() != Takes::Nothing
    }
}

/// What may stand behind a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    File,
    Directory,
    /// One of these
    OneOf(&'static [&'static str]),
    /// What nobody can guess
    Anything,
}

/// One flag, under all its spellings.
pub(super) struct Flag {
    action: Action,
    /// Spellings with their dashes, the usual one first; a unique prefix of a long one will do
    spellings: Vec<String>,
    /// Spellings that have to be whole; next to others they are historic
    exact: Vec<String>,
    /// What its values are, for who completes them
    pub(super) takes: Takes,
    /// What stands for the value in `--help`
    pub(super) placeholder: Option<String>,
    pub(super) help: String,
}

impl Flag {
    fn new(action: Action, spellings: &[&str], help: &str) -> Self {
        Self {
            action,
            spellings: spellings.iter().map(|spelling| (*spelling).to_owned()).collect(),
            exact: Vec::new(),
            takes: action.takes(),
            placeholder: None,
            help: help.to_owned(),
        }
    }

    fn placeholder(mut self, placeholder: &str) -> Self {
        self.placeholder = Some(placeholder.to_owned());
        self
    }

    fn whole_only(mut self) -> Self {
        self.exact.append(&mut self.spellings);
        self
    }

    /// The spellings to tell of: the usual ones, or where there are none, those that have to be whole.
    pub(super) fn shown(&self) -> &[String] {
        if self.spellings.is_empty() { &self.exact } else { &self.spellings }
    }

    /// Whether giving it twice says more than giving it once.
    pub(super) fn adds_up(&self) -> bool {
        matches!(self.action, Action::ConfigFile | Action::ConfigDir)
    }

    /// As argparse names an argument in its messages.
    fn display_name(&self) -> String {
        self.shown().join("/")
    }

    /// The warning due when the flag was spelled `name`.
    fn historic_warning(&self, name: &str) -> Option<String> {
        let usual = self.spellings.first()?;
        let is_historic = self.exact.iter().any(|exact| exact == name);
        is_historic.then(|| format!("Deprecated: {name} is the spelling of old releases. Use {usual}."))
    }
}

/// The flags of `program`: those of the options, and the few that are none.
pub(super) fn flags(program: Program) -> Vec<Flag> {
    let mut flags = vec![
        Flag::new(Action::Help, &["-h", "--help"], "show this help message and exit"),
        Flag::new(Action::Version, &["--version"], "show the version and exit"),
        Flag::new(Action::ConfigDir, &["--config-dir"], "Directory whose *.conf files are read, in the order of their names; may be repeated").placeholder("DIR"),
        Flag::new(Action::ConfigFile, &["--config-file"], "File to read instead of the default ones; may be repeated. Files and flags take effect in their order").placeholder("PATH"),
        Flag::new(Action::Verbose, &["--verbose", "-v", "--noverbose"], "").whole_only(),
    ];
    for option in options() {
        if let Some(flag) = option.flag_in(program) {
            flags.extend(option_flags(option, flag));
        }
    }
    flags.sort_by(|a, b| {
        a.display_name().trim_start_matches('-').cmp(b.display_name().trim_start_matches('-'))
    });
    // Ours are whole only, so that they cannot make an abbreviation ambiguous that Nova's programs accept.
    let mode = Flag::new(Action::Mode, &["--mode"], "Behave as the program of that name");
    flags.push(mode.placeholder("NAME").whole_only());
    let check =
        Flag::new(Action::Check, &[CHECK], "Check options, files, database and message bus, and exit");
    flags.push(check.whole_only());
    flags
}

fn option_flags(option: &'static OptionDef, flag: super::options::Flag) -> Vec<Flag> {
    let group = if option.group == DEFAULT { String::new() } else { format!("{}-", option.group) };
    let names = || std::iter::once(flag.name).chain(flag.aliases.iter().copied());
    let build = |action, no: &str, help: &str, placeholder: Option<String>| {
        let mut spellings = vec![format!("--{group}{no}{}", flag.name)];
        spellings.extend(flag.short.filter(|_| no.is_empty()).map(|short| format!("-{short}")));
        spellings.extend(names().skip(1).map(|alias| format!("--{no}{alias}")));
        let exact = flag.historic.iter().map(|name| format!("--{no}{name}")).collect();
        Flag { action, spellings, exact, takes: action.takes(), placeholder, help: help.to_owned() }
    };
    if option.kind == Kind::Bool {
        let inverse = format!("The inverse of --{group}{}", flag.name);
        return vec![
            build(Action::Switch(option, true), "", option.help, None),
            build(Action::Switch(option, false), "no", &inverse, None),
        ];
    }
    let placeholder = format!("{group}{}", flag.name).replace('-', "_").to_uppercase();
    vec![build(Action::Value(option), "", option.help, Some(placeholder))]
}

/// Reads the arguments after the program's name.
pub(super) fn parse(program: Program, arguments: &[String]) -> Result<CommandLine, Stop> {
    let flags = flags(program);
    let mut line = CommandLine::default();
    let mut unrecognized: Vec<&str> = Vec::new();
    let mut rest = arguments.iter().map(String::as_str).peekable();
    while let Some(argument) = rest.next() {
        match classify(&flags, argument)? {
            // An unset variable in a unit file or an init script leaves an empty argument.
            Argument::Positional if argument.is_empty() => {}
            Argument::Positional => unrecognized.push(argument),
            Argument::Flag(flag, attached) => {
                let (attached, mut cluster) = match attached {
                    Attached::Value(value) => (Some(value), ""),
                    Attached::Cluster(letters) => (None, letters),
                    Attached::Nothing => (None, ""),
                };
                let name = argument.split_once('=').map_or(argument, |(name, _)| name);
                line.warnings.extend(flag.historic_warning(name));
                let mut flag = flag;
                loop {
                    let value = match (flag.action.takes_value(), attached) {
                        (true, Some(value)) => value.to_owned(),
                        (true, None) => take_value(&flags, flag, &mut rest)?,
                        (false, Some(value)) => return Err(ignored_argument(flag, value)),
                        (false, None) => String::new(),
                    };
                    carry_out(flag, value, &mut line)?;
                    let Some(letter) = cluster.chars().next() else { break };
                    flag = find_short(&flags, letter).ok_or_else(|| ignored_argument(flag, cluster))?;
                    cluster = cluster.get(letter.len_utf8()..).unwrap_or("");
                }
            }
        }
    }
    if unrecognized.is_empty() {
        Ok(line)
    } else {
        Err(Stop::Usage(format!("unrecognized arguments: {}", unrecognized.join(" "))))
    }
}

/// The value of `--mode`, which decides how everything else is read. The last one counts.
pub(super) fn mode(arguments: &[String]) -> Option<&str> {
    let mut mode = None;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--mode") {
            Some("") => mode = rest.next(),
            Some(value) if value.starts_with('=') => mode = value.get(1..),
            _ => {}
        }
    }
    mode
}

enum Argument<'a> {
    Flag(&'a Flag, Attached<'a>),
    /// Anything else; these programs take none
    Positional,
}

enum Attached<'a> {
    Nothing,
    /// Of `--flag=value`
    Value(&'a str),
    /// The letters after the first in `-dh`
    Cluster(&'a str),
}

/// What argparse's `_parse_optional` does.
fn classify<'a>(flags: &'a [Flag], argument: &'a str) -> Result<Argument<'a>, Stop> {
    if !argument.starts_with('-') {
        return Ok(Argument::Positional);
    }
    if let Some(flag) = find_exact(flags, argument) {
        return Ok(Argument::Flag(flag, Attached::Nothing));
    }
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    let attached = value.map_or(Attached::Nothing, Attached::Value);
    if let Some(flag) = find_exact(flags, name) {
        return Ok(Argument::Flag(flag, attached));
    }
    if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.starts_with('-')) {
        let mut characters = letters.chars();
        return Ok(match characters.next().and_then(|letter| find_short(flags, letter)) {
            Some(flag) => Argument::Flag(flag, Attached::Cluster(characters.as_str())),
            None => Argument::Positional,
        });
    }
    if name.len() <= 2 {
        return Ok(Argument::Positional);
    }
    let candidates: Vec<(&Flag, &str)> = flags
        .iter()
        .flat_map(|flag| flag.spellings.iter().map(move |spelling| (flag, spelling.as_str())))
        .filter(|(_, spelling)| spelling.starts_with(name))
        .collect();
    match candidates.as_slice() {
        [] => Ok(Argument::Positional),
        [(flag, _)] => Ok(Argument::Flag(flag, attached)),
        several => {
            let names: Vec<&str> = several.iter().map(|(_, spelling)| *spelling).collect();
            Err(Stop::Usage(format!("ambiguous option: {argument} could match {}", names.join(", "))))
        }
    }
}

fn find_exact<'a>(flags: &'a [Flag], name: &str) -> Option<&'a Flag> {
    flags.iter().find(|flag| {
        flag.spellings.iter().any(|spelling| spelling == name) || flag.exact.iter().any(|exact| exact == name)
    })
}

fn find_short(flags: &[Flag], letter: char) -> Option<&Flag> {
    find_exact(flags, &format!("-{letter}"))
}

/// The next argument, unless it is a flag itself. A negative number and anything with a blank in it are
/// values, as in argparse.
fn take_value<'a>(
    flags: &[Flag],
    flag: &Flag,
    rest: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<String, Stop> {
    let is_value = |argument: &&str| match argument.strip_prefix('-') {
        None | Some("") => true,
        Some(rest) => (rest.contains(' ') || is_number(rest)) && find_exact(flags, argument).is_none(),
    };
    rest.next_if(is_value)
        .map(str::to_owned)
        .ok_or_else(|| Stop::Usage(format!("argument {}: expected one argument", flag.display_name())))
}

fn is_number(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && text.matches('.').count() <= 1
}

fn ignored_argument(flag: &Flag, value: &str) -> Stop {
    Stop::Usage(format!("argument {}: ignored explicit argument {}", flag.display_name(), python_repr(value)))
}

fn carry_out(flag: &Flag, value: String, line: &mut CommandLine) -> Result<(), Stop> {
    match flag.action {
        Action::Value(option) => line.events.push(Event::Set { option, text: value }),
        Action::Switch(option, on) => line.events.push(Event::Set { option, text: on.to_string() }),
        Action::ConfigFile => line.events.push(Event::ConfigFile(value)),
        Action::ConfigDir => line.events.push(Event::ConfigDir(value)),
        Action::Mode | Action::Check => {}
        Action::Help => return Err(Stop::Help),
        Action::Version => return Err(Stop::Version),
        Action::Verbose => line.warnings.push(
            "Deprecated: --verbose has no effect, as in Nova since its logging library dropped it."
                .to_owned(),
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }

    fn events(arguments: &[&str]) -> Vec<String> {
        let line = parse(Program::NoVncProxy, &strings(arguments)).unwrap();
        let shown = line.events.iter().map(|event| match event {
            Event::Set { option, text } => format!("{}.{}={text}", option.group, option.name),
            Event::ConfigFile(path) => format!("file {path}"),
            Event::ConfigDir(path) => format!("dir {path}"),
        });
        shown.collect()
    }

    fn stop(arguments: &[&str]) -> Stop {
        parse(Program::NoVncProxy, &strings(arguments)).unwrap_err()
    }

    fn usage(arguments: &[&str]) -> String {
        match stop(arguments) {
            Stop::Usage(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_files_keep_their_order() {
        assert_eq!(
            events(&[
                "--web",
                "/a",
                "--config-file=/f",
                "--vnc-novncproxy_port=1",
                "--config-dir",
                "/d",
                "-d",
                "--nodebug"
            ]),
            [
                "DEFAULT.web=/a",
                "file /f",
                "vnc.novncproxy_port=1",
                "dir /d",
                "DEFAULT.debug=true",
                "DEFAULT.debug=false"
            ]
        );
        assert_eq!(
            events(&["--logfile", "x", "--log-file", "y"]),
            ["DEFAULT.log_file=x", "DEFAULT.log_file=y"]
        );
    }

    #[test]
    fn a_unique_prefix_will_do() {
        assert_eq!(events(&["--vnc-novncproxy_p", "7000"]), ["vnc.novncproxy_port=7000"]);
        assert_eq!(events(&["--we=/a", "--config-f", "/f"]), ["DEFAULT.web=/a", "file /f"]);
        assert_eq!(
            usage(&["--vnc-novnc", "x"]),
            "ambiguous option: --vnc-novnc could match --vnc-novncproxy_host, --vnc-novncproxy_port"
        );
        assert_eq!(usage(&["--mod", "x"]), "unrecognized arguments: --mod x");
    }

    #[test]
    fn values_may_be_empty_negative_or_hold_blanks() {
        assert_eq!(events(&["--web", "", "--web="]), ["DEFAULT.web=", "DEFAULT.web="]);
        assert_eq!(events(&["--vnc-novncproxy_port", "-1"]), ["vnc.novncproxy_port=-1"]);
        assert_eq!(events(&["--record", "-a b", "--cert", "-"]), ["DEFAULT.record=-a b", "DEFAULT.cert=-"]);
        assert_eq!(usage(&["--log-file", "-d"]), "argument --log-file/--logfile: expected one argument");
        assert_eq!(usage(&["--web", "-1.2.3"]), "argument --web: expected one argument");
        assert_eq!(usage(&["--web"]), "argument --web: expected one argument");
    }

    #[test]
    fn booleans_take_no_value() {
        assert_eq!(usage(&["--daemon=true"]), "argument --daemon: ignored explicit argument 'true'");
        assert_eq!(usage(&["-dx"]), "argument --debug/-d: ignored explicit argument 'x'");
        assert_eq!(stop(&["-dh"]), Stop::Help);
    }

    #[test]
    fn everything_unknown_is_named_at_once() {
        assert_eq!(
            usage(&["--bogus", "x", "-d", "-z", "--ssl-only"]),
            "unrecognized arguments: --bogus x -z --ssl-only"
        );
        assert_eq!(
            usage(&["--spice-html5proxy_port", "1"]),
            "unrecognized arguments: --spice-html5proxy_port 1"
        );
        assert_eq!(stop(&["--bogus", "--help"]), Stop::Help);
        assert_eq!(stop(&["--version"]), Stop::Version);
    }

    #[test]
    fn an_empty_argument_adds_nothing() {
        assert_eq!(events(&["-d", ""]), ["DEFAULT.debug=true"]);
    }

    #[test]
    fn old_spellings_work_whole_and_warn() {
        let line =
            parse(Program::NoVncProxy, &strings(&["--novncproxy_port=7", "-v", "--vnc-novncproxy_port=8"]))
                .unwrap();
        assert_eq!(line.events.len(), 2);
        assert_eq!(line.warnings.len(), 2);
        assert!(
            line.warnings[0].contains("--novncproxy_port is the spelling of old releases"),
            "{}",
            line.warnings[0]
        );
        assert_eq!(usage(&["--novncproxy_por=7"]), "unrecognized arguments: --novncproxy_por=7");
        assert!(parse(Program::SpiceHtml5Proxy, &strings(&["--novncproxy_port=7"])).is_err());
    }

    #[test]
    fn the_last_mode_counts() {
        assert_eq!(mode(&strings(&["--mode", "a", "-d", "--mode=b"])), Some("b"));
        assert_eq!(mode(&strings(&["-d"])), None);
        assert_eq!(events(&["--mode", "nova-novncproxy", "-d"]), ["DEFAULT.debug=true"]);
    }

    proptest::proptest! {
        #[test]
        fn any_arguments_are_read_or_refused(arguments in proptest::collection::vec("-{0,2}[a-z_=]{0,12}|\\PC{0,8}", 0..6)) {
            for program in Program::ALL {
                let _ = parse(program, &arguments);
                let _ = mode(&arguments);
            }
        }
    }
}
