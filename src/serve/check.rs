//! `--check`: everything that a start would need, looked at without starting.
//!
//! Nothing is listened on and no file is made, also no log, so that it can be run beside a live proxy. What would
//! be created is asked of the file system by access(2), which knows this user's rights and nothing of a sandbox.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, thread};

use consolegate::control::certs::vnc_password;
use consolegate::control::config::{self, Config, DEFAULT, Exit, OWN, Value};
use consolegate::control::rpc;
use consolegate::control::sql::CellDatabase;
use consolegate::control::{PortCheck, reach};
use consolegate::sandbox::{self, Mode};
use consolegate::telemetry::log::{self, could_write};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Prints a line per check. Status 0 if all are passed, else 1; with a wrong command line that of a start.
pub(crate) fn check(argv: &[OsString]) -> ExitCode {
    let mut report = Report { failed: false, out: io::stdout().lock() };
    match config::examine(argv, &|name| env::var_os(name)) {
        Ok((config, complaints)) => report.everything(&config, &complaints),
        // Its one line is the whole reason: without the files there is nothing to check.
        Err(exit @ Exit { status: 1, .. }) => report.line("configuration", Err(exit.complaint())),
        Err(exit) => {
            print!("{}", exit.stdout);
            eprint!("{}", exit.stderr);
            return ExitCode::from(exit.status);
        }
    }
    if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Report<W> {
    failed: bool,
    out: W,
}

impl<W: Write> Report<W> {
    /// `found` is what is good, or why it is not. Whoever closes the output still gets the status.
    fn line(&mut self, what: &str, found: Result<String, String>) {
        let _ = match found {
            Ok(found) => writeln!(self.out, "ok      {what}: {found}"),
            Err(cause) => {
                self.failed = true;
                // Some of oslo.config's messages have two lines.
                let cause: Vec<_> = cause.lines().map(str::trim).collect();
                writeln!(self.out, "FAILED  {what}: {}", cause.join(" "))
            }
        };
    }

    fn everything(&mut self, config: &Config, complaints: &[String]) {
        for complaint in complaints {
            self.line("configuration", Err(complaint.clone()));
        }
        if complaints.is_empty() {
            self.line("configuration", Ok(format!("that of {}", config.program.name())));
        }
        for warning in &config.warnings {
            let _ = writeln!(self.out, "warning configuration: {warning}");
        }
        self.files(config);
        self.listen(config);
        if let Err(why) = super::choose_engine(config.io_engine) {
            self.line("io_engine", Err(why));
        }
        if config.sandbox == Mode::Required {
            self.sandbox(config);
        }
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => self.servers(config, &runtime),
            Err(why) => self.line("database and message bus", Err(why.to_string())),
        }
    }

    fn files(&mut self, config: &Config) {
        if let Some(web) = &config.web {
            let found = fs::read_dir(web).map(|_| web.display().to_string());
            self.line("web root", found.map_err(|why| of(web, &why)));
        }
        let certificate = &config.certificate;
        if config.values.is_configured(DEFAULT, "cert") || certificate.cert.exists() {
            let found = certificate.load().map(|_| certificate.cert.display().to_string());
            self.line("certificate for browsers", found.map_err(|why| why.to_string()));
        } else {
            self.line("certificate for browsers", Ok("none, so no TLS".to_owned()));
        }
        if let Some(trust) = &config.compute_trust {
            let found = trust.load().map(|_| trust.authorities.display().to_string());
            self.line("certificates for computes", found.map_err(|why| why.to_string()));
        }
        if let Some(path) = &config.vnc.password_file {
            let found = vnc_password(path).map(|_| path.display().to_string());
            self.line("VNC password", found.map_err(|why| why.to_string()));
        }
        match log::examine(&config.log) {
            Ok(warnings) => {
                self.line("log", Ok(log_place(config)));
                for warning in warnings {
                    let _ = writeln!(self.out, "warning log: {warning}");
                }
            }
            Err(why) => self.line("log", Err(why.to_string())),
        }
        if let Some(record) = &config.record {
            // Sessions are numbered: the first one's name stands for all.
            self.writable("record", record, &record.with_added_extension("1"));
        }
        if let Some(pid_file) = &config.process.pid_file {
            self.writable("pid_file", pid_file, pid_file);
        }
        if let Some(socket) = config.admin.socket.as_ref().filter(|_| config.admin.socket_wanted) {
            self.writable("admin_socket", socket, socket);
        }
        if let Some(directory) = &config.process.report_directory {
            self.writable("[oslo_reports] log_dir", directory, &directory.join("report"));
        }
    }

    fn writable(&mut self, what: &str, path: &Path, file: &Path) {
        let found = could_write(file).map(|()| path.display().to_string());
        self.line(what, found.map_err(|why| of(path, &why)));
    }

    /// That nobody else has the port is not checked: a proxy that is replaced still has it.
    fn listen(&mut self, config: &Config) {
        let (host, port) = (config.listen.host.as_str(), config.listen.port);
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        let found = (host, port).to_socket_addrs().map(|_| format!("{host}:{port}, which is not tried"));
        self.line("address", found.map_err(|why| format!("{host}: {why}")));
    }

    /// Entered by a thread that ends with it: rules bind no other.
    fn sandbox(&mut self, config: &Config) {
        let paths = reach::paths(config, &env::current_dir().unwrap_or_default());
        let enter = move || sandbox::enter(Mode::Required, &paths).map(|sandbox| sandbox.describe(None));
        let entered = thread::spawn(enter).join();
        let found = entered.map_err(|_| "the look at it panicked".to_owned());
        self.line("sandbox", found.and_then(|found| found.map_err(|why| why.to_string())));
    }

    fn servers(&mut self, config: &Config, runtime: &Runtime) {
        let local = LocalSet::new();
        let directory = env::current_dir().unwrap_or_default();
        let database = local.block_on(runtime, async {
            CellDatabase::new(&config.database, &directory, &config.limits).probe().await
        });
        let found = database.map(|()| "a token can be looked up".to_owned());
        self.line("database", found.map_err(|why| chain(&why)));
        match &config.port_check {
            // Either so by the operator's wish, or a complaint above says what is wrong with transport_url.
            PortCheck::Off => {
                if config.values.value(OWN, "port_check") == &Value::Str("off".to_owned()) {
                    self.line("message bus", Ok("not needed, as port_check = off".to_owned()));
                }
            }
            PortCheck::Rpc(settings) => {
                for host in &settings.hosts {
                    let mut one = settings.as_ref().clone();
                    one.hosts = vec![host.clone()];
                    self.line("message bus", local.block_on(runtime, rpc::probe(&one)));
                }
            }
        }
    }
}

fn of(path: &Path, why: &io::Error) -> String {
    format!("{}: {why}", path.display())
}

fn log_place(config: &Config) -> String {
    let path = config.log.config.as_ref().or(config.log.file.as_ref());
    path.map_or_else(|| "no file".to_owned(), |path| path.display().to_string())
}

/// The error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}
