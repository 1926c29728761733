//! House rules that the compiler does not check, each with a test that it can fail.
//!
//! Import directions between the layers of `src/` (see the crate documentation), no clock in the sans-IO
//! layers, `unsafe` in its few places only, file sizes, no unfinished marks, nothing of one machine.

#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have, tests included.
const LINES_MAX: usize = 600;

/// A file of the repository: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

/// What a rule finds in a file; empty when the file is tidy.
type Rule = fn(&File) -> Vec<String>;

/// Which layers (and lone modules of the crate's root) a layer may name.
///
/// `main` may name everything. A path such as `session::limits` allows just that module.
fn allowed(layer: &str) -> &'static [&'static str] {
    match layer {
        "proto" => &["proto", "secret"],
        "proto/http" => &["proto", "secret", "console"],
        "session" => &["session", "proto", "console", "secret", "telemetry"],
        "engine" => &["engine", "session", "proto", "console", "secret", "telemetry"],
        "control" => &["control", "console", "sandbox", "secret", "telemetry", "proto", "session"],
        "telemetry" => &["telemetry", "console", "secret"],
        "console" => &["console", "secret"],
        "secret" => &["secret"],
        "sandbox" => &["sandbox"],
        _ => &["engine", "session", "proto", "control", "console", "sandbox", "secret", "telemetry"],
    }
}

/// The layer that a file of `src/` belongs to; `main` for the thin binary and the crate's root.
fn layer_of(path: &str) -> &str {
    let inner = path.trim_start_matches("src/");
    if inner.starts_with("proto/http") {
        return "proto/http";
    }
    let first = inner.split(['/', '.']).next().unwrap_or(inner);
    if matches!(first, "lib" | "main") { "main" } else { first }
}

/// The text without line comments, so that documentation may link anywhere.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands before the unit tests at a file's end; nothing of a file that holds only tests.
fn without_tests(file: &File) -> &str {
    if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
        return "";
    }
    file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// Every path below `crate` that `code` names, with groups such as `crate::{a::b, c}` spelled out.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        expand(code[at + "crate::".len()..].trim_start(), "", &mut paths);
    }
    paths
}

/// Reads one path or group at the start of `code` into `paths`; returns what follows it.
fn expand<'a>(code: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let Some(mut rest) = code.strip_prefix('{') else {
        let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(code.len());
        let (name, rest) = code.split_at(end);
        let path = format!("{prefix}{name}");
        if name.ends_with("::") && rest.starts_with('{') {
            return expand(rest, &path, paths);
        }
        paths.push(path.trim_end_matches("::").to_owned());
        return rest;
    };
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let before = rest.len();
        rest = expand(rest, prefix, paths);
        if rest.len() == before {
            return rest;
        }
    }
}

/// `super::super::x` that leaves a layer hides an import from the reader, and from the rule above.
fn supers_that_leave(file: &File) -> Vec<String> {
    let code = without_comments(without_tests(file));
    let inner = file.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    let long = "super::".repeat(depth);
    if code.contains(&long) && layer_of(&file.path) != "main" {
        return vec![format!("names another layer through `{long}`; write `crate::`")];
    }
    Vec::new()
}

fn imports_go_one_way(file: &File) -> Vec<String> {
    if !file.path.starts_with("src/") || !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let layer = layer_of(&file.path);
    let mut found = supers_that_leave(file);
    for path in crate_paths(&without_comments(&file.text)) {
        let first = path.split("::").next().unwrap_or(&path);
        if !allowed("main").contains(&first) {
            continue; // a macro or an item of the crate's root
        }
        if !allowed(layer).contains(&first) {
            found.push(format!("`{layer}` may not name `crate::{path}`"));
        } else if layer == "control" && !is_seam(&path) {
            found.push(format!("`control` may name the seam to the sessions only, not `crate::{path}`"));
        }
    }
    found
}

