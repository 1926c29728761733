//! Recordings, through the real program. That they are websockify's byte for byte is in `tests/record_real.rs`.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::client::{Client, End, masked};
use super::compute;
use super::program::{Options, Program, directory};

on_both_engines! {
    a_session_is_recorded_whole_and_readable_by_its_owner_only,
    a_refused_token_leaves_no_file,
    the_recording_is_complete_when_the_program_ends,
    bulk_is_recorded_byte_for_byte,
    a_recording_that_cannot_be_made_costs_no_session,
    a_full_disk_ends_the_recording_and_no_session,
}

fn start(engine: &str, default: &str) -> Program {
    let default = format!("web =\n{default}");
    Program::start(&Options { name: "nova-serialproxy", default: &default, ..Options::on(engine) })
}

/// The recording of the session with that number, without its times, once it is complete.
fn recording(program: &Program, path: &str) -> String {
    let path = program.directory.join(path);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with("'EOF'];\n") {
            return text.lines().map(|line| format!("{}\n", without_time(line))).collect();
        }
        assert!(Instant::now() < until, "{} is not complete: {text:?}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn without_time(line: &str) -> String {
    let Some(mark) =
        line.strip_prefix('\'').and_then(|line| line.chars().next()).filter(|c| "{}".contains(*c))
    else {
        return line.to_owned();
    };
    let (time, rest) = line[2..].split_once(mark).unwrap();
    assert!(time.parse::<u64>().is_ok(), "{line}");
    format!("'{mark}{mark}{rest}")
}

/// The name of the only file that begins with `rec.`; it is made off the session's path, so it may come later.
fn only_recording(program: &Program) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let names = fs::read_dir(&program.directory).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
        match names.iter().filter(|name| name.starts_with("rec.")).collect::<Vec<_>>()[..] {
            [name] => return name.clone(),
            [] if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            _ => panic!("{names:?}"),
        }
    }
}

fn a_session_is_recorded_whole_and_readable_by_its_owner_only(engine: &str) {
    let program = start(engine, "record = rec");
    let (port, compute) = compute::serve(|mut stream| {
        let typed = compute::read(&mut stream, 7);
        stream.write_all(b"it's \x1b[1mhere\x1b[0m\r\n").unwrap();
        typed
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.send(&masked(0x02, b"who"));
    client.send(&masked(0x80, b"ami\\"));
    assert_eq!(compute.join().unwrap(), b"whoami\\");
    while client.read_frame().0 != 0x88 {}
    client.frame(8, &[0x03, 0xe8]);
    assert_eq!(client.rest().1, End::Fin);
    let name = only_recording(&program);
    assert_eq!(
        recording(&program, &name),
        "var VNC_frame_data = [\n'}}whoami\\\\',\n'{{it\\'s \\x1b[1mhere\\x1b[0m\\r\\n',\n'EOF'];\n"
    );
    let mode = fs::metadata(program.directory.join(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = program.directory.canonicalize().unwrap().join(&name);
    program.wait_for_log(&format!("opening record file: {}", shown.display()));
    let base = program.directory.canonicalize().unwrap().join("rec");
    program.wait_for_log(&format!("  - Recording to '{}.*'", base.display()));
}

fn a_refused_token_leaves_no_file(engine: &str) {
    let program = start(engine, "record = rec");
    program.token("serial", 1, 600);
    let mut client = Client::upgrade(program.address, "/?token=nobody-issued-this", &[]);
    assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
    program.wait_for_log("handler exception");
    let names: Vec<_> =
        fs::read_dir(&program.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("rec")), "{names:?}");
}

fn the_recording_is_complete_when_the_program_ends(engine: &str) {
    let mut program = start(engine, "record = rec");
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(b"login:").unwrap();
        compute::read_all(&mut stream)
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    assert_eq!(client.read_frame(), (0x82, b"login:".to_vec()));
    assert_eq!(program.end(Signal::SIGTERM), 0);
    let name = only_recording(&program);
    assert_eq!(recording(&program, &name), "var VNC_frame_data = [\n'{{login:',\n'EOF'];\n");
    compute.join().unwrap();
}

fn bulk_is_recorded_byte_for_byte(engine: &str) {
    let program = start(engine, "record = rec");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let bytes = sent.clone();
    let (port, compute) = compute::serve(move |mut stream| stream.write_all(&bytes).unwrap());
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    let mut shown = Vec::new();
    while let (0x82, payload) = client.read_frame() {
        shown.extend(payload);
    }
    assert!(shown == sent, "what was shown");
    compute.join().unwrap();
    drop(client);
    let text = recording(&program, &only_recording(&program));
    let mut recorded = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("'{{")) {
        unescape(line.strip_suffix("',").unwrap(), &mut recorded);
    }
    assert!(recorded == sent, "{} of {} bytes recorded", recorded.len(), sent.len());
}

fn unescape(text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), after)
            }
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b'r', after @ ..]) => (b'\r', after),
            (b'\\', [quoted, after @ ..]) => (*quoted, after),
            (plain, after) => (*plain, after),
        };
        bytes.push(byte);
        rest = after;
    }
}

