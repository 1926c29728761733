//! The command lines of packages, unit files and deployment tools, with nothing but a small nova.conf: each
//! listens under its own pid, as ss(8) sees it, and answers curl(1).

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::pki::Authority;
use super::program::{command, directory, discard, free_port};

/// One line, in which `@` stands for the directory and `PORT` for the port.
struct Line {
    program: &'static str,
    arguments: &'static str,
    /// What GET and HEAD of a web file are answered with
    status: &'static str,
    scheme: &'static str,
    hosts: &'static [&'static str],
}

const fn line(program: &'static str, arguments: &'static str) -> Line {
    Line { program, arguments, status: "200", scheme: "http", hosts: &["127.0.0.1"] }
}

const LINES: &[Line] = &[
    line("nova-novncproxy", ""),
    line("nova-novncproxy", "--web @/web/"),
    line("nova-novncproxy", "--config-file @/nova.conf --web @/web"),
    line("nova-novncproxy", "--config-file=@/nova.conf --log-file=@/log.txt"),
    line("nova-novncproxy", "--config-file=@/nova.conf --use-syslog --log-file=@/log.txt"),
    line(
        "nova-novncproxy",
        "--config-file @/nova.conf --config-file @/nova-vnc.ini --config-dir @/nova.conf.d",
    ),
    Line {
        scheme: "https",
        ..line("nova-novncproxy", "--ssl_only --cert @/tls/server-cert.pem --key @/tls/server-key.pem")
    },
    line(
        "nova-spicehtml5proxy",
        "--config-file @/nova.conf --config-file @/nova-spice.ini --config-dir @/nova.conf.d",
    ),
    line("nova-spicehtml5proxy", "--config-file @/nova.conf --web @/web"),
    Line { status: "405", ..line("nova-serialproxy", "--config-file @/nova_cell1.conf") },
    line(
        "nova-serialproxy",
        "--serial_console-serialproxy_host 0.0.0.0 --serial_console-serialproxy_port PORT",
    ),
    Line {
        hosts: &["127.0.0.1", "[::1]"],
        ..line(
            "nova-novncproxy",
            "--vnc-novncproxy_host :: --vnc-novncproxy_port PORT --vnc-auth_schemes vencrypt,none -d",
        )
    },
    line("nova-novncproxy", "--record @/rec/session --nodaemon"),
];

fn prepare(directory: &Path, port: u16) {
    let at = directory.display();
    let own = "[consolegate]\nadmin_socket =\nport_check = off\n";
    let ports = format!(
        "[vnc]\nnovncproxy_port = {port}\n[spice]\nhtml5proxy_port = {port}\n[serial_console]\n\
         serialproxy_port = {port}\n"
    );
    for folder in ["web", "rec", "nova.conf.d"] {
        fs::create_dir(directory.join(folder)).unwrap();
    }
    fs::write(directory.join("web/page.html"), "a page\n").unwrap();
    fs::write(directory.join("nova.conf"), format!("[DEFAULT]\nweb = {at}/web\n{ports}{own}")).unwrap();
    fs::write(directory.join("nova_cell1.conf"), format!("{ports}{own}")).unwrap();
    for name in ["nova-vnc.ini", "nova-spice.ini", "nova.conf.d/a.conf"] {
        fs::write(directory.join(name), "[DEFAULT]\nrpc_response_timeout = 30\n").unwrap();
    }
    let authority = Authority::new(directory.join("tls"));
    authority.server(&["localhost"]);
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "60", "--noproxy", "*", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl is installed: scripts/install");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the port is open.
fn wait_for(child: &mut Child, port: u16, directory: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    let log = || fs::read_to_string(directory.join("output")).unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended: {}", log());
        assert!(Instant::now() < until, "nothing listens: {}", log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_command_line_listens_and_answers() {
    for line in LINES {
        let (directory, port) = (directory(), free_port());
        prepare(&directory, port);
        let at = directory.display().to_string();
        let arguments = line.arguments.replace('@', &at).replace("PORT", &port.to_string());
        let output = fs::File::create(directory.join("output")).unwrap();
        let mut child = command(&directory, line.program)
            .env("HOME", &directory)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        wait_for(&mut child, port, &directory);
        for host in line.hosts {
            let url = format!("{}://{host}:{port}/page.html", line.scheme);
            assert_eq!(curl(&[&url]), line.status, "GET {url}: {} {arguments}", line.program);
            assert_eq!(curl(&["--head", &url]), line.status, "HEAD {url}: {} {arguments}", line.program);
        }
        if line.scheme == "https" {
            assert_eq!(
                curl(&[&format!("http://127.0.0.1:{port}/page.html")]),
                "000",
                "plain text is refused"
            );
        }
        let ss = Command::new("ss").args(["-Hlntp", &format!("sport = :{port}")]).output();
        let listeners = String::from_utf8(ss.expect("ss is installed: scripts/install").stdout).unwrap();
        assert!(listeners.contains(&format!("pid={},", child.id())), "{listeners}");
        child.kill().unwrap();
        child.wait().unwrap();
        discard(&directory);
    }
}
