//! Every option, declared once: parsing, `--help`, the warning about options without effect and the
//! documentation derive from this table.
//!
//! Names, types and defaults are Nova's (`nova/conf/`, `oslo_log/_options.py`, `oslo_messaging`); the group
//! `[consolegate]` is ours. Options of other services in the same file are ignored silently.

use std::sync::LazyLock;

use super::program::Program;
use super::values::{ANY_INT, Kind};
use crate::session::limits::ROWS;

/// Group of the options that are in no group.
pub const DEFAULT: &str = "DEFAULT";
/// Group of our own options, which no service of Nova registers.
pub const OWN: &str = "consolegate";

/// The declaration of one option.
#[derive(Clone, Debug)]
pub struct OptionDef {
    /// Section of the file, lower case but for `DEFAULT`
    pub group: &'static str,
    /// Name in files and in the environment
    pub name: &'static str,
    /// Type
    pub kind: Kind,
    /// Value when nothing is configured
    pub default: Default,
    /// How it is spelled on the command line, if it may stand there
    pub flag: Option<Flag>,
    /// The only program that reads it; all do when absent
    pub only: Option<Program>,
    /// Older `(group, name)`s, still read from files with a warning
    pub deprecated: &'static [(&'static str, &'static str)],
    /// Whether the value may never be shown
    pub secret: bool,
    /// What this program does with it
    pub effect: Effect,
    /// One line for `--help` and the documentation
    pub help: &'static str,
}

/// The value of an option that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// None
    Unset,
    /// Text as it would stand in a file
    Text(&'static str),
    /// A number
    Number(i64),
    /// One per program, in the order of [`Program::ALL`]
    PerProgram([Option<&'static str>; 3]),
}

/// The spelling of an option on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Long name, without the group's prefix
    pub name: &'static str,
    /// Letter of the short form
    pub short: Option<char>,
    /// Other long names, as good as the first
    pub aliases: &'static [&'static str],
    /// Long names of old releases, accepted whole and with a warning
    pub historic: &'static [&'static str],
}

/// What this program does with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It works
    Used,
    /// Accepted, without effect for this reason; a warning at start says so when it is set
    NoEffect(&'static str),
}

impl OptionDef {
    const fn new(group: &'static str, name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            group,
            name,
            kind,
            default: Default::Unset,
            flag: None,
            only: None,
            deprecated: &[],
            secret: false,
            effect: Effect::Used,
            help,
        }
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Default::Text(text);
        self
    }

    const fn defaults(mut self, per_program: [Option<&'static str>; 3]) -> Self {
        self.default = Default::PerProgram(per_program);
        self
    }

    const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(Flag { name, short: None, aliases: &[], historic: &[] });
        self
    }

    const fn short(mut self, short: char) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.short = Some(short);
        }
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.aliases = aliases;
        }
        self
    }

    const fn historic(mut self, historic: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.historic = historic;
        }
        self
    }

    const fn deprecated(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.deprecated = names;
        self
    }

    const fn only(mut self, program: Program) -> Self {
        self.only = Some(program);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn no_effect(mut self, reason: &'static str) -> Self {
        self.effect = Effect::NoEffect(reason);
        self
    }

    /// Whether `program` reads the option.
    #[must_use]
    pub fn is_for(&self, program: Program) -> bool {
        self.only.is_none_or(|only| only == program)
    }

    /// The default of `program`, as it would stand in a file.
    #[must_use]
    pub fn default_text(&self, program: Program) -> Option<String> {
        match self.default {
            Default::Unset => None,
            Default::Text(text) => Some(text.to_owned()),
            Default::Number(number) => Some(number.to_string()),
            Default::PerProgram(texts) => {
                let position = Program::ALL.iter().position(|one| *one == program);
                position.and_then(|index| texts[index]).map(str::to_owned)
            }
        }
    }

    /// The environment variable that sets it (`oslo_config/sources/_environment.py`).
    #[must_use]
    pub fn variable(&self) -> String {
        format!("OS_{}__{}", self.group.to_uppercase(), self.name.to_uppercase())
    }
}

/// Every option there is: Nova's, ours, and one per bound of `session::limits`.
pub fn options() -> &'static [OptionDef] {
    static ALL: LazyLock<Vec<OptionDef>> = LazyLock::new(|| {
        let limits = ROWS.iter().map(|row| {
            let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let mut option = OptionDef::new(
                OWN,
                row.name,
                Kind::Int { min: bound(row.min), max: bound(row.max) },
                row.reason,
            );
            option.default = Default::Number(bound(row.default));
            option
        });
        DECLARED.iter().cloned().chain(limits).collect()
    });
    &ALL
}

/// The option of that name.
pub fn find(group: &str, name: &str) -> Option<&'static OptionDef> {
    options().iter().find(|option| option.group == group && option.name == name)
}

const fn option(group: &'static str, name: &'static str, kind: Kind, help: &'static str) -> OptionDef {
    OptionDef::new(group, name, kind, help)
}

