//! What a token leaves in the process's memory once its session is over: nothing. And where a VNC password is.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use des::Des;
use des::cipher::KeyInit;

use super::client::{Client, End, request};
use super::compute;
use super::guest::Guest;
use super::pair::{Pair, connect};
use super::pki::Pki;
use super::program::{Options, Program, secrets};
use super::screen::see_the_screen;

on_both_engines! {
    no_token_or_cookie_stays_in_memory_when_its_session_is_over,
    nor_does_one_that_came_over_tls,
    a_vnc_password_stays_in_one_place_while_it_is_in_use,
}

/// How often `needle`, to be taken from the middle of a secret since an allocator writes into what is freed, stands in the memory of the program that can be written to.
fn found(program: &Program, needle: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", program.pid())).unwrap();
    let mut memory = File::open(format!("/proc/{}/mem", program.pid())).unwrap();
    let mut count = 0;
    for map in maps.lines() {
        let mut fields = map.split(' ');
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        memory.seek(SeekFrom::Start(from)).unwrap();
        let mut bytes = Vec::new();
        // Rings and the like cannot be read.
        if (&mut memory).take(to - from).read_to_end(&mut bytes).is_ok() {
            let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == needle[0]);
            count += starts.filter(|(at, _)| bytes[*at..].starts_with(needle)).count();
        }
    }
    count
}

fn wait_until_gone(program: &Program, what: &str, needle: &[u8]) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let count = found(program, needle);
        if count == 0 {
            return;
        }
        assert!(Instant::now() < until, "{what}: {count} copies are left");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn no_token_or_cookie_stays_in_memory_when_its_session_is_over(engine: &str) {
    const COOKIE: &str = "abc-of-the-dashboard-in-memory";
    let options = Options { name: "nova-serialproxy", default: "web = .", ..Options::on(engine) };
    let program = Program::start_with(&options, |command| {
        // Not even its own user may look into the process where the sandbox is required.
        command.env("OS_CONSOLEGATE__SANDBOX", "auto");
    });
    // In one piece, in pieces, with a frame behind it, in a cookie, refused, and for a page.
    for way in ["query", "pieces", "frame", "cookie", "refused", "broken"] {
        let (port, compute) = compute::serve(|mut stream| {
            stream.write_all(b"hello").unwrap();
            compute::read_all(&mut stream);
        });
        let token = match way {
            "refused" => format!("00000000-0000-4000-8000-{port:012}"),
            _ => program.token("serial", port, 600),
        };
        let cookie = format!("Cookie: sessionid={COOKIE}; token={token}");
        let head = match way {
            "cookie" => request("/", &[&cookie]),
            _ => request(&format!("/?token={token}"), &[&format!("Cookie: sessionid={COOKIE}")]),
        };
        let mut client = Client::connect(program.address);
        let (first, rest) = head.split_at(head.len() - 2);
        match way {
            "pieces" => {
                client.send(first.as_bytes());
                let until = Instant::now() + Duration::from_secs(20);
                // This is what is looked for below, and it can be found.
                while found(&program, token.as_bytes()) == 0 || found(&program, COOKIE.as_bytes()) == 0 {
                    assert!(Instant::now() < until, "the token is not found where it has to be");
                }
                client.send(rest.as_bytes());
            }
            "frame" => client.send(&[head.as_bytes(), &super::client::masked(0x82, b"early")].concat()),
            "broken" => {
                client.send(head.replace("HTTP/1.1", "HTTP/9").as_bytes());
                client.rest();
                // Nobody connects any more but this.
                std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            }
            _ => client.send(head.as_bytes()),
        }
        if way == "refused" {
            client.head();
            assert_eq!(client.rest(), (vec![0x88, 0], End::Fin));
            std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        } else if way != "broken" {
            client.head();
            assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()));
            client.frame(8, &[0x03, 0xe8]);
            client.rest();
        }
        let _ = compute.join();
        wait_until_gone(&program, way, &token.as_bytes()[8..]);
        wait_until_gone(&program, way, COOKIE.as_bytes());
    }
}

