//! TLS towards browsers and towards computes (`nova/conf/{novnc,console,vnc}.py`).

use super::{DEFAULT, OWN, OptionDef, option};
use crate::control::config::program::Program;
use crate::control::config::values::Kind;

pub(super) static DECLARED: &[OptionDef] = &[
    option(DEFAULT, "cert", Kind::Str, "Certificate chain for browsers, PEM; may hold the key")
        .default("self.pem")
        .flag("cert"),
    option(DEFAULT, "key", Kind::Str, "Private key, if it is not in cert").flag("key"),
    option(DEFAULT, "ssl_only", Kind::Bool, "Refuse connections without TLS")
        .default("false")
        .flag("ssl_only"),
    option("vnc", "vencrypt_client_key", Kind::Str, "Private key shown to computes, PEM")
        .flag_of(Program::NoVncProxy, "vencrypt_client_key"),
    option("vnc", "vencrypt_client_cert", Kind::Str, "Certificate shown to computes, PEM")
        .flag_of(Program::NoVncProxy, "vencrypt_client_cert"),
    option("vnc", "vencrypt_ca_certs", Kind::Str, "Authorities that sign computes' certificates, PEM")
        .flag_of(Program::NoVncProxy, "vencrypt_ca_certs"),
    option(
        OWN,
        "vencrypt_verify_host",
        Kind::Bool,
        "A compute's certificate must be for the host in the token, not just of a known authority",
    )
    .default("false"),
    option(OWN, "serial_tls", Kind::Bool, "TLS to computes on serial consoles, with the files of [vnc] vencrypt_*")
        .default("false")
        .only(Program::SerialProxy),
    option(
        OWN,
        "spice_tls",
        Kind::Bool,
        "TLS to computes on SPICE consoles, with the files of [vnc] vencrypt_*; to the token's tls_port if it has one",
    )
    .default("false")
    .only(Program::SpiceHtml5Proxy),
    option("console", "ssl_ciphers", Kind::Str, "Ciphers for browsers until TLS 1.2, as OpenSSL lists them"),
    option(
        "console",
        "ssl_minimum_version",
        Kind::Choice(&["default", "tlsv1_1", "tlsv1_2", "tlsv1_3"]),
        "Oldest TLS for browsers",
    )
    .default("default"),
];
