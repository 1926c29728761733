//! The shell of a real Linux guest, used through `nova-serialproxy` by clients that people use.
//!
//! Needs what `scripts/install` installs: QEMU, a kernel in `target/test-guest`, websocat, and the Python
//! package websocket-client (`CONSOLEGATE_TEST_PYTHON`, else `target/test-python/bin/python`). Fails without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "proxy/program.rs"]
#[allow(dead_code, reason = "shared with tests/proxy, which uses the rest")]
mod program;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use program::{Options, Program};
use sha2::{Digest, Sha256};

/// A guest boots in seconds; not so on a machine that does much else.
const BOOT_MAX: Duration = Duration::from_secs(300);
/// For the shell's answer
const ANSWER_MAX: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Linux guest whose first serial port is a TCP server, as Nova sets it up for serial consoles.
struct Guest {
    qemu: Child,
    port: u16,
    /// All that the port has said
    log: PathBuf,
}

impl Guest {
    fn boot() -> Self {
        let directory = program::directory();
        let files = root().join("target/test-guest");
        assert!(files.join("vmlinuz").exists(), "{} lacks a kernel: scripts/install", files.display());
        let port = program::free_port();
        let log = directory.join("serial.log");
        let server = format!("socket,id=serial,host=127.0.0.1,port={port},server=on,wait=off");
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-append", "console=ttyS0 quiet", "-device", "isa-serial,chardev=serial"])
            .arg("-kernel")
            .arg(files.join("vmlinuz"))
            .arg("-initrd")
            .arg(files.join("initrd"))
            .arg("-chardev")
            .arg(format!("{server},logfile={}", log.display()))
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU");
        let guest = Self { qemu, port, log };
        wait_for(&guest.log, "The guest is up.", BOOT_MAX);
        guest
    }
}

/// Waits until the file `log` holds `text`, whatever line breaks are in it.
fn wait_for(log: &Path, text: &str, most: Duration) {
    let until = Instant::now() + most;
    loop {
        let bytes = fs::read(log).unwrap_or_default();
        let said = String::from_utf8_lossy(&bytes);
        if said.replace(['\r', '\n'], "").contains(text) {
            return;
        }
        assert!(Instant::now() < until, "no {text:?} in {}: {said:?}", log.display());
        thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if !thread::panicking() {
            let _ = fs::remove_dir_all(self.log.parent().unwrap());
        }
    }
}

/// A command for the guest's shell, and its answer, which no echo of the command holds.
fn task(number: u32) -> (String, String) {
    let nonce = format!("nonce-{}-{number}", std::process::id());
    let hash = Sha256::digest(&nonce).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    (format!("printf {nonce} | sha256sum"), hash)
}

/// The address that Nova would hand out.
fn access_url(proxy: &Program, guest: &Guest) -> String {
    format!("ws://{}/?token={}", proxy.address, proxy.token("serial", guest.port, 600))
}

#[test]
fn a_linux_shell_computes_what_clients_ask_of_it() {
    let guest = Guest::boot();
    let proxy = Program::start(&Options { name: "nova-serialproxy", default: "", ..Options::on("auto") });
    websocat_sends_text_and_shows_the_answer(&proxy, &guest);
    python_sends_fragments_and_reads_the_answer(&proxy, &guest);
    a_pipe_into_websocat_that_ends_at_once_is_obeyed(&proxy, &guest);
    assert_eq!(proxy.log().matches("console relay ended").count(), 3, "{}", proxy.log());
}

/// Starts websocat as people do: by default it sends a text frame per line, and prints a line per frame.
/// What it prints goes to the file `output`, by way of a pipe: it does not write to files.
fn websocat(url: &str, output: &Path) -> Child {
    let mut output = fs::File::create(output).unwrap();
    let mut client = Command::new("websocat")
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("websocat: scripts/install");
    let mut pipe = client.stdout.take().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            output.write_all(&buffer[..len]).unwrap();
        }
    });
    client
}

fn websocat_sends_text_and_shows_the_answer(proxy: &Program, guest: &Guest) {
    let (command, answer) = task(1);
    let output = proxy.directory.join("websocat");
    let mut client = websocat(&access_url(proxy, guest), &output);
    let mut input = client.stdin.take().unwrap();
    writeln!(input, "{command}").unwrap();
    wait_for(&output, &answer, ANSWER_MAX);
    // The end of its input ends it, and the console with it.
    drop(input);
    assert!(client.wait().unwrap().success());
}

fn python_sends_fragments_and_reads_the_answer(proxy: &Program, guest: &Guest) {
    let (command, answer) = task(2);
    let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON")
        .map_or_else(|| root().join("target/test-python/bin/python"), PathBuf::from);
    let output = Command::new(&python)
        .arg(root().join("tests/serial/console.py"))
        .args([&access_url(proxy, guest), &command, &answer])
        .output()
        .unwrap_or_else(|reason| panic!("{}: {reason}", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn a_pipe_into_websocat_that_ends_at_once_is_obeyed(proxy: &Program, guest: &Guest) {
    let (command, answer) = task(3);
    let mut client = websocat(&access_url(proxy, guest), &proxy.directory.join("pipe"));
    writeln!(client.stdin.take().unwrap(), "{command}").unwrap();
    assert!(client.wait().unwrap().success());
    wait_for(&guest.log, &answer, ANSWER_MAX);
}
