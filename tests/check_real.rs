//! `--check` on a real MariaDB, a real RabbitMQ and real files: each mistake is a line, and nothing is started.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "common/secrets.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod secrets;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod service;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use service::Service;

fn mariadb() -> &'static Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let service = Service::start("mariadb");
        let tool = Command::new(env!("CARGO_BIN_EXE_consolegate"))
            .args(["token", "create", "--init", "--type", "novnc", "--host", "h", "--port", "1"])
            .args(["--instance", "11111111-2222-4333-8444-555555555555", "--database", &cell(&service)])
            .output()
            .unwrap();
        assert!(tool.status.success(), "{}", String::from_utf8_lossy(&tool.stderr));
        service
    })
}

fn cell(service: &Service) -> String {
    service.cell_url("127.0.0.1")
}

fn rabbitmq() -> &'static Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    SERVICE.get_or_init(|| Service::start("rabbitmq"))
}

/// A directory with a nova.conf in which all is good.
struct Site {
    directory: PathBuf,
    conf: String,
}

impl Site {
    fn new(name: &str) -> Self {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("web")).unwrap();
        let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let openssl = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=proxy",
                "-days",
                "2",
                "-out",
            ])
            .arg(&cert)
            .arg("-keyout")
            .arg(&key)
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
        let at = directory.display();
        // A port that is taken: whoever is checked before a swap finds the proxy that is to go.
        let conf = format!(
            "[DEFAULT]\nweb = {at}/web\ncert = {at}/cert.pem\nkey = {at}/key.pem\nrecord = {at}/rec\n\
             log_file = {at}/proxy.log\ntransport_url = {}\n[database]\nconnection = {}\n\
             [vnc]\nnovncproxy_host = 127.0.0.1\n[consolegate]\nadmin_socket = {at}/admin.sock\npid_file = {at}/pid\n",
            rabbitmq().text("/url"),
            cell(mariadb()),
        );
        Self { directory, conf }
    }

    fn replace(&mut self, from: &str, to: &str) {
        assert!(self.conf.contains(from), "{from}");
        self.conf = self.conf.replace(from, to);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> = entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The status and the lines. A port that is taken is nothing to it, and no file is made.
    fn check(&self) -> (i32, Vec<String>) {
        let path = self.directory.join("nova.conf");
        fs::write(&path, &self.conf).unwrap();
        secrets::issue_passwords(&self.conf);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let before = self.names();
        let output = Command::new(env!("CARGO_BIN_EXE_consolegate"))
            .args(["--mode", "nova-novncproxy", "--check", "--vnc-novncproxy_port", &port, "--config-file"])
            .arg(&path)
            .current_dir(&self.directory)
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(self.names(), before, "a file was made");
        secrets::assert_silent("--check", &output.stdout);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
    }

    /// Exactly one line failed, with these words.
    fn one_failure(&self, words: &[&str]) {
        let (status, lines) = self.check();
        let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("FAILED")).collect();
        assert!(status == 1 && failed.len() == 1, "{status} {lines:#?}");
        for word in words {
            assert!(failed[0].contains(word), "{word}: {failed:?}");
        }
        // The others were looked at all the same.
        assert!(lines.iter().filter(|line| line.starts_with("ok ")).count() >= 7, "{lines:#?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_good_site_passes_and_nothing_is_made() {
    let (status, lines) = Site::new("good").check();
    assert!(status == 0 && lines.iter().all(|line| line.starts_with("ok ")), "{lines:#?}");
    for what in [
        "configuration",
        "web root",
        "certificate for browsers",
        "log",
        "record",
        "pid_file",
        "admin_socket",
        "address",
        "database",
        "message bus",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("ok      {what}: "))),
            "{what}: {lines:#?}"
        );
    }
}

#[test]
fn a_dead_broker_among_good_ones_is_named() {
    let mut site = Site::new("broker");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = rabbitmq().text("/url");
    let (login, rest) = url.strip_prefix("rabbit://").unwrap().split_once('@').unwrap();
    site.replace(&url, &format!("rabbit://{login}@127.0.0.1:{dead},{login}@{rest}"));
    site.one_failure(&["message bus", &format!("127.0.0.1:{dead}"), "refused"]);
}

#[test]
fn a_wrong_database_password_is_named_and_not_shown() {
    let mut site = Site::new("password");
    let url = cell(mariadb());
    let (start, host) = url.rsplit_once('@').unwrap();
    let user = start.rsplit_once(':').unwrap().0;
    site.replace(&url, &format!("{user}:wrong-pa55@{host}"));
    site.one_failure(&["database", "Access denied"]);
    let (_, lines) = site.check();
    assert!(lines.iter().all(|line| !line.contains("wrong-pa55")), "{lines:#?}");
}

#[test]
fn each_missing_file_is_a_line() {
    let mut site = Site::new("certificate");
    fs::remove_file(site.directory.join("cert.pem")).unwrap();
    site.one_failure(&["certificate", "cert.pem"]);
    site.replace("/key.pem", "/other.pem");
    site.replace("/web\n", "/nowhere\n");
    site.replace("/proxy.log", "/no/proxy.log");
    site.replace("/rec\n", "/no/rec\n");
    let (status, lines) = site.check();
    let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("FAILED")).collect();
    assert!(status == 1 && failed.len() == 4, "{lines:#?}");
    for words in ["html/js files at", "cert.pem", "/no/proxy.log", "/no/rec"] {
        assert!(failed.iter().any(|line| line.contains(words)), "{words}: {failed:#?}");
    }
}

