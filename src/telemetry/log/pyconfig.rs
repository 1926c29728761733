//! `log_config_append`: the file form of Python's `logging.config.fileConfig`.
//!
//! Out of scope: classes and expressions that only Python could evaluate. A handler whose class is not known
//! writes to standard output, and a warning says so.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::clock::Clock;
use super::format::{Format, PlainFormat};
use super::journal::Journal;
use super::levels::Levels;
use super::pyliteral::{self, Literal};
use super::setup::{Logger, OpenError, Setup, could_open, open};
use super::sink::{Handler, Sink};
use super::syslog::{Address, Frame, Syslog};
use crate::telemetry::{FACILITY_USER, LogSettings, Rotation, When, level};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most loggers, handlers and formatters of a file, each.
const NAMES_MAX: usize = 200;
/// The level of the root logger when nothing sets it: oslo.log resets Python's, which is 30 (`_load_log_config`).
const ROOT_DEFAULT: u32 = 0;

/// The logging configuration cannot be used. The text is oslo.log's (`oslo_log/log.py`, `LogConfigError`).
#[derive(Debug, Error)]
#[error("Error loading logging config {}: {reason}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    reason: String,
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) setup: Setup,
    pub(super) levels: Levels,
    pub(super) warnings: Vec<String>,
}

/// Reads the file and opens what it names.
pub(super) fn load(path: &Path, settings: &LogSettings, clock: &Clock) -> Result<Loaded, ConfigError> {
    read(path, settings, &|path, rotation| open(path, rotation, clock))
}

/// Reads the file, and of the log files that it names looks only whether they could be opened.
pub(super) fn examine(path: &Path, settings: &LogSettings) -> Result<Vec<String>, ConfigError> {
    let closed = |path: &Path, _: Rotation| could_open(path).map(|()| Sink::Null);
    read(path, settings, &closed).map(|loaded| loaded.warnings)
}

/// The log files that the file names; none if it cannot be used.
pub(super) fn files(path: &Path, settings: &LogSettings) -> Vec<PathBuf> {
    let found = RefCell::new(Vec::new());
    let noted = |path: &Path, _: Rotation| {
        found.borrow_mut().push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(Sink::Null)
    };
    // What is wrong with it is said by whoever uses it.
    let _ = read(path, settings, &noted);
    found.into_inner()
}

/// How log files are opened.
type Opener<'a> = dyn Fn(&Path, Rotation) -> Result<Sink, OpenError> + 'a;

fn read(path: &Path, settings: &LogSettings, opener: &Opener<'_>) -> Result<Loaded, ConfigError> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| python_os_error(&error, path));
    let loaded = read.and_then(|len| {
        if len == 0 {
            return Err(format!("{} is an empty file", path.display()));
        }
        let mut reader = Reader { file: sections(&text)?, settings, opener, warnings: Vec::new() };
        let (setup, levels) = reader.read()?;
        Ok(Loaded { setup, levels, warnings: reader.warnings })
    });
    loaded.map_err(|reason| ConfigError { path: path.to_path_buf(), reason })
}

/// As `str` of Python's OSError.
fn python_os_error(error: &io::Error, path: &Path) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("[Errno {number}] {text}: '{}'", path.display())
        }
        None => text,
    }
}

type Section = HashMap<String, String>;

/// Sections of the file (`configparser`): `key = value` or `key: value`, comments, and lines that go on indented.
fn sections(text: &str) -> Result<HashMap<String, Section>, String> {
    let mut sections: HashMap<String, Section> = HashMap::new();
    let (mut section, mut key) = (None::<String>, None::<String>);
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let values = section.as_ref().and_then(|name| sections.get_mut(name));
        if line.starts_with([' ', '\t'])
            && let (Some(values), Some(key)) = (values, &key)
        {
            let value = values.entry(key.clone()).or_default();
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
            key = None;
            continue;
        }
        let Some(values) = section.as_ref().and_then(|name| sections.get_mut(name)) else {
            return Err(format!("File contains no section headers.\nline {number}"));
        };
        let Some(at) = trimmed.find(['=', ':']) else {
            return Err(format!("Source contains parsing errors at line {number}"));
        };
        let name = trimmed[..at].trim().to_lowercase();
        values.insert(name.clone(), trimmed[at + 1..].trim().to_owned());
        key = Some(name);
    }
    Ok(sections)
}

