//! What the options mean together: the one place where low-level values become final types.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Exit;
use super::options::{DEFAULT, OWN};
use super::program::Program;
use super::survey::Values;
use crate::control::certs::{CertificateSettings, ComputeTrust};
use crate::control::{AdminSettings, DatabaseSettings, PortCheck};
use crate::proto::rfb::AuthScheme;
use crate::proto::ws::TextPolicy;
use crate::sandbox::Mode;
use crate::session::Network;
use crate::session::limits::{Limits, ROWS};
use crate::telemetry::LogSettings;

mod admin;
mod database;
mod log;
mod messaging;
mod process;
mod read;
mod record;
mod tls;
mod vnc;

use log::log_settings;
pub use process::ProcessSettings;
use process::process_settings;
use read::Read;
pub use vnc::VncConfig;

/// Workers by default, cores permitting.
const WORKERS_DEFAULT_MAX: usize = 4;

/// The checked configuration of one process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which of Nova's programs this is
    pub program: Program,
    /// Where to listen
    pub listen: Listen,
    /// Directory of the web files, absolute; none means no web server
    pub web: Option<PathBuf>,
    /// The database of the cell
    pub database: DatabaseSettings,
    /// Whether computes are asked about the port
    pub port_check: PortCheck,
    /// `[DEFAULT] rpc_response_timeout`
    pub rpc_response_timeout: Duration,
    /// Which kernel interface to take
    pub io_engine: IoEngine,
    /// `[consolegate] kernel_tls`: TLS may be the kernel's
    pub kernel_tls: bool,
    /// How many threads relay
    pub workers: NonZeroUsize,
    /// `[console] allowed_origins`, in lower case
    pub allowed_origins: Vec<String>,
    /// `[vnc] auth_schemes`, in the operator's order; for the VNC program only
    pub auth_schemes: Vec<AuthScheme>,
    /// `[consolegate] any_console_type`
    pub any_console_type: bool,
    /// `[consolegate] explain_refusals`
    pub explain_refusals: bool,
    /// `[consolegate] strict_upgrade`
    pub strict_upgrade: bool,
    /// What to do with text frames: `[consolegate] serial_text_frames` on serial consoles, else refuse
    pub text_frames: TextPolicy,
    /// Who may send `X-Forwarded-Proto`; everyone when empty
    pub trusted_proxies: Vec<Network>,
    /// `[consolegate] proxy_protocol`: those proxies start with a PROXY header
    pub proxy_protocol: bool,
    /// The certificate for browsers
    pub certificate: CertificateSettings,
    /// Certificates towards computes; none where nothing asks for TLS, or it is not configured
    pub compute_trust: Option<ComputeTrust>,
    /// `[consolegate] serial_tls`, `spice_tls`: all that is said to computes is under TLS
    pub whole_compute_tls: bool,
    /// What is spoken with computes' VNC servers beyond Nova
    pub vnc: VncConfig,
    /// `ssl_only`
    pub ssl_only: bool,
    /// `record`: where sessions are recorded, absolute; none does not
    pub record: Option<PathBuf>,
    /// `[consoleauth] enforce_session_timeout`
    pub enforce_session_timeout: bool,
    /// `[consolegate] ping_strict`
    pub ping_strict: bool,
    /// The admin listener
    pub admin: AdminSettings,
    /// Every bound
    pub limits: Limits,
    /// Where and how to log
    pub log: LogSettings,
    /// How the process lives
    pub process: ProcessSettings,
    /// `[consolegate] sandbox`
    pub sandbox: Mode,
    /// Every file or directory that an option of type path names, absolute
    pub named_paths: Vec<PathBuf>,
    /// What all of this was read from, for reloads and reports
    pub values: Values,
    /// What the operator should know, to be logged once logging is up
    pub warnings: Vec<String>,
}

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// Address or name; empty for every address
    pub host: String,
    /// TCP port
    pub port: u16,
    /// Whether IPv6 comes first where the name has both families
    pub prefer_ipv6: bool,
}

/// `[consolegate] io_engine`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEngine {
    /// `io_uring` where the kernel permits it, else epoll
    Auto,
    /// `io_uring` or nothing
    IoUring,
    /// epoll
    Epoll,
}

