//! Where lines go (`oslo_log/log.py`, `_setup_logging_from_conf`).

use std::fs;

use crate::program::{Options, Program};

/// What a serial proxy with these options logs on its streams, and in the file that `log_dir` alone means.
fn logged(default: &str) -> (String, String) {
    let options = Options { name: "nova-serialproxy", default, ..Options::on("epoll") };
    let mut program = Program::start_with(&options, |command| {
        fs::create_dir(command.get_current_dir().unwrap().join("logs")).unwrap();
    });
    assert_eq!(program.end(nix::sys::signal::Signal::SIGTERM), 0);
    let file = ["nova-serialproxy.log", "x.log"]
        .iter()
        .find_map(|name| fs::read_to_string(program.directory.join("logs").join(name)).ok());
    (program.log(), file.unwrap_or_default())
}

#[test]
fn standard_output_is_what_remains_and_several_destinations_get_the_same() {
    let (streams, file) = logged("");
    assert!(streams.contains("In exit") && file.is_empty(), "{streams}");
    for default in ["log_dir = logs", "log_dir = logs\nlog_file = x.log", "log_file = logs/x.log"] {
        let (streams, file) = logged(default);
        assert!(file.contains("WebSocket server settings:") && file.contains("In exit"), "{default}: {file}");
        assert_eq!(streams, "", "{default}");
    }
    let (streams, file) = logged("log_dir = logs\nuse_stderr = true");
    assert!(file.contains("In exit") && !file.contains("were lost"), "{file}");
    assert_eq!(streams, file);
    let (streams, _) = logged("use_json = true");
    assert!(streams.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{streams}");
}
