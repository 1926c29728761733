//! What is refused from inside the sandbox, tried by whoever is in it: the real rules of a real configuration.
//!
//! One test, in a program of its own: the last filter is put on every thread of the process.
#![cfg(feature = "control")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use consolegate::control::{config, reach};
use consolegate::engine::uring;
use consolegate::sandbox::{self, Mode};
use io_uring::IoUring;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{getpid, getppid, getuid, setuid};

const PERMISSION: Option<i32> = Some(libc::EACCES);
const NOT_PERMITTED: Option<i32> = Some(libc::EPERM);

fn refusal<T>(tried: io::Result<T>) -> Option<i32> {
    tried.err().and_then(|error| error.raw_os_error())
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Directories of a proxy's, and one that is nobody's business.
fn site(root: &Path) -> config::Config {
    for directory in
        ["etc", "www/web", "parts/core", "pki", "logs", "records", "run", "reports", "db", "else"]
    {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("www/web/vnc.html"), "page").unwrap();
    fs::write(root.join("parts/core/rfb.js"), "part").unwrap();
    symlink(root.join("parts/core"), root.join("www/web/core")).unwrap();
    fs::write(root.join("else/secret"), "secret").unwrap();
    let at = root.display();
    fs::write(root.join("etc/logging.conf"), format!(
        "[loggers]\nkeys = root\n[handlers]\nkeys = file\n[formatters]\nkeys =\n[logger_root]\nhandlers = file\n\
         [handler_file]\nclass = handlers.WatchedFileHandler\nargs = ('{at}/logs/proxy.log',)\n"
    )).unwrap();
    fs::write(
        root.join("etc/nova.conf"),
        format!(
            "[DEFAULT]\nweb = {at}/www/web\ncert = {at}/pki/cert.pem\nrecord = {at}/records/rec\n\
         log_config_append = {at}/etc/logging.conf\n[database]\nconnection = sqlite:///{at}/db/cell.sqlite\n\
         [oslo_reports]\nlog_dir = {at}/reports\n\
         [consolegate]\nport_check = off\npid_file = {at}/run/pid\nadmin_socket = {at}/run/admin.sock\n"
        ),
    )
    .unwrap();
    let file = root.join("etc/nova.conf").display().to_string();
    let argv: Vec<OsString> = ["nova-novncproxy", "--config-file", &file].map(OsString::from).into();
    config::load(&argv, &|_| None).unwrap()
}

fn what_a_proxy_does_works(root: &Path) {
    for file in ["etc/nova.conf", "www/web/vnc.html", "www/web/core/rfb.js"] {
        fs::read(root.join(file)).unwrap();
    }
    for file in ["/etc/hosts", "/etc/passwd", "/proc/self/status", "/proc/self/limits", "/dev/urandom"] {
        File::open(file).unwrap();
    }
    assert!(fs::read_dir("/proc/self/task").unwrap().count() > 0);
    for file in ["logs/proxy.log", "records/rec.1", "run/pid", "reports/report", "db/cell.sqlite-wal"] {
        let file = root.join(file);
        fs::write(&file, "line").unwrap();
        append(&file).unwrap();
        fs::rename(&file, file.with_extension("old")).unwrap();
        fs::write(&file, "anew").unwrap();
        fs::remove_file(&file).unwrap();
    }
    drop(UnixListener::bind(root.join("run/admin.sock")).unwrap());
    let listener = TcpListener::bind("localhost:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    kill(getpid(), None).unwrap();
}

fn what_nobody_needs_is_refused(root: &Path) {
    assert_eq!(refusal(File::open(root.join("else/secret"))), PERMISSION, "a file outside");
    symlink("../else/secret", root.join("run/link")).unwrap_err();
    assert_eq!(refusal(fs::read_dir("/home")), PERMISSION);
    assert_eq!(refusal(fs::read_dir("/")), PERMISSION);
    assert_eq!(refusal(File::open(format!("/proc/{}/environ", getppid()))), PERMISSION, "another process");
    for file in ["etc/nova.conf", "www/web/vnc.html", "pki/cert.pem", "else/new"] {
        assert_eq!(refusal(append(&root.join(file))), PERMISSION, "{file} is not to be written");
    }
    assert_eq!(refusal(fs::create_dir(root.join("logs/directory"))), PERMISSION);

    assert_eq!(Command::new("/bin/true").exec().raw_os_error(), NOT_PERMITTED, "a program");
    assert_eq!(refusal(Command::new("/bin/true").spawn()), NOT_PERMITTED, "a process");
    thread::spawn(|| ()).join().expect("a thread is none");
    assert_eq!(kill(getppid(), None), Err(Errno::EPERM), "another process");
    assert_eq!(unshare(CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
    let none: Option<&str> = None;
    assert_eq!(mount(none, "/mnt", Some("tmpfs"), MsFlags::empty(), none), Err(Errno::EPERM));
    assert_eq!(setuid(getuid()), Err(Errno::EPERM));
    let packets = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
    assert_eq!(packets.err(), Some(Errno::EPERM));
}

/// On a thread that has become a worker: it may connect, and may not do what other threads of the process do.
fn what_a_worker_does_not_do_is_refused(root: &Path) {
    let console = TcpStream::connect(CONSOLE.get().unwrap()).unwrap();
    console.set_nodelay(true).unwrap();
    let grown: Vec<u8> = (0..=u8::MAX).cycle().take(4 << 20).collect();
    assert_eq!(grown.len(), 4 << 20);

    assert_eq!(refusal(TcpListener::bind("127.0.0.1:0")), NOT_PERMITTED, "listening");
    assert_eq!(refusal(UnixListener::bind(root.join("run/other.sock"))), NOT_PERMITTED);
    assert_eq!(refusal(thread::Builder::new().spawn(|| ())), NOT_PERMITTED, "a thread");
    assert_eq!(refusal(fs::rename(root.join("logs"), root.join("run"))), NOT_PERMITTED);
    assert_eq!(refusal(fs::remove_file(root.join("etc/nova.conf"))), NOT_PERMITTED);
    let looked = fs::read_dir(root.join("www/web")).and_then(|mut found| found.next().unwrap());
    assert_eq!(refusal(looked), NOT_PERMITTED, "looking around");
    assert_eq!(kill(getpid(), None), Err(Errno::EPERM), "signals");
    assert_eq!(Command::new("/bin/true").exec().raw_os_error(), NOT_PERMITTED, "a program");
}

static CONSOLE: OnceLock<SocketAddr> = OnceLock::new();

#[test]
fn a_proxy_can_do_its_work_and_nothing_else() {
    let has_rings = uring::probe().is_ok();
    let console = TcpListener::bind("127.0.0.1:0").unwrap();
    CONSOLE.set(console.local_addr().unwrap()).unwrap();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{}", std::process::id()));
    let config = site(&root);
    let paths = reach::paths(&config, &root);
    // On a thread of its own, so that the process can tidy up behind it.
    let within = root.clone();
    let inside = thread::spawn(move || {
        let mut sandbox = sandbox::enter(Mode::Required, &paths).unwrap();
        // A thread that is there before the last step, as workers are.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let older = thread::spawn(move || {
            wait.recv().unwrap();
            refusal(IoUring::new(4))
        });
        if has_rings {
            IoUring::new(4).expect("the start makes rings");
        }
        let filter = sandbox.seal().unwrap().unwrap();
        go.send(()).unwrap();
        assert_eq!(older.join().unwrap(), NOT_PERMITTED, "a ring, made by a thread that was there before");
        assert_eq!(refusal(IoUring::new(4)), NOT_PERMITTED, "a ring");
        what_a_proxy_does_works(&within);
        what_nobody_needs_is_refused(&within);
        let at = within.clone();
        thread::spawn(move || {
            filter.apply().unwrap();
            what_a_worker_does_not_do_is_refused(&at);
        })
        .join()
        .unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap() && nix::sys::prctl::get_no_new_privs().unwrap());
        let said = sandbox.describe(Some(uring::OPERATIONS));
        assert!(
            ["landlock ABI ", "seccomp (", "workers restricted to "].iter().all(|part| said.contains(part))
                && !said.contains("lacking"),
            "{said}"
        );
    });
    let result = inside.join();
    fs::remove_dir_all(&root).unwrap();
    result.unwrap();
}
