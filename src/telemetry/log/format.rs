//! From records to lines: `oslo_log/formatters.py` and Python's `logging.Formatter`.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use super::clock::{Clock, http_server_date, seconds, strftime};
use super::json;
use super::record::{Record, RequestId, Severity, escape};
use super::template::{Template, Value};
use crate::telemetry::Formats;

/// Most lines of one message; a peer's text must not fill the log.
const LINES_MAX: usize = 100;
/// Attributes of a request context that are `None` in the administrator's context that Nova's proxies use.
const CONTEXT_NONE: [&str; 16] = [
    "global_request_id",
    "user_name",
    "project_name",
    "domain_name",
    "user_domain_name",
    "project_domain_name",
    "user",
    "user_id",
    "project",
    "project_id",
    "tenant",
    "domain",
    "system_scope",
    "user_domain",
    "project_domain",
    "resource_uuid",
];

/// What all records of a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    pub(super) hostname: String,
    pub(super) started: SystemTime,
    pub(super) clock: Clock,
}

impl Process {
    pub(super) fn current() -> Self {
        let hostname = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        Self {
            id: std::process::id(),
            hostname: hostname.unwrap_or_default(),
            started: SystemTime::now(),
            clock: Clock::default(),
        }
    }

    /// The record's message, behind what Python's HTTP server puts in front of its own.
    pub(super) fn message<'a>(&self, record: &'a Record) -> Cow<'a, str> {
        match &record.client {
            None => Cow::Borrowed(&record.message),
            Some(client) => {
                let date = http_server_date(&self.clock.local(record.at));
                Cow::Owned(format!("{client} - - [{date}] {}", record.message))
            }
        }
    }
}

/// How records of one handler become text.
#[derive(Clone, Debug)]
pub(super) enum Format {
    /// `oslo_log.formatters.ContextFormatter`
    Context(Box<ContextFormat>),
    /// `logging.Formatter`
    Plain(PlainFormat),
    /// `oslo_log.formatters.JSONFormatter`, with the format of its date
    Json(Option<String>),
}

impl Format {
    pub(super) fn context(formats: &Formats, date: Option<String>) -> Self {
        Self::Context(Box::new(ContextFormat::new(formats, date)))
    }

    /// The same with the level's colour in the place of `%(color)s`.
    pub(super) fn colored(mut self) -> Self {
        if let Self::Context(format) = &mut self {
            format.color = true;
        }
        self
    }

    /// Appends the record's lines, each with its newline.
    pub(super) fn append(&self, record: &Record, process: &Process, out: &mut String) {
        match self {
            Self::Context(format) => format.append(record, process, out),
            Self::Plain(format) => format.append(record, process, out),
            Self::Json(date) => {
                let asctime = asctime(record, process, date.as_deref());
                json::append(record, process, &asctime, out);
            }
        }
    }
}

/// The date as Python's `Formatter.formatTime` writes it.
fn asctime(record: &Record, process: &Process, date: Option<&str>) -> String {
    let at = process.clock.local(record.at);
    match date {
        Some(date) => strftime(&at, date),
        None => format!("{},{:03}", strftime(&at, "%Y-%m-%d %H:%M:%S"), at.millisecond()),
    }
}

/// An attribute of Python's `LogRecord`.
fn attribute<'a>(record: &'a Record, process: &Process, name: &str) -> Option<Value<'a>> {
    let at = seconds(record.at);
    Some(match name {
        "name" => record.name().into(),
        "levelname" => record.severity.name().into(),
        "levelno" => Value::Int(record.severity.number().into()),
        "pathname" => record.place.file.into(),
        "filename" => record.place.file_name().into(),
        "module" => record.place.module().into(),
        "lineno" => Value::Int(record.place.line.into()),
        "funcName" => record.place.function().into(),
        "created" => Value::Float(at),
        "msecs" => Value::Int(process.clock.local(record.at).millisecond().into()),
        "relativeCreated" => Value::Float((at - seconds(process.started)) * 1_000.0),
        "thread" => Value::Int(record.thread_id.into()),
        "threadName" => record.thread_name().to_owned().into(),
        "processName" => "MainProcess".into(),
        "process" => Value::Int(process.id.into()),
        "hostname" => process.hostname.clone().into(),
        _ => return None,
    })
}

/// Calls `each` with every line of `text`, up to a bound.
fn lines(text: &str, mut each: impl FnMut(&str)) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    for (index, line) in text.split('\n').enumerate() {
        if index == LINES_MAX {
            each("... (more lines cut)");
            break;
        }
        let mut escaped = String::with_capacity(line.len());
        escape(line.strip_suffix('\r').unwrap_or(line), &mut escaped);
        each(&escaped);
    }
}

/// The failure's first line, which lines from WARNING on name besides their message.
pub(super) fn error_summary(record: &Record) -> Option<&str> {
    let exception = record.exception.as_deref().filter(|_| record.severity >= Severity::Warning)?;
    exception.lines().next()
}