#[test]
fn what_tls_needs_is_looked_at() {
    let mut site = Site::new("tls");
    site.conf.push_str("[vnc]\nauth_schemes = vencrypt\nvencrypt_ca_certs = /nonexistent/ca.pem\n");
    site.one_failure(&["certificates for computes", "/nonexistent/ca.pem"]);
    site.replace("/nonexistent/ca.pem", site.directory.join("cert.pem").to_str().unwrap());
    let (status, lines) = site.check();
    assert_eq!(status, 0, "{lines:#?}");
    // The password of VNC servers, which is not shown.
    site.conf.push_str("[consolegate]\nvnc_password_file = vnc-password\n");
    site.one_failure(&["VNC password", "vnc-password could not be read"]);
    fs::write(site.directory.join("vnc-password"), "secretpw\n").unwrap();
    let (status, lines) = site.check();
    assert_eq!(status, 0, "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("ok      VNC password: ")), "{lines:#?}");
    assert!(!lines.concat().contains("secretpw"));
    // The key of another certificate.
    let key = site.directory.join("key.pem");
    let openssl = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output().unwrap();
    assert!(openssl.status.success());
    site.one_failure(&["certificate for browsers", "cert.pem"]);
}

#[test]
fn a_wrong_transport_url_is_one_complaint_and_no_bus_is_no_failure() {
    let mut site = Site::new("bus");
    site.replace("transport_url = rabbit:", "transport_url = kafka:");
    let (status, lines) = site.check();
    let bus = |lines: &[String]| lines.iter().filter(|line| line.contains("message bus")).count();
    assert!(status == 1 && bus(&lines) == 0, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("FAILED  configuration: ") && line.contains("transport_url"))
    );
    site.conf.push_str("port_check = off\n");
    let (status, lines) = site.check();
    assert!(status == 0 && bus(&lines) == 1, "{lines:#?}");
}

/// Every system call that could do it, by strace(1); what is gone again before the end is seen too.
#[test]
fn nothing_is_listened_on_and_no_file_is_made_meanwhile() {
    let site = Site::new("strace");
    let conf = site.directory.join("nova.conf");
    fs::write(&conf, &site.conf).unwrap();
    let trace = site.directory.join("trace");
    let calls =
        "trace=listen,openat,open,creat,mkdir,mkdirat,mknod,mknodat,unlink,unlinkat,rename,renameat2,connect";
    let output = Command::new("strace")
        .args(["-f", "-e", calls, "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_consolegate"))
        .args(["--mode", "nova-novncproxy", "--check", "--config-file"])
        .arg(&conf)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let trace = fs::read_to_string(&trace).unwrap();
    // It did look at the database and the broker.
    for port in [mariadb().text("/port"), rabbitmq().text("/port")] {
        assert!(trace.contains(&format!("htons({port})")), "{trace}");
    }
    let forbidden = ["listen(", "creat(", "O_CREAT", "mkdir", "mknod", "unlink", "rename"];
    let made: Vec<&str> =
        trace.lines().filter(|line| forbidden.iter().any(|word| line.contains(word))).collect();
    assert!(made.is_empty(), "{made:#?}");
}

#[test]
fn every_wrong_option_is_a_line() {
    let mut site = Site::new("options");
    site.conf.push_str("workers = many\nadmin_listen = nonsense\n[console]\nssl_ciphers = NOT-A-CIPHER\n");
    site.replace("[DEFAULT]\n", "[DEFAULT]\ndebug = perhaps\n");
    let (status, lines) = site.check();
    let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("FAILED")).collect();
    assert_eq!(status, 1);
    for words in ["many", "admin_listen", "ssl_ciphers", "perhaps"] {
        assert!(failed.iter().any(|line| line.contains(words)), "{words}: {lines:#?}");
    }
    let is_one = |line: &String| ["ok ", "FAILED ", "warning "].iter().any(|word| line.starts_with(word));
    assert!(lines.iter().all(is_one), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("ok      database")), "{lines:#?}");
}

#[test]
fn what_log_config_append_names_is_looked_at_and_not_made() {
    let mut site = Site::new("logging");
    let handler = |file: &str| {
        format!(
            "[loggers]\nkeys=root\n[handlers]\nkeys=file\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\nhandlers=file\n\
             [handler_file]\nclass=FileHandler\nargs=('{file}',)\n"
        )
    };
    let (ini, log) = (site.directory.join("logging.ini"), site.directory.join("python.log"));
    site.replace("[DEFAULT]\n", &format!("[DEFAULT]\nlog_config_append = {}\n", ini.display()));
    fs::write(&ini, handler(log.to_str().unwrap())).unwrap();
    let (status, lines) = site.check();
    assert_eq!(status, 0, "{lines:#?}");
    fs::write(&ini, handler("/nonexistent/python.log")).unwrap();
    site.one_failure(&["log", "/nonexistent/python.log"]);
    fs::write(&ini, "[loggers]\n").unwrap();
    site.one_failure(&["log", "logging.ini"]);
}