const NO_TLS: &str = "this build does not speak TLS to the browser; connections are served in the clear";
const NO_VENCRYPT: &str = "this build does not speak VeNCrypt";
const NO_LOG_SINK: &str = "this build logs to files, stdout and stderr, in the text format";
const NO_BUS: &str = "this build has no message bus client";

static DECLARED: &[OptionDef] = &[
    // nova/conf/novnc.py
    option(DEFAULT, "web", Kind::Str, "Directory of the web files to serve; empty serves none")
        .defaults([Some("/usr/share/novnc"), Some("/usr/share/spice-html5"), None])
        .flag("web"),
    option(DEFAULT, "cert", Kind::Str, "Certificate chain for browsers, PEM; may hold the key")
        .default("self.pem")
        .flag("cert")
        .no_effect(NO_TLS),
    option(DEFAULT, "key", Kind::Str, "Private key, if it is not in cert").flag("key").no_effect(NO_TLS),
    option(DEFAULT, "ssl_only", Kind::Bool, "Refuse connections without TLS")
        .default("false")
        .flag("ssl_only"),
    option(
        DEFAULT,
        "source_is_ipv6",
        Kind::Bool,
        "Prefer IPv6 when the listen name resolves to both families",
    )
    .default("false")
    .flag("source_is_ipv6"),
    option(DEFAULT, "daemon", Kind::Bool, "Run in the background")
        .default("false")
        .flag("daemon")
        .no_effect("this build stays in the foreground"),
    option(DEFAULT, "record", Kind::Str, "Record sessions to FILE.N")
        .flag("record")
        .no_effect("this build does not record sessions"),
    // oslo_log/_options.py
    option(DEFAULT, "debug", Kind::Bool, "Log at DEBUG instead of INFO")
        .default("false")
        .flag("debug")
        .short('d'),
    option(DEFAULT, "log_file", Kind::Str, "File to log to, below log_dir if that is set")
        .flag("log-file")
        .aliases(&["logfile"])
        .deprecated(&[(DEFAULT, "logfile")]),
    option(DEFAULT, "log_dir", Kind::Str, "Directory to log to: log_file, or else PROGRAM.log, in it")
        .flag("log-dir")
        .aliases(&["logdir"])
        .deprecated(&[(DEFAULT, "logdir")]),
    option(DEFAULT, "log_date_format", Kind::Str, "Date and time in log lines, in strftime's notation")
        .default("%Y-%m-%d %H:%M:%S")
        .flag("log-date-format"),
    option(DEFAULT, "use_stderr", Kind::Bool, "Log to stderr").default("false"),
    option(DEFAULT, "use_syslog", Kind::Bool, "Log to syslog")
        .default("false")
        .flag("use-syslog")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "use_journal", Kind::Bool, "Log to the journal")
        .default("false")
        .flag("use-journal")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "use_json", Kind::Bool, "Log in JSON")
        .default("false")
        .flag("use-json")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "syslog_log_facility", Kind::Str, "Facility of lines in syslog")
        .default("LOG_USER")
        .flag("syslog-log-facility")
        .no_effect(NO_LOG_SINK),
    option(DEFAULT, "log_config_append", Kind::Str, "File that configures logging in Python's form")
        .flag("log-config-append")
        .aliases(&["log-config", "log_config"])
        .deprecated(&[(DEFAULT, "log-config"), (DEFAULT, "log_config")])
        .no_effect(NO_LOG_SINK),
    // oslo_messaging
    option(DEFAULT, "transport_url", Kind::Str, "Message bus of the cell")
        .default("rabbit://")
        .secret()
        .no_effect(NO_BUS),
    option(DEFAULT, "rpc_response_timeout", ANY_INT, "Seconds to wait for the port check").default("60"),
    // nova/conf/base.py
    option(
        DEFAULT,
        "concurrency_backend",
        Kind::Choice(&["auto", "threading", "eventlet"]),
        "Nova's threads",
    )
    .default("auto")
    .no_effect("this program has one way of working"),
    // nova/conf/vnc.py
    option("vnc", "novncproxy_host", Kind::Str, "Address or name to listen on")
        .default("0.0.0.0")
        .flag("novncproxy_host")
        .historic(&["novncproxy_host"])
        .deprecated(&[(DEFAULT, "novncproxy_host")])
        .only(Program::NoVncProxy),
    option("vnc", "novncproxy_port", Kind::Port, "Port to listen on")
        .default("6080")
        .flag("novncproxy_port")
        .historic(&["novncproxy_port"])
        .deprecated(&[(DEFAULT, "novncproxy_port")])
        .only(Program::NoVncProxy),
    option(
        "vnc",
        "auth_schemes",
        Kind::ListOf(&["none", "vencrypt"]),
        "RFB security towards computes, best first",
    )
    .default("none")
    .flag("auth_schemes")
    .only(Program::NoVncProxy),
    option("vnc", "vencrypt_client_key", Kind::Str, "Private key shown to computes, PEM")
        .flag("vencrypt_client_key")
        .only(Program::NoVncProxy)
        .no_effect(NO_VENCRYPT),
    option("vnc", "vencrypt_client_cert", Kind::Str, "Certificate shown to computes, PEM")
        .flag("vencrypt_client_cert")
        .only(Program::NoVncProxy)
        .no_effect(NO_VENCRYPT),
    option("vnc", "vencrypt_ca_certs", Kind::Str, "Authorities that sign computes' certificates, PEM")
        .flag("vencrypt_ca_certs")
        .only(Program::NoVncProxy)
        .no_effect(NO_VENCRYPT),
    // nova/conf/spice.py
    option("spice", "html5proxy_host", Kind::HostAddress, "Address or name to listen on")
        .default("0.0.0.0")
        .flag("html5proxy_host")
        .historic(&["spicehtml5proxy_host", "html5proxy_host"])
        .deprecated(&[(DEFAULT, "spicehtml5proxy_host"), (DEFAULT, "html5proxy_host")])
        .only(Program::SpiceHtml5Proxy),
    option("spice", "html5proxy_port", Kind::Port, "Port to listen on")
        .default("6082")
        .flag("html5proxy_port")
        .historic(&["spicehtml5proxy_port", "html5proxy_port"])
        .deprecated(&[(DEFAULT, "spicehtml5proxy_port"), (DEFAULT, "html5proxy_port")])
        .only(Program::SpiceHtml5Proxy),
    // nova/conf/serial_console.py
    option("serial_console", "serialproxy_host", Kind::Str, "Address or name to listen on")
        .default("0.0.0.0")
        .flag("serialproxy_host")
        .historic(&["serialproxy_host"])
        .only(Program::SerialProxy),
    option("serial_console", "serialproxy_port", Kind::Port, "Port to listen on")
        .default("6083")
        .flag("serialproxy_port")
        .historic(&["serialproxy_port"])
        .only(Program::SerialProxy),
    // nova/conf/console.py
    option(
        "console",
        "allowed_origins",
        Kind::List,
        "Host names, beside our own, whose pages may open consoles",
    )
    .default("")
    .deprecated(&[(DEFAULT, "console_allowed_origins")]),
    option("console", "ssl_ciphers", Kind::Str, "Ciphers for browsers until TLS 1.2, as OpenSSL lists them")
        .no_effect(NO_TLS),
    option(
        "console",
        "ssl_minimum_version",
        Kind::Choice(&["default", "tlsv1_1", "tlsv1_2", "tlsv1_3"]),
        "Oldest TLS for browsers",
    )
    .default("default")
    .no_effect(NO_TLS),
    // nova/conf/consoleauth.py
    option("consoleauth", "enforce_session_timeout", Kind::Bool, "End a session when its token expires")
        .default("false")
        .no_effect("this build lets a session outlive its token"),
    // oslo_db/options.py
    option("database", "connection", Kind::Str, "Database of the cell, as SQLAlchemy writes it")
        .deprecated(&[(DEFAULT, "sql_connection"), ("database", "sql_connection"), ("sql", "connection")])
        .secret(),
    // ours
    option(
        OWN,
        "port_check",
        Kind::Choice(&["rpc", "off"]),
        "Ask the compute whether the port is still the instance's",
    )
    .default("rpc"),
    option(OWN, "io_engine", Kind::Choice(&["auto", "io_uring", "epoll"]), "Kernel interface for sockets")
        .default("auto"),
    option(
        OWN,
        "workers",
        Kind::Int { min: 0, max: 1024 },
        "Threads that relay; 0 takes one per core, four at most",
    )
    .default("0"),
    option(OWN, "any_console_type", Kind::Bool, "Serve tokens of other console types too").default("false"),
    option(OWN, "explain_refusals", Kind::Bool, "Tell the browser why, in a Close code and reason")
        .default("false"),
    option(OWN, "strict_upgrade", Kind::Bool, "Insist on HTTP/1.1 and Connection: Upgrade").default("false"),
    option(OWN, "serial_text_frames", Kind::Choice(&["accept", "refuse"]), "Text frames on serial consoles")
        .default("accept")
        .only(Program::SerialProxy),
    option(OWN, "trusted_proxies", Kind::Networks, "Who may send X-Forwarded-Proto; empty lets everyone")
        .default(""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_type() {
        for option in options() {
            for program in Program::ALL {
                if let Some(text) = option.default_text(program) {
                    assert!(option.kind.parse(&text).is_ok(), "[{}] {}", option.group, option.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, option) in options().iter().enumerate() {
            let name = (option.group, option.name);
            assert!(options()[..index].iter().all(|other| (other.group, other.name) != name), "{name:?}");
            assert!(!option.deprecated.contains(&name), "{name:?} is deprecated by itself");
        }
    }

    #[test]
    fn every_bound_is_an_option() {
        for row in ROWS {
            let option = find(OWN, row.name).unwrap();
            assert_eq!(option.default_text(Program::SerialProxy), Some(row.default.to_string()));
        }
    }

    #[test]
    fn variables_are_named_as_oslo_config_does() {
        assert_eq!(find("database", "connection").unwrap().variable(), "OS_DATABASE__CONNECTION");
        assert_eq!(find(DEFAULT, "log_file").unwrap().variable(), "OS_DEFAULT__LOG_FILE");
    }
}
