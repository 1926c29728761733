//! On Debian's cloud kernel 6.1, in a guest: the oldest that the `io_uring` engine runs on, and one whose modules
//! hold the kernel's own TLS, which machines that run tests often lack.
//!
//! The test programs of this package run in the guest as they are. Needs what `scripts/install` installs: QEMU, and
//! the kernel in `target/test-guest`. Fails without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The guest's processors are emulated, and this machine may do much else.
const RUN_MAX: Duration = Duration::from_secs(3_000);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The executables of the integration test `name` and of the program, built if need be.
fn test_program(name: &str) -> [PathBuf; 2] {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--no-run", "--message-format=json", "--test", name]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.current_dir(root()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{name} cannot be built");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let built: Vec<_> = messages.filter(|message| message["executable"].is_string()).collect();
    [name, "consolegate"].map(|name| {
        let built = built.iter().find(|message| message["target"]["name"] == name).expect(name);
        PathBuf::from(built["executable"].as_str().unwrap())
    })
}

/// A guest that runs test programs and ends.
struct Guest {
    directory: PathBuf,
    qemu: Child,
}

impl Guest {
    /// Runs the shell's `commands` in a guest that has `files` at their own paths. Returns what they print.
    fn run(name: &str, files: &[&Path], commands: &str) -> String {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (init, initrd, log) = (directory.join("init"), directory.join("initrd"), directory.join("log"));
        let script = format!(
            "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\n\
             mount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\nip link set lo up\n\
             mkdir -p /tmp {}\nulimit -n 65536\n{commands}\necho The guest is done.\npoweroff -f\n",
            env!("CARGO_TARGET_TMPDIR")
        );
        fs::write(&init, script).unwrap();
        let mut pack = Command::new(root().join("tests/guest/pack"));
        assert!(pack.args([&initrd, &init]).args(files).status().unwrap().success(), "scripts/install");
        // The guest's clock counts its instructions, and nothing is waited for while it idles: what takes long here
        // takes no longer there, so its tests' deadlines hold on a busy machine.
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-cpu", "max"])
            .args(["-m", "1024", "-nodefaults"])
            .args(["-display", "none", "-no-reboot", "-append", "console=ttyS0 loglevel=3 panic=-1"])
            .arg("-kernel")
            .arg(root().join("target/test-guest/vmlinuz"))
            .arg("-initrd")
            .arg(&initrd)
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU");
        let mut guest = Self { directory, qemu };
        let until = Instant::now() + RUN_MAX;
        let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).replace('\r', "");
        while guest.qemu.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the guest takes too long: {}", said());
            thread::sleep(Duration::from_millis(100));
        }
        let said = said();
        assert!(said.contains("The guest is done."), "{said}");
        said
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The numbers of tests that passed, one for each test program that ran. All of them must have.
fn passed(said: &str) -> Vec<usize> {
    assert!(!said.contains("test result: FAILED") && !said.contains("SKIPPED"), "{said}");
    let results = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.map(|result| result.split_once(' ').unwrap().0.parse().unwrap()).collect()
}

#[test]
fn both_engines_pass_their_tests_on_it() {
    let [engine, _] = test_program("engine");
    let said = Guest::run("engine", &[&engine], &format!("{} --show-output", engine.display()));
    println!("{said}");
    assert_eq!(passed(&said), [listed(&engine, "")]);
}

/// The same conversations with the kernel's TLS and, before its module is there, without.
#[test]
fn consoles_go_through_the_kernels_tls_and_without_it_through_ours() {
    const MODULES: &str = "tls gf128mul ghash-generic ctr gcm cryptd crypto_simd aesni-intel";
    const CHACHA: &str = "libchacha chacha_generic libpoly1305 poly1305_generic chacha20poly1305";
    let [proxy, program] = test_program("proxy");
    // All of them without the module is what machines that run tests do.
    let [some, all, chacha] = ["kernel_tls::bulk", "kernel_tls::", "kernel_tls::chacha20"];
    let tests = |filter| format!("{} --show-output {filter}", proxy.display());
    let insert = |modules| format!("for module in {modules}; do insmod /modules/$module.ko || exit; done");
    let commands = [tests(some), insert(MODULES), tests(all), insert(CHACHA), tests(chacha)];
    // The last sockets go when both ends have let go of them.
    let settle =
        "for second in $(seq 120); do grep -q 'TlsCurr.*[1-9]' /proc/net/tls_stat || break; sleep 1; done";
    let commands = format!("{}\n{settle}\ncat /proc/net/tls_stat", commands.join("\n"));
    let said = Guest::run("kernel-tls", &[&proxy, &program], &commands);
    println!("{said}");
    assert_eq!(passed(&said), [some, all, chacha].map(|filter| listed(&proxy, filter)));
    // Ours while the kernel lacks the cipher, on either engine, and then the kernel's.
    let by = |whom: &str| said.matches(&format!("ChaCha20-Poly1305 by {whom}")).count();
    assert_eq!((by("us"), by("the kernel")), (2, 2), "{said}");
    // Nothing was left behind, and the records that did not open were those that a test forged.
    let stat = |name: &str| {
        let line = said.lines().rev().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!(stat("TlsTxSw") > 10 && stat("TlsTxSw") == stat("TlsRxSw"));
    assert_eq!((stat("TlsCurrTxSw"), stat("TlsCurrRxSw")), (0, 0));
    assert_eq!(stat("TlsDecryptError"), 2);
}

/// How many tests a test program has whose names contain `filter`.
fn listed(program: &Path, filter: &str) -> usize {
    let output = Command::new(program).args(["--list", filter]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().matches(": test\n").count()
}