fn nor_does_one_that_came_over_tls(engine: &str) {
    let pair = Pair::new();
    let default = pair.options();
    let options = Options { name: "nova-serialproxy", default: &default, ..Options::on(engine) };
    let program = Program::start_with(&options, |command| {
        command.env("OS_CONSOLEGATE__SANDBOX", "auto");
    });
    for _ in 0..3 {
        let (port, compute) = compute::serve(|mut stream| {
            stream.write_all(b"hello").unwrap();
            compute::read_all(&mut stream);
        });
        let token = program.token("serial", port, 600);
        let tls = connect(program.address, &pair.certificate).unwrap();
        let mut client = Client::over(tls).upgraded(&format!("/?token={token}"), &[]);
        assert_eq!(client.read_frame(), (0x82, b"hello".to_vec()));
        client.frame(8, &[0x03, 0xe8]);
        client.rest();
        compute.join().unwrap();
        drop(client);
        wait_until_gone(&program, "TLS", &token.as_bytes()[8..]);
    }
}

/// A VNC password as it is kept: each byte read from its other end, as the cipher wants it.
fn key_of(password: &str) -> Vec<u8> {
    password.as_bytes()[..8].iter().map(|byte| byte.reverse_bits()).collect()
}

/// The beginning of what the cipher makes of such a key.
fn schedule_of(key: &[u8]) -> [u8; 32] {
    let cipher = Des::new_from_slice(key).unwrap();
    assert!(size_of::<Des>() >= 32);
    // SAFETY: the cipher is that long, borrowed for as long as it is read, and holds numbers without padding.
    unsafe { std::ptr::from_ref(&cipher).cast::<[u8; 32]>().read() }
}

/// Asked for in the clear and inside TLS, and then another one takes its place.
fn a_vnc_password_stays_in_one_place_while_it_is_in_use(engine: &str) {
    const PASSWORDS: [&str; 2] = ["inmemory", "anotherp"];
    let pki = Pki::new();
    let file = pki.ours.folder().join("vnc-password");
    // What the allocator has freed it uses again; the end of a large piece keeps the longest.
    let end_of = |password: &str| format!("the end of the file of {password}");
    let write = |password: &str| {
        secrets::issue(password);
        fs::write(&file, format!("{password}\n{}{}", " ".repeat(3_900), end_of(password))).unwrap();
    };
    let own = format!("port_check = off\nvnc_password_in_clear = on\nvnc_password_file = {}", file.display());
    let extra = pki.options(&pki.ours, None);
    let options = Options { own: &own, extra: &extra, ..Options::on(engine) };
    let program = Program::start_with(&options, |command| {
        command.env("OS_CONSOLEGATE__SANDBOX", "auto");
    });
    for password in PASSWORDS {
        write(password);
        let key = key_of(password);
        let until = Instant::now() + Duration::from_secs(20);
        while found(&program, &key) != 1 {
            assert!(Instant::now() < until, "the password is not found where it has to be");
            std::thread::sleep(Duration::from_millis(100));
        }
        wait_until_gone(&program, "the file", end_of(password).as_bytes());
        for credentials in [None, Some("verify-peer=off")] {
            let guest = Guest::wanting_a_password(pki.ours.folder(), credentials);
            Guest::set_password(pki.ours.folder(), password);
            let token = program.token("novnc", guest.port, 600);
            see_the_screen(&mut Client::upgrade(program.address, &format!("/?token={token}"), &[]));
        }
        wait_until_gone(&program, "the password", password.as_bytes());
        wait_until_gone(&program, "the cipher", &schedule_of(&key));
        assert_eq!(found(&program, &key), 1, "in its slot");
    }
    wait_until_gone(&program, "the first password", &key_of(PASSWORDS[0]));
}
