//! Web files through the real program, as browsers and probes ask for them.

use std::fs;

use super::client::{Client, End};
use super::program::{Options, Program, directory};

on_both_engines! {
    one_connection_serves_many_files,
    pipelined_requests_are_answered_in_order,
    unchanged_files_are_not_sent_again_and_precompressed_ones_are_preferred,
    nothing_but_the_web_root_is_served,
    no_spelling_leads_out_of_the_web_root_or_to_hidden_files,
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

/// Nova's own answers to some of these are compared with ours in `tests/compat/cases/http.py`.
fn no_spelling_leads_out_of_the_web_root_or_to_hidden_files(engine: &str) {
    // Escaped in either case, twice, as overlong UTF-8 of two and three bytes, and in full width.
    let dots = [".", "%2e", "%2E", "%252e", "%c0%ae", "%e0%80%ae", "%ef%bc%8e"];
    let slashes = [
        "/",
        "%2f",
        "%2F",
        "%252f",
        "%255c",
        "\\",
        "%5c",
        "%5C",
        "//",
        "/./",
        "/%2e/",
        "%c0%af",
        "%e0%80%af",
    ];
    let site = Site::new(engine);
    // Outside, and in the root's parent under a name of its own.
    let name = format!("{}-neighbour", site.root.file_name().unwrap().to_str().unwrap());
    let outside = site.root.parent().unwrap().join(&name);
    fs::write(&outside, "secret").unwrap();
    fs::create_dir_all(site.root.join("core/.git")).unwrap();
    fs::write(site.root.join("core/.git/config"), "secret").unwrap();
    std::os::unix::fs::symlink(&outside, site.root.join("core/.linked")).unwrap();
    let mut paths = Vec::new();
    for dot in dots {
        for slash in slashes {
            let up = format!("{dot}{dot}{slash}");
            let mixed = format!(".{dot}{slash}");
            paths.push(format!("/{up}{name}"));
            paths.push(format!("/{mixed}{name}"));
            paths.push(format!("/core/{up}{up}{name}"));
            paths.push(format!("/core{slash}{dot}{dot}{slash}{dot}{dot}{slash}{name}"));
            paths.push(format!("/{}etc{slash}passwd", up.repeat(12)));
            paths.push(format!("/{dot}secret"));
            paths.push(format!("/core{slash}{dot}git{slash}config"));
            paths.push(format!("/core{slash}{dot}linked"));
        }
        paths.push(format!("/{dot}{dot}"));
        paths.push(format!("/{dot}{dot}{dot}/{name}"));
    }
    for end in ["%00", "%00.html", "%20", "%0d%0a", "::$DATA", ";x", "%3f", "%23"] {
        paths.push(format!("/../{name}{end}"));
        paths.push(format!("/.secret{end}"));
        paths.push(format!("/vnc.html{end}"));
    }
    for prefix in ["file://", "http://h/..", "//", "/\\\\", "/C:"] {
        paths.push(format!("{prefix}{}", outside.display()));
    }
    let mut client = Client::connect(site.program.address);
    for path in &paths {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let head = client.head();
        let status = &head[9..12];
        assert!(["301", "400", "403", "404"].contains(&status), "{path}: {head}");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
        let body = String::from_utf8(client.bytes(len.parse().unwrap())).unwrap();
        assert!(!body.contains("secret") && !body.contains("root:"), "{path}: {body}");
        if status == "301" {
            let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
            assert!(location.starts_with('/') && !location.starts_with("//"), "{path}: {location}");
        }
        if head.contains("\r\nConnection: close\r\n") {
            assert_eq!(client.rest(), (vec![], End::Fin), "{path}");
            client = Client::connect(site.program.address);
        }
    }
    // The other way round: what is there is found in each spelling that names it.
    for path in ["/vnc.html", "/%76nc.html", "/vnc%2Ehtml", "/%76%6e%63%2e%68%74%6d%6c"] {
        let mut client = Client::connect(site.program.address);
        let (head, body) = site.ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert_eq!(body, b"<html>console</html>");
    }
    fs::remove_file(outside).unwrap();
}
