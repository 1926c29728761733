//! What a scanner finds on the listening port: every protocol version and every cipher that the local OpenSSL has,
//! tried one by one.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::pair::Pair;
use super::program::{Options, Program, directory, discard, free_port};

/// Forward secrecy and authenticated encryption alone.
const ECDSA: [&str; 3] =
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];
const RSA: [&str; 3] =
    ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"];
const TLS13: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// All that OpenSSL can be asked to offer, weak and without encryption too.
const ALL: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";

/// Version and cipher that a handshake by these arguments comes to, if any.
fn handshake(address: SocketAddr, arguments: &[&str]) -> Option<(String, String)> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("openssl is installed: scripts/install");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.contains(", Cipher is "))?;
    let (version, cipher) = line.split_once(", Cipher is ").unwrap();
    // `New, (NONE)` of a handshake that failed.
    let version = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Protocol  : "))
        .unwrap_or_else(|| version.trim_start_matches("New, "));
    (cipher != "(NONE)").then(|| (version.to_owned(), cipher.to_owned()))
}

/// The names of all ciphers before TLS 1.3, which has a list of its own.
fn ciphers() -> Vec<String> {
    let output = Command::new("openssl").args(["ciphers", ALL]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all: Vec<_> =
        text.trim().split(':').filter(|name| !name.starts_with("TLS_")).map(str::to_owned).collect();
    assert!(all.len() > 50, "{text}");
    all
}

/// Every cipher that a server takes when it is the only one offered, in whatever version up to TLS 1.2.
fn taken(address: SocketAddr) -> Vec<String> {
    let all = ciphers();
    let half = all.len().div_ceil(2);
    thread::scope(|scope| {
        let probes: Vec<_> = all
            .chunks(half)
            .map(|ciphers| {
                scope.spawn(move || {
                    let is_taken = |cipher: &&String| {
                        let only = format!("{cipher}:@SECLEVEL=0");
                        let found = handshake(address, &["-no_tls1_3", "-cipher", &only]);
                        found.is_some_and(|(version, chosen)| {
                            assert_eq!((version.as_str(), &chosen), ("TLSv1.2", *cipher));
                            true
                        })
                    };
                    ciphers.iter().filter(is_taken).cloned().collect::<Vec<_>>()
                })
            })
            .collect();
        let mut taken: Vec<_> = probes.into_iter().flat_map(|probe| probe.join().unwrap()).collect();
        taken.sort();
        taken
    })
}

/// Versions that come to a handshake when all ciphers are offered.
fn versions(address: SocketAddr) -> Vec<&'static str> {
    let all = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"];
    all.into_iter().filter(|version| handshake(address, &[version, "-cipher", ALL]).is_some()).collect()
}

/// OpenSSL's own server, which takes all of it.
struct Lax(Child);

impl Lax {
    fn start(pair: &Pair) -> (Self, SocketAddr) {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &address.to_string(), "-cipher", ALL])
            .args([Path::new("-cert"), &pair.directory.join("cert.pem")])
            .args([Path::new("-key"), &pair.directory.join("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "openssl does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        (Self(child), address)
    }
}

impl Drop for Lax {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn only_tls_1_2_and_1_3_with_sane_suites_are_spoken() {
    let pair = Pair::new();
    // The probe does find what is old and weak, where it is.
    let (lax, address) = Lax::start(&pair);
    assert_eq!(versions(address), ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"]);
    let weak = handshake(address, &["-no_tls1_3", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]);
    assert!(weak.is_some());
    drop(lax);

    let program = pair.start("auto", "", "");
    assert_eq!(versions(program.address), ["-tls1_2", "-tls1_3"]);
    assert_eq!(taken(program.address), ECDSA);
    for suite in [&TLS13[..], &["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"]].concat() {
        let found = handshake(program.address, &["-tls1_3", "-ciphersuites", suite]);
        let expected = TLS13.contains(&suite).then(|| ("TLSv1.3".to_owned(), suite.to_owned()));
        assert_eq!(found, expected, "{suite}");
    }
    for arguments in [
        // No renegotiation, no compression, no curve that nobody trusts.
        &["-tls1_2", "-legacy_server_connect", "-curves", "secp256k1"][..],
        &["-tls1_3", "-curves", "secp521r1"],
    ] {
        assert_eq!(handshake(program.address, arguments), None, "{arguments:?}");
    }
}

#[test]
fn an_rsa_certificate_brings_no_other_suites() {
    let directory = directory();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let at = directory.display();
    let default = format!("web =\ncert = {at}/cert.pem\nkey = {at}/key.pem");
    let program = Program::start(&Options { default: &default, ..Options::on("auto") });
    assert_eq!(versions(program.address), ["-tls1_2", "-tls1_3"]);
    assert_eq!(taken(program.address), RSA);
    drop(program);
    discard(&directory);
}
