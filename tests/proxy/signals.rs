//! What signals do to the running program.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::admin;
use super::client::Client;
use super::live::Live;
use super::program::{Options, Program, discard, quiet};

on_both_engines! {
    a_hundred_reloads_apply_what_is_mutable_and_lose_no_session,
    sigterm_waits_for_sessions_as_long_as_it_may,
    a_second_sigterm_ends_sessions_that_are_waited_for,
    sigquit_waits_for_the_last_session,
    a_state_report_is_written_when_asked_for_and_shows_no_secret,
    sigterm_ends_two_hundred_sessions,
    signals_are_obeyed_from_the_first_connection_on,
}

fn options<'a>(engine: &'a str, default: &'a str, own: &'a str, extra: &'a str) -> Options<'a> {
    Options { name: "nova-serialproxy", default, own, extra, ..Options::on(engine) }
}

fn signal(program: &Program, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(program.pid()).unwrap()), signal).unwrap();
}

/// Waits until `is_so`, for a generous while.
fn wait_for(what: &str, program: &Program, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come:\n{}", program.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes the configuration file.
fn rewrite(program: &Program, change: impl FnOnce(String) -> String) {
    let path = program.directory.join("nova.conf");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, change(text)).unwrap();
}

fn a_hundred_reloads_apply_what_is_mutable_and_lose_no_session(engine: &str) {
    let options = options(engine, "", "port_check = off\nadmin_socket = admin.sock", "");
    let program = Program::start_with(&options, quiet);
    let mut live = Live::open(&program);
    assert!(!program.log().contains(" DEBUG "), "{}", program.log());
    rewrite(&program, |text| text.replace("[DEFAULT]\n", "[DEFAULT]\ndebug = true\nsource_is_ipv6 = true\n"));
    signal(&program, Signal::SIGHUP);
    program.wait_for_log("INFO oslo_config.cfg [-] Option DEFAULT.debug changed from [None] to [true]");
    program.wait_for_log(
        "WARNING oslo_config.cfg [-] Ignoring change to immutable option DEFAULT.source_is_ipv6",
    );
    drop(TcpStream::connect(program.address).unwrap());
    program.wait_for_log(" DEBUG nova.console.websocketproxy [-] 127.0.0.1: new handler Process");

    rewrite(&program, |text| text.replace("debug = true\n", "debug = true\nhidden-pa55word nonsense\n"));
    signal(&program, Signal::SIGHUP);
    program.wait_for_log("The configuration could not be read again, the old one stays: Failed to parse ");
    assert!(!program.log().contains("hidden-pa55word"), "{}", program.log());

    rewrite(&program, |text| text.replace("debug = true\nhidden-pa55word nonsense\n", ""));
    signal(&program, Signal::SIGHUP);
    program.wait_for_log("Option DEFAULT.debug changed from [true] to [None]");
    for _ in 0..100 {
        signal(&program, Signal::SIGHUP);
        live.assert_echoes();
    }
    let metrics = admin::metrics(&program);
    assert!(metrics.contains("consolegate_config_reload_total{result=\"failed\"} 1\n"), "{metrics}");
    live.close();
}

fn sigterm_waits_for_sessions_as_long_as_it_may(engine: &str) {
    let own = "port_check = off\ndrain_timeout = 600\nadmin_socket = admin.sock";
    let mut program = Program::start(&options(engine, "", own, ""));
    let mut live = Live::open(&program);
    assert_eq!(admin::readiness(&program), 200);
    signal(&program, Signal::SIGTERM);
    wait_for("a readiness of no", &program, || admin::readiness(&program) == 503);
    wait_for("the end of listening", &program, || TcpStream::connect(program.address).is_err());
    live.assert_echoes();
    program.wait_for_log("Draining: sessions end within 600 s");
    live.close();
    assert_eq!(program.status(), 0, "{}", program.log());
    assert!(program.log().contains("In exit"), "{}", program.log());

    let mut program = Program::start(&options(engine, "", "port_check = off\ndrain_timeout = 1", ""));
    let live = Live::open(&program);
    signal(&program, Signal::SIGTERM);
    live.assert_closed(1001);
    assert_eq!(program.status(), 0);
    assert!(program.log().contains("Draining is over"), "{}", program.log());
}

fn a_second_sigterm_ends_sessions_that_are_waited_for(engine: &str) {
    let own = "port_check = off\ndrain_timeout = 600";
    let mut program = Program::start(&options(engine, "", own, ""));
    let mut live = Live::open(&program);
    signal(&program, Signal::SIGTERM);
    program.wait_for_log("Draining");
    live.assert_echoes();
    signal(&program, Signal::SIGTERM);
    live.assert_closed(1001);
    assert_eq!(program.status(), 0);
}

fn sigquit_waits_for_the_last_session(engine: &str) {
    let mut program = Program::start(&options(engine, "", "port_check = off", ""));
    let (mut first, mut second) = (Live::open(&program), Live::open(&program));
    signal(&program, Signal::SIGQUIT);
    program.wait_for_log("Draining: sessions are waited for");
    wait_for("the end of listening", &program, || TcpStream::connect(program.address).is_err());
    second.assert_echoes();
    second.close();
    first.assert_echoes();
    first.close();
    assert_eq!(program.status(), 0, "{}", program.log());
}