struct Reader<'a> {
    file: HashMap<String, Section>,
    settings: &'a LogSettings,
    opener: &'a Opener<'a>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(Setup, Levels), String> {
        let mut formats = HashMap::new();
        for name in self.names("formatters")? {
            let format = self.format(&name)?;
            formats.insert(name, format);
        }
        let mut handlers = Vec::new();
        let mut handler_names = Vec::new();
        for name in self.names("handlers")? {
            handlers.push(self.handler(&name, &formats)?);
            handler_names.push(name);
        }
        let names = self.names("loggers")?;
        if !names.iter().any(|name| name == "root") {
            return Err("the section loggers does not list root".to_owned());
        }
        let index_of = |wanted: &str| {
            handler_names.iter().position(|name| name == wanted).ok_or_else(|| format!("'{wanted}'"))
        };
        let (mut root, mut levels) = (Vec::new(), Levels { root: ROOT_DEFAULT, loggers: Vec::new() });
        let mut loggers = Vec::new();
        for name in names {
            let section = self.section(&format!("logger_{name}"))?;
            let own: Vec<usize> =
                list(value(section, "handlers")?).map(index_of).collect::<Result<_, _>>()?;
            let own_level = section.get("level").map(|level| level_of(level)).transpose()?;
            if name == "root" {
                root = own;
                levels.root = own_level.unwrap_or(ROOT_DEFAULT);
                continue;
            }
            let qualname = value(section, "qualname")?.to_owned();
            levels.loggers.extend(own_level.map(|level| (qualname.clone(), level)));
            let propagate = section.get("propagate").is_none_or(|text| text.trim() != "0");
            loggers.push(Logger { name: qualname, handlers: own, propagate });
        }
        Ok((Setup::new(handlers, root, loggers), levels))
    }

    /// The names that a section lists; the text of an error is that of Python's KeyError.
    fn names(&self, section: &str) -> Result<Vec<String>, String> {
        let keys = value(self.section(section)?, "keys")?;
        let names: Vec<String> = list(keys).map(str::to_owned).collect();
        if names.len() > NAMES_MAX {
            return Err(format!("the section {section} lists more than {NAMES_MAX} names"));
        }
        Ok(names)
    }

    fn section(&self, name: &str) -> Result<&Section, String> {
        self.file.get(name).ok_or_else(|| format!("'{name}'"))
    }

    fn format(&mut self, name: &str) -> Result<Format, String> {
        let section = self.section(&format!("formatter_{name}"))?;
        let format = section.get("format").cloned();
        let date = section.get("datefmt").cloned();
        let class = section.get("class").cloned().unwrap_or_default();
        Ok(match class.rsplit('.').next().unwrap_or_default() {
            "ContextFormatter" => Format::context(&self.settings.formats, date),
            "JSONFormatter" => Format::Json(date),
            "" | "Formatter" => Format::Plain(PlainFormat::new(format.as_deref(), date)),
            _ => {
                self.warnings.push(format!(
                    "formatter {name}: the class {class} is not known, its format is used alone"
                ));
                Format::Plain(PlainFormat::new(format.as_deref(), date))
            }
        })
    }

    fn handler(&mut self, name: &str, formats: &HashMap<String, Format>) -> Result<Handler, String> {
        let section = self.section(&format!("handler_{name}"))?.clone();
        let class = value(&section, "class")?;
        let arguments = Arguments::read(&section).map_err(|error| format!("handler {name}: {error}"))?;
        let format = match section.get("formatter").map(|formatter| formatter.trim()).unwrap_or_default() {
            "" => Format::Plain(PlainFormat::new(None, None)),
            formatter => formats.get(formatter).cloned().ok_or_else(|| format!("'{formatter}'"))?,
        };
        let mut color = false;
        let sink = match class.rsplit('.').next().unwrap_or_default() {
            "ColorHandler" => {
                color = true;
                arguments.stream()
            }
            "StreamHandler" => arguments.stream(),
            "FileHandler" | "WatchedFileHandler" => Some(self.file(&arguments, Rotation::None)?),
            "RotatingFileHandler" => Some(self.file(&arguments, arguments.by_size())?),
            "TimedRotatingFileHandler" => Some(self.file(&arguments, arguments.by_time()?)?),
            "SysLogHandler" => arguments.syslog(&self.settings.sockets.syslog),
            "OSSysLogHandler" => {
                let address = Address::Unix(self.settings.sockets.syslog.clone());
                let frame = Frame::Dated(self.settings.program.clone());
                // The argument is a facility as syslog(3) has it, shifted by three bits.
                let facility = arguments.number(0, "facility").map_or(FACILITY_USER, |code| low(code >> 3));
                Some(Sink::Syslog(Syslog::new(address, frame, facility)))
            }
            "OSJournalHandler" | "JournalHandler" | "JournaldLogHandler" => {
                let (path, program) = (self.settings.sockets.journal.clone(), self.settings.program.clone());
                Some(Sink::Journal(Journal::new(path, program, FACILITY_USER)))
            }
            "NullHandler" => Some(Sink::Null),
            _ => None,
        };
        let sink = sink.unwrap_or_else(|| {
            self.warnings.push(format!(
                "handler {name}: {class} with these arguments is not known, standard output is used instead"
            ));
            Sink::Stream(Box::new(io::stdout()))
        });
        let mut handler = Handler::new(format, sink);
        if color {
            handler = handler.colored();
        }
        if let Some(text) = section.get("level") {
            handler.level = level_of(text)?;
        }
        Ok(handler)
    }

    fn file(&self, arguments: &Arguments, rotation: Rotation) -> Result<Sink, String> {
        let path = arguments.text(0, "filename").ok_or("a file handler's arguments name no file")?;
        (self.opener)(Path::new(path), rotation).map_err(|error| error.to_string())
    }
}