/// One line per line of the message: each of them has the whole prefix, which Python's have not.
#[derive(Clone, Debug)]
pub(super) struct ContextFormat {
    context: Template,
    default: Template,
    debug_suffix: Option<Template>,
    exception_prefix: Template,
    user_identity: Template,
    instance_uuid: Template,
    date: Option<String>,
    /// Whether `%(color)s` is the level's, as `oslo_log/handlers.py` (`ColorHandler`) has it
    color: bool,
}

impl ContextFormat {
    fn new(formats: &Formats, date: Option<String>) -> Self {
        let suffix = Some(formats.debug_suffix.as_str()).filter(|suffix| !suffix.is_empty());
        Self {
            context: Template::new(&formats.context),
            default: Template::new(&formats.default),
            debug_suffix: suffix.map(|suffix| Template::new(&format!(" {suffix}"))),
            exception_prefix: Template::new(&formats.exception_prefix),
            user_identity: Template::new(&formats.user_identity),
            instance_uuid: Template::new(&formats.instance_uuid),
            date,
            color: false,
        }
    }

    fn append(&self, record: &Record, process: &Process, out: &mut String) {
        let format = if record.request.is_some() { &self.context } else { &self.default };
        let asctime = asctime(record, process, self.date.as_deref());
        let instance = self.instance(record);
        let user_identity = self.user_identity(record);
        let summary = error_summary(record);
        let mut message = process.message(record);
        if let Some(summary) = summary.filter(|_| !format.names("error_summary")) {
            message = Cow::Owned(format!("{message}: {summary}"));
        }
        let value = |name: &str, line: &str| {
            Some(match name {
                "asctime" => asctime.clone().into(),
                "message" | "msg" => line.to_owned().into(),
                "instance" => instance.clone().into(),
                "user_identity" => user_identity.clone().into(),
                "error_summary" => {
                    let mut text = String::new();
                    escape(summary.unwrap_or("-"), &mut text);
                    text.into()
                }
                "isotime" => isotime(record, process).into(),
                "project" if record.request.is_none() => "nova".into(),
                "version" => env!("CARGO_PKG_VERSION").into(),
                "color" if self.color => record.severity.color().into(),
                "color" | "resource" => "".into(),
                name => match attribute(record, process, name) {
                    Some(value) => value,
                    None => context_attribute(record, name)?,
                },
            })
        };
        lines(&message, |line| {
            format.render(&|name| value(name, line), out);
            if let Some(suffix) = self.debug_suffix.as_ref().filter(|_| record.severity == Severity::Debug) {
                suffix.render(&|name| value(name, line), out);
            }
            out.push('\n');
        });
        if let Some(exception) = &record.exception {
            lines(exception, |line| {
                self.exception_prefix.render(&|name| value(name, ""), out);
                out.push_str(line);
                out.push('\n');
            });
        }
    }

    fn instance(&self, record: &Record) -> String {
        let mut text = String::new();
        if let Some(uuid) = &record.instance_uuid {
            let mut escaped = String::new();
            escape(uuid, &mut escaped);
            let value = |name: &str| if name == "uuid" { Some(escaped.clone().into()) } else { None };
            self.instance_uuid.render(&value, &mut text);
        }
        text
    }

    fn user_identity(&self, record: &Record) -> String {
        let mut text = String::new();
        if record.request.is_some() {
            // What is false in the context becomes a dash (`_ReplaceFalseValue`).
            let value = |name: &str| match context_attribute(record, name) {
                Some(Value::None) | None => None,
                known => known,
            };
            self.user_identity.render(&value, &mut text);
        }
        text
    }
}

/// An attribute of the request's context: an administrator's, without a user. Outside a request some of them are
/// empty, and the others unknown.
fn context_attribute(record: &Record, name: &str) -> Option<Value<'static>> {
    match (record.request, name) {
        (Some(number), "request_id") => Some(RequestId(number).to_string().into()),
        (Some(_), "is_admin" | "is_admin_project") => Some("True".into()),
        (Some(_), "read_only" | "show_deleted") => Some("False".into()),
        (Some(_), name) if CONTEXT_NONE.contains(&name) => Some(Value::None),
        (None, "user_name" | "project_name" | "global_request_id") => Some("".into()),
        _ => None,
    }
}

fn isotime(record: &Record, process: &Process) -> String {
    strftime(&process.clock.local(record.at), "%Y-%m-%dT%H:%M:%S.%6f%:z")
}

/// A format of the logging configuration file.
#[derive(Clone, Debug)]
pub(super) struct PlainFormat {
    template: Template,
    date: Option<String>,
}

impl PlainFormat {
    pub(super) fn new(format: Option<&str>, date: Option<String>) -> Self {
        Self { template: Template::new(format.unwrap_or("%(message)s")), date }
    }

    fn append(&self, record: &Record, process: &Process, out: &mut String) {
        let asctime = asctime(record, process, self.date.as_deref());
        let message = process.message(record);
        lines(&message, |line| {
            let value = |name: &str| match name {
                "asctime" => Some(asctime.clone().into()),
                "message" => Some(line.to_owned().into()),
                name => attribute(record, process, name),
            };
            self.template.render(&value, out);
            out.push('\n');
        });
        if let Some(exception) = &record.exception {
            lines(exception, |line| {
                let _ = writeln!(out, "{line}");
            });
        }
    }
}
