//! What Nova itself declares for its console proxies (`nova/conf/`), less what is about TLS.

use super::{DEFAULT, OptionDef, option};
use crate::control::config::program::Program;
use crate::control::config::values::Kind;

pub(super) static DECLARED: &[OptionDef] = &[
    // nova/conf/novnc.py
    option(DEFAULT, "web", Kind::Str, "Directory of the web files to serve; empty serves none")
        .defaults([Some("/usr/share/novnc"), Some("/usr/share/spice-html5"), None])
        .flag("web"),
    option(
        DEFAULT,
        "source_is_ipv6",
        Kind::Bool,
        "Prefer IPv6 when the listen name resolves to both families",
    )
    .default("false")
    .flag("source_is_ipv6"),
    option(DEFAULT, "daemon", Kind::Bool, "Run in the background").default("false").flag("daemon"),
    option(DEFAULT, "record", Kind::Str, "Record sessions to FILE.N").flag("record"),
    // nova/conf/base.py
    option(
        DEFAULT,
        "concurrency_backend",
        Kind::Choice(&["auto", "threading", "eventlet"]),
        "Nova's threads",
    )
    .default("auto")
    .no_effect("this program has one way of working"),
    // oslo_config/cfg.py, ConfigOpts
    option(
        DEFAULT,
        "shell_completion",
        Kind::Choice(&["bash", "zsh"]),
        "Display a shell completion script; acts as the first argument only",
    )
    .flag("shell_completion")
    .no_effect("a script is displayed when the flag and the shell's name are the first two arguments"),
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
    // nova/conf/consoleauth.py
    option("consoleauth", "enforce_session_timeout", Kind::Bool, "End a session when its token expires")
        .default("false"),
];