/// Whether `control` may name `path`: what a session asks and is told, and the vocabulary of that.
fn is_seam(path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    match parts.as_slice() {
        ["session", "control" | "limits" | "settings", ..] => true,
        // The session's own machinery lives in these modules; everything public at its root is the seam.
        ["session", name, ..] => name.starts_with(char::is_uppercase),
        ["proto", "http" | "bytes", ..] => true,
        // Some settings are the protocol machines' own types.
        ["proto", "rfb", "AuthScheme" | "VncPassword" | "VncPasswordSlot", ..]
        | ["proto", "tls", "TlsAcceptor" | "TlsConnector", ..]
        | ["proto", "ws", "TextPolicy", ..] => true,
        ["proto", ..] | ["session"] => false,
        _ => true,
    }
}

fn no_clock_in_sans_io(file: &File) -> Vec<String> {
    if !(file.path.starts_with("src/proto/") || file.path.starts_with("src/session/")) {
        return Vec::new();
    }
    // A test has to begin somewhere: it may take one instant and add to it.
    let code = without_comments(without_tests(file));
    let clocks = ["Instant::now", "SystemTime::now"];
    clocks.iter().filter(|c| code.contains(**c)).map(|c| format!("reads the clock: {c}")).collect()
}

fn unsafe_in_its_places(file: &File) -> Vec<String> {
    let places = [
        "src/engine/sys/",
        "src/engine/sys.rs",
        "src/engine/uring/",
        "src/proto/ws/mask_avx2.rs",
        // fork(2) for `daemon`: nothing else can leave the parent.
        "src/serve/fork.rs",
    ];
    if !file.path.starts_with("src/") || places.iter().any(|p| file.path.starts_with(p)) {
        return Vec::new();
    }
    let code = without_comments(&file.text);
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let count = words.filter(|word| *word == "unsafe").count();
    if count == 0 { Vec::new() } else { vec![format!("{count} uses of unsafe outside its places")] }
}

fn files_stay_small(file: &File) -> Vec<String> {
    let tops = ["src/", "tests/", "scripts/", "examples/", "fuzz/", "benches/"];
    let data = ["json", "lock", "hex", "bin", "txt", "snap"];
    let extension = Path::new(&file.path).extension().and_then(|e| e.to_str()).unwrap_or_default();
    let lines = file.text.lines().count();
    if tops.iter().any(|t| file.path.starts_with(t)) && !data.contains(&extension) && lines > LINES_MAX {
        return vec![format!("{lines} lines, {LINES_MAX} are allowed: look for the seam")];
    }
    Vec::new()
}

fn nothing_unfinished(file: &File) -> Vec<String> {
    // Spelled in two parts, or this file would find itself.
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    marks.iter().filter(|m| file.text.contains(**m)).map(|m| format!("unfinished: {m}")).collect()
}

fn nothing_of_one_machine(file: &File) -> Vec<String> {
    if file.path.ends_with(".lock") {
        return Vec::new(); // cargo writes its registry's address there
    }
    let places = [
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("index.cra", "tes"),
        concat!("static.cra", "tes"),
        concat!("python", "hosted"),
        concat!("registry.np", "mjs"),
        concat!("deb.deb", "ian"),
    ];
    places.iter().filter(|p| file.text.contains(**p)).map(|p| format!("names {p}")).collect()
}

/// Every text file of the repository, without what is built, installed or fetched.
fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if matches!(name, ".git" | "target" | "node_modules" | "corpus" | "artifacts" | "out" | ".venv") {
                continue;
            }
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(File { path, text });
            }
        }
    }
    assert!(files.iter().any(|f| f.path == "src/lib.rs"), "the walk did not find src/lib.rs");
    files
}