impl Config {
    /// Checks the values of one program.
    ///
    /// # Errors
    ///
    /// [`Exit`] with status 1, or 255 where Nova's program has that.
    pub(super) fn check(values: &Values) -> Result<Self, Exit> {
        let (config, mut complaints) = Self::examine(values);
        if complaints.is_empty() { Ok(config) } else { Err(complaints.swap_remove(0)) }
    }

    /// The same with everything that there is to complain of. What that concerns counts as not set.
    pub(super) fn examine(values: &Values) -> (Self, Vec<Exit>) {
        let read = Read::new(values);
        let mut warnings = values.warnings.clone();
        let mut complaints = Vec::new();
        keep(tls::require(&read), &mut complaints);
        let certificate = tls::settings(&read, &mut warnings, &mut complaints);
        let auth_schemes = auth_schemes(&read);
        let compute_trust = tls::compute_trust(&read, &auth_schemes, &mut warnings);
        let web = keep(check_web(&read), &mut complaints).flatten();
        let rpc_response_timeout = rpc_response_timeout(&read);
        let mut config = Self {
            program: values.program,
            listen: keep(listen(&read), &mut complaints).unwrap_or_default(),
            web,
            database: database::settings(&read),
            port_check: if read.text(OWN, "port_check") == Some("off") {
                PortCheck::Off
            } else {
                let rpc = keep(messaging::settings(&read, &mut warnings), &mut complaints);
                rpc.map_or(PortCheck::Off, |rpc| PortCheck::Rpc(Box::new(rpc)))
            },
            rpc_response_timeout,
            io_engine: match read.text(OWN, "io_engine") {
                Some("io_uring") => IoEngine::IoUring,
                Some("epoll") => IoEngine::Epoll,
                _ => IoEngine::Auto,
            },
            kernel_tls: read.text(OWN, "kernel_tls") != Some("off"),
            workers: workers(&read),
            allowed_origins: read
                .list("console", "allowed_origins")
                .iter()
                .map(|name| name.to_lowercase())
                .collect(),
            auth_schemes,
            any_console_type: read.is_on(OWN, "any_console_type"),
            explain_refusals: read.is_on(OWN, "explain_refusals"),
            strict_upgrade: read.is_on(OWN, "strict_upgrade"),
            text_frames: match read.text(OWN, "serial_text_frames") {
                Some("accept") => TextPolicy::Accept,
                _ => TextPolicy::Refuse,
            },
            trusted_proxies: read
                .list(OWN, "trusted_proxies")
                .iter()
                .filter_map(|one| one.parse().ok())
                .collect(),
            proxy_protocol: read.is_on(OWN, "proxy_protocol"),
            certificate,
            compute_trust,
            whole_compute_tls: tls::whole_compute_tls(&read).is_some(),
            vnc: vnc::settings(&read, &mut warnings),
            ssl_only: read.is_on(DEFAULT, "ssl_only"),
            record: keep(record::path(&read), &mut complaints).flatten(),
            enforce_session_timeout: read.is_on("consoleauth", "enforce_session_timeout"),
            ping_strict: read.is_on(OWN, "ping_strict"),
            admin: keep(admin::settings(&read), &mut complaints).unwrap_or_default(),
            limits: limits(&read, rpc_response_timeout),
            log: keep(log_settings(&read), &mut complaints).unwrap_or_default(),
            process: process_settings(&read),
            sandbox: match read.text(OWN, "sandbox") {
                Some("required") => Mode::Required,
                Some("off") => Mode::Off,
                _ => Mode::Auto,
            },
            named_paths: Vec::new(),
            values: values.clone(),
            warnings,
        };
        config.warn();
        config.warnings.extend(record::warning(&read));
        config.named_paths = read.named_paths();
        (config, complaints)
    }

    fn warn(&mut self) {
        let log = &self.log;
        if self.process.daemon && log.file.is_none() && log.config.is_none() && !log.journal && !log.syslog {
            self.warnings.push(
                "daemon is set, but neither log_file, log_dir, use_syslog nor use_journal: what is logged from here \
                 on is lost."
                    .to_owned(),
            );
        }
        if self.database.connection.is_none() {
            self.warnings.push("[database] connection is not set: no token can be checked.".to_owned());
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            self.warnings.push(
                "[consolegate] proxy_protocol is set but trusted_proxies is empty: nobody may send a PROXY header."
                    .to_owned(),
            );
        }
        for origin in self.allowed_origins.iter().filter(|origin| origin.contains('/')) {
            self.warnings.push(format!(
                "[console] allowed_origins holds \"{origin}\", which matches nothing: entries are host names."
            ));
        }
    }
}

