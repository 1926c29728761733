//! `daemon = true`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Client;
use super::program::{directory, discard, free_port, run};

/// The process is ended, also when a test fails.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn write_config(directory: &Path, port: u16) {
    fs::create_dir_all(directory.join("web")).unwrap();
    fs::write(directory.join("web/vnc_lite.html"), "a page").unwrap();
    let config = format!(
        "[DEFAULT]\ndaemon = true\nweb = web\nlog_file = proxy.log\n[vnc]\nnovncproxy_host = 127.0.0.1\n\
         novncproxy_port = {port}\n[consolegate]\nport_check = off\npid_file = proxy.pid\n"
    );
    fs::write(directory.join("nova.conf"), config).unwrap();
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_daemon_listens_when_its_parent_ends_and_has_let_go_of_everything() {
    let directory = directory();
    let port = free_port();
    write_config(&directory, port);
    // The streams' ends are awaited, so this returns only when the daemon has let go of them.
    let (status, stdout, stderr) = run(&directory, "nova-novncproxy", &["--config-file", "nova.conf"]);
    let log = || fs::read_to_string(directory.join("proxy.log")).unwrap_or_default();
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, "", ""), "{}", log());
    let pid: i32 = fs::read_to_string(directory.join("proxy.pid")).unwrap().trim().parse().unwrap();
    let daemon = Daemon(Pid::from_raw(pid));

    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    client.send(b"GET /vnc_lite.html HTTP/1.0\r\n\r\n");
    let (answer, _) = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"a page"));

    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), fs::canonicalize(directory.join("web")).unwrap());
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(stream), Path::new("/dev/null"), "{stream}");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Umask:\t0022\n"), "{status}");
    // Behind the name in parentheses: state, parent, group, session, terminal.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i32> = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .skip(1)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    assert!(fields[0] != i32::try_from(std::process::id()).unwrap(), "it is still our child");
    assert!(fields[2] != pid, "it leads a session, and could get a terminal");
    assert_eq!(fields[3], 0, "it has a terminal");
    wait_for("its line", || log().contains("  - Backgrounding (daemon)"));

    // Paths are still those of the directory it was started in.
    let config = fs::read_to_string(directory.join("nova.conf")).unwrap();
    fs::write(
        directory.join("nova.conf"),
        config.replace("daemon = true\n", "daemon = true\ndebug = true\n"),
    )
    .unwrap();
    kill(daemon.0, Signal::SIGHUP).unwrap();
    wait_for("the reload", || log().contains("Option DEFAULT.debug changed from [None] to [true]"));

    kill(daemon.0, Signal::SIGTERM).unwrap();
    wait_for("the end", || kill(daemon.0, None) == Err(Errno::ESRCH));
    assert!(!directory.join("proxy.pid").exists());
    assert!(log().contains("In exit"), "{}", log());
    discard(&directory);
}

#[test]
fn a_daemon_that_cannot_listen_is_status_1_and_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = directory();
    write_config(&directory, taken.local_addr().unwrap().port());
    let (status, _, stderr) = run(&directory, "nova-novncproxy", &["--config-file", "nova.conf"]);
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.starts_with("nova-novncproxy: Opening socket failed: 127.0.0.1:"), "{stderr}");
    assert!(fs::read_to_string(directory.join("proxy.log")).unwrap().contains(" ERROR "));
    assert!(!directory.join("proxy.pid").exists());
    fs::write(directory.join("nova.conf"), "[DEFAULT]\ndaemon=true\nweb=\nlog_dir=/proc/nowhere\n").unwrap();
    let (status, _, stderr) = run(&directory, "nova-novncproxy", &["--config-file", "nova.conf"]);
    assert_eq!(status, 1, "{stderr}");
    assert!(
        stderr.contains("the log file /proc/nowhere/nova-novncproxy.log could not be opened"),
        "{stderr}"
    );
    discard(&directory);
}
