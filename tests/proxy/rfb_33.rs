//! A VNC server of another make, x11vnc, that speaks no more than RFB 3.3 or 3.7.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::admin;
use super::client::{Client, End};
use super::program::{self, Options, Program};
use super::screen::see_the_screen_of;

on_both_engines! {
    old_servers_are_refused_as_by_nova_unless_they_are_allowed,
    old_servers_that_want_a_password_get_it,
    a_wrong_password_of_an_old_server_is_told_to_the_tenant_without_a_reason,
}

const PASSWORD: &str = "secretpw";

/// x11vnc on a screen that is a file.
struct Server {
    x11vnc: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start(version: &str, password: Option<&str>) -> Self {
        let (folder, port) = (program::directory(), program::free_port());
        fs::write(folder.join("screen"), [0x5a; 64 * 48 * 4]).unwrap();
        let mut command = Command::new("x11vnc");
        command
            .args(["-rawfb", &format!("map:{}@64x48x32", folder.join("screen").display())])
            .args(["-rfbversion", version, "-rfbport", &port.to_string()])
            .args(["-localhost", "-forever", "-shared", "-nolookup", "-quiet"]);
        match password {
            Some(password) => command.args(["-passwd", password]),
            None => command.arg("-nopw"),
        };
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut server = Self { x11vnc: command.spawn().expect("x11vnc: scripts/install"), folder, port };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.x11vnc.try_wait().unwrap();
            let said = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "x11vnc does not listen: {said}");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.x11vnc.kill();
        let _ = self.x11vnc.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start(engine: &str, own: &str) -> Program {
    let own = format!("port_check = off\nadmin_socket = admin.sock\n{own}");
    Program::start(&Options { own: &own, ..Options::on(engine) })
}

fn open(program: &Program, server: &Server) -> Client {
    let token = program.token("novnc", server.port, 600);
    Client::upgrade(program.address, &format!("/?token={token}"), &[])
}

fn old_servers_are_refused_as_by_nova_unless_they_are_allowed(engine: &str) {
    for version in ["3.3", "3.7", "3.8"] {
        let server = Server::start(version, None);
        let program = start(engine, "");
        if version == "3.8" {
            see_the_screen_of(&mut open(&program, &server), "x11vnc");
        } else {
            let mut client = open(&program, &server);
            // Before any byte of RFB.
            assert_eq!(client.rest(), (vec![0x88, 2, 0x03, 0xe8], End::Fin), "{version}");
            let [major, minor] = [&version[..1], &version[2..]];
            program
                .wait_for_log(&format!("compute offered RFB 00{major}.00{minor}, only 003.008 is proxied"));
            assert_eq!(admin::counted(&program, "rfb_failed"), ["{kind=\"version\"} 1"]);
        }
        let program = start(engine, "allow_rfb_33 = on");
        see_the_screen_of(&mut open(&program, &server), "x11vnc");
    }
}

/// The options of a proxy that has this password.
fn with_password(server: &Server, password: &str) -> String {
    let file = server.folder.join("vnc-password");
    fs::write(&file, password).unwrap();
    format!("allow_rfb_33 = on\nvnc_password_in_clear = on\nvnc_password_file = {}", file.display())
}

fn old_servers_that_want_a_password_get_it(engine: &str) {
    for version in ["3.3", "3.7", "3.8"] {
        program::secrets::issue(PASSWORD);
        let server = Server::start(version, Some(PASSWORD));
        let program = start(engine, &with_password(&server, PASSWORD));
        see_the_screen_of(&mut open(&program, &server), "x11vnc");
        assert!(!program.log().contains(PASSWORD));
    }
}

fn a_wrong_password_of_an_old_server_is_told_to_the_tenant_without_a_reason(engine: &str) {
    for version in ["3.3", "3.7"] {
        let server = Server::start(version, Some(PASSWORD));
        let program = start(engine, &with_password(&server, "wrongpwd"));
        let mut client = open(&program, &server);
        assert_eq!(client.read_frame(), (0x82, b"RFB 003.008\n".to_vec()));
        client.frame(2, b"RFB 003.008\n");
        assert_eq!(client.read_frame(), (0x82, vec![1, 1]));
        client.frame(2, &[1]);
        let told = b"\0\0\0\x01\0\0\0\x28Unable to negotiate security with server";
        assert_eq!(client.read_frame(), (0x82, told.to_vec()));
        program.wait_for_log("compute failed the authentication with result 1: no reason given");
        assert_eq!(admin::counted(&program, "rfb_failed"), ["{kind=\"auth-failed\"} 1"]);
    }
}