fn keep<T>(result: Result<T, Exit>, complaints: &mut Vec<Exit>) -> Option<T> {
    result.map_err(|exit| complaints.push(exit)).ok()
}

fn check_web(read: &Read<'_>) -> Result<Option<PathBuf>, Exit> {
    let Some(web) = read.text(DEFAULT, "web") else { return Ok(None) };
    // The text and status of nova/cmd/baseproxy.py.
    if !Path::new(web).exists() {
        return Err(Exit::failed(255, format!("Can not find html/js files at {web}.")));
    }
    let absolute = std::path::absolute(web);
    absolute.map(Some).map_err(|error| Exit::config(format!("Can not tell where {web} is: {error}")))
}

fn listen(read: &Read<'_>) -> Result<Listen, Exit> {
    let (group, host, port) = match read.0.program {
        Program::NoVncProxy => ("vnc", "novncproxy_host", "novncproxy_port"),
        Program::SpiceHtml5Proxy => ("spice", "html5proxy_host", "html5proxy_port"),
        Program::SerialProxy => ("serial_console", "serialproxy_host", "serialproxy_port"),
    };
    let number = read.int(group, port).and_then(|number| u16::try_from(number).ok());
    Ok(Listen {
        host: read.text(group, host).unwrap_or_default().to_owned(),
        port: number.ok_or_else(|| Exit::config(format!("Option {port} from group {group} has no value")))?,
        prefer_ipv6: read.is_on(DEFAULT, "source_is_ipv6"),
    })
}

fn auth_schemes(read: &Read<'_>) -> Vec<AuthScheme> {
    let scheme = |name: &String| match name.as_str() {
        "none" => Some(AuthScheme::None),
        "vencrypt" => Some(AuthScheme::VeNCrypt),
        _ => None,
    };
    read.list("vnc", "auth_schemes").iter().filter_map(scheme).collect()
}

fn workers(read: &Read<'_>) -> NonZeroUsize {
    let asked = read.int(OWN, "workers").and_then(|number| usize::try_from(number).ok());
    asked.and_then(NonZeroUsize::new).unwrap_or_else(|| {
        // Honours the cgroup's quota and the affinity mask.
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(WORKERS_DEFAULT_MAX).map_or(cores, |most| cores.min(most))
    })
}

/// Nova waits for ever when the option is empty; every wait here ends.
fn rpc_response_timeout(read: &Read<'_>) -> Duration {
    let seconds = read.int(DEFAULT, "rpc_response_timeout").unwrap_or(60);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).clamp(1, 3_600))
}

fn limits(read: &Read<'_>, rpc_response_timeout: Duration) -> Limits {
    let mut limits = Limits::default();
    for row in ROWS {
        if let Some(value) = read.int(OWN, row.name).and_then(|value| u64::try_from(value).ok()) {
            // In range by the declaration that the row became.
            let set = limits.set(row.name, value);
            debug_assert!(set, "{} refused {value}", row.name);
        }
    }
    // No read is longer than its buffer: a bound above that would never be met.
    limits.splice_from_bytes = limits.splice_from_bytes.min(limits.read_bytes);
    if !read.0.is_configured(OWN, "authorize_timeout_ms") {
        let rpc_ms = u64::try_from(rpc_response_timeout.as_millis()).unwrap_or(u64::MAX);
        limits.authorize_timeout_ms = rpc_ms;
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::super::options::{Effect, options};
    use super::*;

    /// What is accepted must work: an option without a reader belongs to `NoEffect`.
    #[test]
    fn every_used_option_is_read_here_and_no_other() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/config/checked");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file());
        let source: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        for option in options().iter().filter(|option| !ROWS.iter().any(|row| row.name == option.name)) {
            let is_read = source.contains(&format!("\"{}\"", option.name));
            match option.effect {
                Effect::Used => assert!(is_read, "[{}] {}", option.group, option.name),
                Effect::NoEffect(_) => assert!(!is_read, "[{}] {}", option.group, option.name),
                // Several have the name of one of ours in another group.
                Effect::Elsewhere(_) => {}
            }
        }
    }
}