fn value<'a>(section: &'a Section, key: &str) -> Result<&'a str, String> {
    section.get(key).map(String::as_str).ok_or_else(|| format!("'{key}'"))
}

/// Items between commas.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn level_of(text: &str) -> Result<u32, String> {
    level(text.trim()).ok_or_else(|| format!("Unknown level: '{text}'"))
}

fn low(code: i64) -> u8 {
    u8::try_from(code.clamp(0, 23)).unwrap_or(FACILITY_USER)
}

/// `args` and `kwargs` of a handler.
struct Arguments {
    by_place: Vec<Literal>,
    by_name: Vec<(String, Literal)>,
}

impl Arguments {
    fn read(section: &Section) -> Result<Self, String> {
        let parsed = |key: &str, none: &str| {
            let text = section.get(key).map_or(none, String::as_str);
            pyliteral::parse(text).ok_or_else(|| format!("{key} cannot be understood: {text}"))
        };
        let by_place = match parsed("args", "()")? {
            Literal::Tuple(items) => items,
            // What is in parentheses without a comma is the thing itself.
            Literal::Dict(_) => return Err("args is not a tuple".to_owned()),
            single => vec![single],
        };
        let Literal::Dict(by_name) = parsed("kwargs", "{}")? else {
            return Err("kwargs is not a dictionary".to_owned());
        };
        Ok(Self { by_place, by_name })
    }

    fn at(&self, place: usize, name: &str) -> Option<&Literal> {
        let named = self.by_name.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        self.by_place.get(place).or(named)
    }