fn assert_tidy(rule: Rule) {
    let mut report = String::new();
    for file in repository() {
        for finding in rule(&file) {
            writeln!(report, "{}: {finding}", file.path).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// What `rule` says of a file at `path` that holds `text`.
fn findings(rule: Rule, path: &str, text: &str) -> usize {
    rule(&File { path: path.to_owned(), text: text.to_owned() }).len()
}

#[test]
fn imports_between_layers_go_one_way() {
    assert_tidy(imports_go_one_way);
}

#[test]
fn an_import_against_the_direction_is_found() {
    let rule = imports_go_one_way;
    for (path, text) in [
        ("src/proto/ws/mod.rs", "use crate::session::Input;"),
        ("src/proto/ws/mod.rs", "use crate::console::TokenHash;"),
        ("src/proto/ws/mod.rs", "use crate::{proto::bytes, telemetry};"),
        ("src/proto/ws/mod.rs", "use super::super::super::session::Input;"),
        ("src/session/mod.rs", "use crate::engine::Engine;"),
        ("src/session/mod.rs", "use super::control::Config;"),
        ("src/session/relay.rs", "fn f(x: &crate::control::Config) {}"),
        ("src/engine/worker.rs", "use crate::control::Config;"),
        ("src/control/mod.rs", "use crate::engine::Worker;"),
        ("src/control/mod.rs", "use crate::session::{Input, relay::Relay};"),
        ("src/control/mod.rs", "use crate::proto::rfb::Negotiation;"),
        ("src/telemetry/mod.rs", "use crate::session::Phase;"),
    ] {
        assert_eq!(findings(rule, path, text), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/proto/http/mod.rs", "use crate::console::ConsoleToken;"),
        ("src/proto/ws/mod.rs", "//! See [`crate::session::Input`].\nuse super::Side;"),
        (
            "src/session/mod.rs",
            "use crate::{console::TokenHash, proto::{Side, ws}};\nuse crate::telemetry::log;",
        ),
        ("src/engine/epoll/poller.rs", "use super::super::Engine;\nuse crate::session::Output;"),
        ("src/control/mod.rs", "use crate::session::{Authorizer, limits::ROWS};"),
        ("src/main.rs", "use crate::engine::Engine;"),
    ] {
        assert_eq!(findings(rule, path, text), 0, "{path}: {text}");
    }
}

#[test]
fn sans_io_layers_read_no_clock() {
    assert_tidy(no_clock_in_sans_io);
}

#[test]
fn a_clock_in_a_sans_io_layer_is_found() {
    let rule = no_clock_in_sans_io;
    assert_eq!(findings(rule, "src/session/mod.rs", "let now = Instant::now();"), 1);
    assert_eq!(findings(rule, "src/proto/http/date.rs", "std::time::SystemTime::now()"), 1);
    assert_eq!(findings(rule, "src/engine/worker.rs", "let now = Instant::now();"), 0);
    let test = "#[cfg(test)]\nmod tests {\n    let now = Instant::now();\n}";
    assert_eq!(findings(rule, "src/session/mod.rs", test), 0);
}

#[test]
fn unsafe_stays_in_its_places() {
    assert_tidy(unsafe_in_its_places);
}

#[test]
fn unsafe_elsewhere_is_found() {
    let rule = unsafe_in_its_places;
    assert_eq!(findings(rule, "src/session/mod.rs", "unsafe { f() }"), 1);
    assert_eq!(findings(rule, "src/engine/sys/pipe.rs", "unsafe { f() }"), 0);
    assert_eq!(findings(rule, "src/lib.rs", "#![deny(unsafe_code)] // unsafe"), 0);
}

#[test]
fn no_file_outgrows_its_reader() {
    assert_tidy(files_stay_small);
}

#[test]
fn a_long_file_is_found() {
    let long = "line\n".repeat(LINES_MAX + 1);
    assert_eq!(findings(files_stay_small, "src/session/mod.rs", &long), 1);
    assert_eq!(findings(files_stay_small, "scripts/test", &long), 1);
    assert_eq!(findings(files_stay_small, "tests/data/frames.json", &long), 0);
    assert_eq!(findings(files_stay_small, "src/session/mod.rs", &long[5..]), 0);
}

#[test]
fn nothing_is_left_unfinished() {
    assert_tidy(nothing_unfinished);
}

#[test]
fn an_unfinished_mark_is_found() {
    assert_eq!(findings(nothing_unfinished, "src/lib.rs", concat!("todo", "!()")), 1);
    assert_eq!(findings(nothing_unfinished, "scripts/demo", concat!("# FIX", "ME: later")), 1);
}

#[test]
fn nothing_names_one_machine_or_registry() {
    assert_tidy(nothing_of_one_machine);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let rule = nothing_of_one_machine;
    assert_eq!(findings(rule, "README.md", concat!("see /wo", "rk/main")), 1);
    assert_eq!(
        findings(rule, "tests/browser/package-lock.json", concat!("https://registry.np", "mjs.org/x")),
        1
    );
    assert_eq!(findings(rule, "Cargo.lock", concat!("index.cra", "tes.io")), 0);
}
