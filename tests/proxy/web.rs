//! Web files through the real program, as browsers and probes ask for them.

use std::fs;

use super::client::{Client, End};
use super::program::{Options, Program, directory};

on_both_engines! {
    one_connection_serves_many_files,
    pipelined_requests_are_answered_in_order,
    unchanged_files_are_not_sent_again_and_precompressed_ones_are_preferred,
    nothing_but_the_web_root_is_served,
}

struct Site {
    program: Program,
    root: std::path::PathBuf,
}

impl Site {
    fn new(engine: &str) -> Self {
        let root = directory();
        fs::create_dir_all(root.join("core")).unwrap();
        fs::write(root.join("vnc.html"), "<html>console</html>").unwrap();
        fs::write(root.join("core/rfb.js"), "export default 1;".repeat(20_000)).unwrap();
        fs::write(root.join("core/rfb.js.gz"), "pretend gzip").unwrap();
        fs::write(root.join(".secret"), "secret").unwrap();
        let program =
            Program::start(&Options { default: &format!("web = {}", root.display()), ..Options::on(engine) });
        Self { program, root }
    }

    fn ask(&self, client: &mut Client, request: &str) -> (String, Vec<u8>) {
        let _ = self;
        client.send(request.as_bytes());
        let head = client.head();
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
        let body =
            if request.starts_with("HEAD") || head.contains(" 304 ") { 0 } else { len.parse().unwrap() };
        let body = client.bytes(body);
        (head, body)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn one_connection_serves_many_files(engine: &str) {
    let site = Site::new(engine);
    let mut client = Client::connect(site.program.address);
    for _ in 0..3 {
        let request = "GET /vnc.html?path=%3Ftoken%3Dx HTTP/1.1\r\nHost: h\r\n\r\n";
        let (head, body) = site.ask(&mut client, request);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/html"), "{head}");
        assert!(head.contains("\r\nReferrer-Policy: no-referrer\r\n"), "{head}");
        assert_eq!(body, b"<html>console</html>");
        let (head, body) = site.ask(&mut client, "GET /core/rfb.js HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.contains("\r\nContent-Type: text/javascript"), "{head}");
        assert_eq!(body, "export default 1;".repeat(20_000).into_bytes());
        let (head, body) = site.ask(&mut client, "HEAD /core/rfb.js HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.contains("\r\nContent-Length: 340000\r\n") && body.is_empty(), "{head}");
    }
}

fn pipelined_requests_are_answered_in_order(engine: &str) {
    let site = Site::new(engine);
    let mut client = Client::connect(site.program.address);
    client.send(
        b"GET /core/rfb.js HTTP/1.1\r\nHost: h\r\n\r\nGET /vnc.html HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert!(client.head().contains("text/javascript"));
    client.bytes(340_000);
    assert!(client.head().contains("text/html"));
    assert_eq!(client.rest(), (b"<html>console</html>".to_vec(), End::Fin));
}

fn unchanged_files_are_not_sent_again_and_precompressed_ones_are_preferred(engine: &str) {
    let site = Site::new(engine);
    let mut client = Client::connect(site.program.address);
    let (head, _) = site.ask(&mut client, "GET /vnc.html HTTP/1.1\r\nHost: h\r\n\r\n");
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    let modified = head.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).unwrap().to_owned();
    for condition in [format!("If-None-Match: {etag}"), format!("If-Modified-Since: {modified}")] {
        let request = format!("GET /vnc.html HTTP/1.1\r\nHost: h\r\n{condition}\r\n\r\n");
        assert!(site.ask(&mut client, &request).0.starts_with("HTTP/1.1 304 "), "{condition}");
    }
    let request = "GET /core/rfb.js HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, br\r\n\r\n";
    let (head, body) = site.ask(&mut client, request);
    assert!(head.contains("\r\nContent-Encoding: gzip\r\n") && head.contains("text/javascript"), "{head}");
    assert_eq!(body, b"pretend gzip");
}

fn nothing_but_the_web_root_is_served(engine: &str) {
    let site = Site::new(engine);
    for (path, status) in [
        ("/", "404"),
        ("/core", "301"),
        ("/core/", "404"),
        ("/vnc.html/", "404"),
        ("/missing", "404"),
        ("/.secret", "404"),
        ("/%2esecret", "404"),
        ("/..%2f..%2fetc%2fpasswd", "404"),
        ("/../../etc/passwd", "404"),
        ("//evil.example/%2f..", "400"),
    ] {
        let mut client = Client::connect(site.program.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        let (answer, end) = client.rest();
        let answer = String::from_utf8_lossy(&answer);
        let got = &answer[9..12];
        assert!(got == status || (status == "404" && ["400", "403"].contains(&got)), "{path}: {answer}");
        assert!(!answer.contains("secret") && !answer.contains("root:"), "{path}: {answer}");
        assert_eq!(end, End::Fin);
    }
    let mut client = Client::connect(site.program.address);
    let (head, _) = site.ask(&mut client, "GET /core?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.contains("\r\nLocation: /core/?x=1\r\n"), "{head}");
}