fn a_recording_that_cannot_be_made_costs_no_session(engine: &str) {
    // The first connections to the program are the test's own looks whether it listens.
    let elsewhere = directory();
    for number in 1..20 {
        // Links are not followed, so each of these recordings fails.
        symlink("/dev/full", elsewhere.join(format!("rec.{number}"))).unwrap();
    }
    let program = start(engine, &format!("record = {}/rec", elsewhere.display()));
    let (port, compute) = compute::serve(|mut stream| {
        let typed = compute::read(&mut stream, 5);
        stream.write_all(b"shown").unwrap();
        typed
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.frame(2, b"typed");
    assert_eq!(client.read_frame(), (0x82, b"shown".to_vec()));
    assert_eq!(compute.join().unwrap(), b"typed");
    program.wait_for_log("cannot be made: ");
    fs::remove_dir_all(elsewhere).unwrap();
}

/// Gives the program to be started a disk of 64 KiB at `path`, which nobody else sees.
fn with_small_disk(command: &mut Command, path: &std::path::Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mounted = move || {
        let null = std::ptr::null();
        let (private, none) = (libc::MS_REC | libc::MS_PRIVATE, std::ptr::null());
        // SAFETY: each pointer is to a string that ends with NUL, or null where mount(2) allows that.
        let is_mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(null, c"/".as_ptr(), null, private, none) == 0
                && libc::mount(null, path.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=64k".as_ptr().cast()) == 0
        };
        if is_mounted { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only system calls are made, with strings built before: nothing allocates or
    // takes a lock.
    unsafe { command.pre_exec(mounted) };
}

fn a_full_disk_ends_the_recording_and_no_session(engine: &str) {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root may mount a small disk");
        return;
    }
    let disk = directory();
    let default = format!("web =\nrecord = {}/rec", disk.display());
    let own = "port_check = off\nadmin_socket = admin.sock";
    let options = Options { name: "nova-serialproxy", default: &default, own, ..Options::on(engine) };
    let program = Program::start_with(&options, |command| with_small_disk(command, &disk));
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(&[b'x'; 1_000_000]).unwrap();
        compute::read(&mut stream, 5)
    });
    let token = program.token("serial", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    let mut len = 0;
    while len < 1_000_000 {
        len += client.read_frame().1.len();
    }
    client.frame(2, b"alive");
    assert_eq!(compute.join().unwrap(), b"alive");
    program.wait_for_log("cannot be written, its rest is missing: No space left on device");
    assert_eq!(program.log().matches("its rest is missing").count(), 1, "said once");
    let until = Instant::now() + Duration::from_secs(20);
    let counted = "consolegate_recorder_errors_total{reason=\"write\"} 1\n";
    while !super::admin::metrics(&program).contains(counted) {
        assert!(Instant::now() < until, "{}", super::admin::metrics(&program));
    }
    drop(program);
    fs::remove_dir_all(disk).unwrap();
}