    fn text(&self, place: usize, name: &str) -> Option<&str> {
        match self.at(place, name)? {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self, place: usize, name: &str) -> Option<i64> {
        match self.at(place, name)? {
            Literal::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Standard error unless standard output is named; none for anything else.
    fn stream(&self) -> Option<Sink> {
        match self.at(0, "stream").or_else(|| self.at(0, "strm")) {
            None | Some(Literal::None) => Some(Sink::Stream(Box::new(io::stderr()))),
            Some(Literal::Name(name)) if name == "sys.stderr" => Some(Sink::Stream(Box::new(io::stderr()))),
            Some(Literal::Name(name)) if name == "sys.stdout" => Some(Sink::Stream(Box::new(io::stdout()))),
            Some(_) => None,
        }
    }

    fn by_size(&self) -> Rotation {
        let number = |place, name| self.number(place, name).and_then(|number| u64::try_from(number).ok());
        Rotation::Size {
            bytes_max: number(2, "maxBytes").unwrap_or(0),
            count: number(3, "backupCount").and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        }
    }

    fn by_time(&self) -> Result<Rotation, String> {
        let when = self.text(1, "when").unwrap_or("h").to_uppercase();
        let when = match when.as_str() {
            "S" => When::Seconds,
            "M" => When::Minutes,
            "H" => When::Hours,
            "D" => When::Days,
            "MIDNIGHT" => When::Midnight,
            day => match day.strip_prefix('W').and_then(|day| day.parse().ok()) {
                Some(day @ 0..=6) => When::Weekday(day),
                _ => return Err(format!("Invalid rollover interval specified: {day}")),
            },
        };
        let interval = self.number(2, "interval").and_then(|number| u32::try_from(number).ok()).unwrap_or(1);
        let count =
            self.number(3, "backupCount").and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        Ok(Rotation::Interval { when, interval, count })
    }

    /// A path or a host and port, for datagrams or a stream; none for what cannot be reached so.
    fn syslog(&self, usual: &Path) -> Option<Sink> {
        let address = match self.at(0, "address") {
            None => Address::Udp("localhost".to_owned(), 514),
            // The usual place may be elsewhere in a test.
            Some(Literal::Text(path)) if path == "/dev/log" => Address::Unix(usual.to_path_buf()),
            Some(Literal::Text(path)) => Address::Unix(PathBuf::from(path)),
            Some(Literal::Tuple(items)) => match items.as_slice() {
                [Literal::Text(host), Literal::Int(port)] => {
                    Address::Udp(host.clone(), u16::try_from(*port).ok()?)
                }
                [Literal::Text(host), Literal::Name(_)] => Address::Udp(host.clone(), 514),
                _ => return None,
            },
            Some(_) => return None,
        };
        let facility = match self.at(1, "facility") {
            None => FACILITY_USER,
            Some(Literal::Int(code)) => low(*code),
            Some(Literal::Name(name) | Literal::Text(name)) => {
                crate::telemetry::facility(name.rsplit('.').next().unwrap_or(name))?
            }
            Some(_) => return None,
        };
        // Python has the names in `logging.handlers`, and takes the numbers of Linux as well.
        let is_stream = match self.at(2, "socktype") {
            None | Some(Literal::None | Literal::Int(2)) => false,
            Some(Literal::Int(1)) => true,
            Some(Literal::Name(name)) => match name.strip_prefix("handlers.").unwrap_or(name) {
                "socket.SOCK_DGRAM" => false,
                "socket.SOCK_STREAM" => true,
                _ => return None,
            },
            Some(_) => return None,
        };
        let address = match address {
            Address::Udp(host, port) if is_stream => Address::Tcp(host, port),
            Address::Unix(path) if is_stream => Address::UnixStream(path),
            address => address,
        };
        Some(Sink::Syslog(Syslog::new(address, Frame::Bare, facility)))
    }
}