fn sigterm_ends_two_hundred_sessions(engine: &str) {
    let mut program = Program::start(&options(engine, "", "port_check = off", ""));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let token = program.token("serial", listener.local_addr().unwrap().port(), 600);
    let mut sessions: Vec<(Client, TcpStream)> = (0..200)
        .map(|_| {
            let client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
            (client, listener.accept().unwrap().0)
        })
        .collect();
    assert_eq!(program.end(Signal::SIGTERM), 0);
    for (client, compute) in &mut sessions {
        assert_eq!(client.read_frame(), (0x88, [&[0x03, 0xe9], b"Going away".as_slice()].concat()));
        compute.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(compute.read(&mut [0]).unwrap_or(0), 0, "the compute node's side is still open");
    }
}

/// The reports in the directory.
fn reports(program: &Program) -> Vec<PathBuf> {
    let entries = fs::read_dir(program.directory.join("reports")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn a_state_report_is_written_when_asked_for_and_shows_no_secret(engine: &str) {
    let extra = "[oslo_reports]\nlog_dir = reports\nfile_event_handler = trigger\n\
                 [oslo_messaging_rabbit]\n[consoleauth]\n";
    let default = "transport_url = rabbit://nova:hidden-pa55word@127.0.0.1:1/";
    let program = Program::start_with(&options(engine, default, "port_check = off", extra), |command| {
        let directory = command.get_current_dir().unwrap().to_path_buf();
        fs::create_dir(directory.join("reports")).unwrap();
        fs::write(directory.join("trigger"), "").unwrap();
    });
    let mut live = Live::open(&program);
    signal(&program, Signal::SIGUSR2);
    wait_for("a report", &program, || {
        reports(&program).iter().any(|path| fs::read_to_string(path).unwrap().contains("Configuration"))
    });
    let path = reports(&program).remove(0);
    let name = path.file_name().unwrap().to_str().unwrap();
    let time = name.strip_prefix("nova-serialproxy_gurumeditation_").unwrap();
    assert!(time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    let text = fs::read_to_string(&path).unwrap();
    for expected in [
        "Guru Meditation",
        "Package",
        "Threads",
        "Sessions",
        "Limits",
        "Last Errors",
        "Configuration",
        "1 relaying",
        "control (",
        "\nDEFAULT:\n",
        "  transport_url = ***\n",
        "  connection = ***\n",
        "port_check = off: a token is not checked",
    ] {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
    assert!(!text.contains("hidden-pa55word") && !text.contains("cell.sqlite"), "{text}");
    live.assert_echoes();
    let before = reports(&program).len();
    wait_for("a report after the trigger", &program, || {
        fs::write(program.directory.join("trigger"), "now").unwrap();
        reports(&program).len() > before
    });
    live.close();
}

/// A logging file whose root logger has this level.
fn logging_file(level: &str) -> String {
    format!(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nlevel={level}\nhandlers=h\n\
         [handler_h]\nclass=StreamHandler\nargs=(sys.stdout,)\nformatter=f\n\
         [formatter_f]\nformat=%(levelname)s of %(name)s: %(message)s\n"
    )
}

#[test]
fn a_logging_file_is_read_again_when_it_changes_and_a_broken_one_is_not_used() {
    let default = "log_config_append = logging.ini";
    let program = Program::start_with(&options("epoll", default, "port_check = off", ""), |command| {
        fs::write(command.get_current_dir().unwrap().join("logging.ini"), logging_file("INFO")).unwrap();
    });
    program.wait_for_log("INFO of nova.console.websocketproxy: WebSocket server settings:");
    fs::write(program.directory.join("logging.ini"), logging_file("DEBUG")).unwrap();
    // Nobody sends a signal.
    program.wait_for_log("The logging configuration was read again: ");
    drop(TcpStream::connect(program.address).unwrap());
    program.wait_for_log("DEBUG of nova.console.websocketproxy: 127.0.0.1: new handler Process");
    fs::write(program.directory.join("logging.ini"), "[loggers]\nkeys=root\n").unwrap();
    signal(&program, Signal::SIGHUP);
    program.wait_for_log("ERROR of consolegate.serve.reload: Error loading logging config ");
    let before = program.log().matches("new handler Process").count();
    drop(TcpStream::connect(program.address).unwrap());
    wait_for("the next line", &program, || program.log().matches("new handler Process").count() > before);
}

#[test]
fn a_service_manager_is_told() {
    let directory = super::program::directory();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut program = Program::start_with(&options("epoll", "", "port_check = off", ""), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    });
    let wait_for_message = |start: &str| {
        let mut buffer = [0; 1_024];
        loop {
            let len = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {start}: {error}"));
            let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if message.starts_with(start) {
                return message;
            }
        }
    };
    assert_eq!(wait_for_message("READY=1"), format!("READY=1\nMAINPID={}", program.pid()));
    wait_for_message("STATUS=");
    wait_for_message("WATCHDOG=1");
    signal(&program, Signal::SIGHUP);
    assert!(wait_for_message("RELOADING=1").contains("\nMONOTONIC_USEC="));
    wait_for_message("READY=1");
    signal(&program, Signal::SIGTERM);
    wait_for_message("STOPPING=1");
    assert_eq!(program.status(), 0);
    discard(&directory);
}

/// A supervisor may send them as soon as a probe of the port succeeds.
fn signals_are_obeyed_from_the_first_connection_on(engine: &str) {
    for number in 0..20 {
        let mut program = Program::start(&options(engine, "", "port_check = off", ""));
        if number % 2 == 0 {
            signal(&program, Signal::SIGHUP);
        }
        assert_eq!(program.end(Signal::SIGTERM), 0, "{number}: {}", program.log());
    }
}
