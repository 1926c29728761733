//! Ours, in the group `[consolegate]`. The bounds of `session::limits` are added by the table itself.

use super::{OWN, OptionDef, option};
use crate::control::config::program::Program;
use crate::control::config::values::Kind;

pub(super) static DECLARED: &[OptionDef] = &[
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
        "kernel_tls",
        Kind::Choice(&["auto", "off"]),
        "Let the kernel do the TLS of consoles where it can, so that bulk data is spliced through it",
    )
    .default("auto"),
    option(
        OWN,
        "workers",
        Kind::Int { min: 0, max: 1024 },
        "Threads that relay; 0 takes one per core, four at most",
    )
    .default("0"),
    option(
        OWN,
        "drain_timeout",
        Kind::Int { min: 0, max: 86_400 },
        "Seconds that sessions go on after SIGTERM, without new ones; 0 ends them at once",
    )
    .default("0"),
    option(
        OWN,
        "sandbox",
        Kind::Choice(&["auto", "required", "off"]),
        "Give up rights that a proxy needs none of: as far as the kernel can, or no start without, or none",
    )
    .default("auto"),
    option(OWN, "pid_file", Kind::Str, "File for the process's number, removed at the end"),
    option(OWN, "any_console_type", Kind::Bool, "Serve tokens of other console types too").default("false"),
    option(OWN, "explain_refusals", Kind::Bool, "Tell the browser why, in a Close code and reason")
        .default("false"),
    option(OWN, "admin_socket", Kind::Str, "Unix socket for probes, metrics and sessions; empty for none")
        .defaults([
            Some("/run/nova/nova-novncproxy.sock"),
            Some("/run/nova/nova-spicehtml5proxy.sock"),
            Some("/run/nova/nova-serialproxy.sock"),
        ]),
    option(
        OWN,
        "admin_listen",
        Kind::Str,
        "Address and port for probes and metrics, for anyone who can reach it",
    ),
    option(
        OWN,
        "healthcheck_disable_file",
        Kind::Str,
        "While this file exists, /healthcheck and /readyz say no",
    ),
    option(OWN, "strict_readiness", Kind::Bool, "Not ready while database or message bus does not answer")
        .default("false"),
    option(OWN, "ping_strict", Kind::Bool, "End sessions whose browser answers no pings").default("false"),
    option(OWN, "strict_upgrade", Kind::Bool, "Insist on HTTP/1.1 and Connection: Upgrade").default("false"),
    option(OWN, "serial_text_frames", Kind::Choice(&["accept", "refuse"]), "Text frames on serial consoles")
        .default("accept")
        .only(Program::SerialProxy),
    option(
        OWN,
        "vnc_password_file",
        Kind::Str,
        "File with the password of computes' VNC servers, for VeNCrypt's X509Vnc; the first eight bytes of its first line",
    )
    .only(Program::NoVncProxy),
    option(
        OWN,
        "vnc_password_in_clear",
        Kind::Bool,
        "Use the password without TLS too, where computes offer nothing of auth_schemes",
    )
    .default("false")
    .only(Program::NoVncProxy),
    option(OWN, "allow_rfb_33", Kind::Bool, "Computes may speak RFB 3.3 or 3.7, not just 3.8")
        .default("false")
        .only(Program::NoVncProxy),
    option(OWN, "trusted_proxies", Kind::Networks, "Who may send X-Forwarded-Proto; empty lets everyone")
        .default(""),
    option(OWN, "proxy_protocol", Kind::Bool, "Connections from trusted_proxies start with a PROXY header")
        .default("false"),
];
