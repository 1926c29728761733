//! What the metrics promise: each is fed by something, and `docs/METRICS.md` lists them all.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

use std::fs;
use std::path::{Path, PathBuf};

use consolegate::telemetry::metrics::{ROWS, markdown};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program's sources outside of `telemetry`, unit tests left out.
fn sources() -> String {
    let mut folders = vec![root().join("src")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.ends_with("src/telemetry/metrics.rs") || path.ends_with("src/telemetry/counters.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = fs::read_to_string(path).unwrap();
                text.push_str(file.split("#[cfg(test)]\nmod tests {").next().unwrap());
            }
        }
    }
    text
}

/// The public fields of the structure `name` in `file`.
fn fields(file: &str, name: &str) -> Vec<String> {
    let source = fs::read_to_string(root().join(file)).unwrap();
    let body = source.split(&format!("pub struct {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let field = |line: &str| Some(line.trim().strip_prefix("pub ")?.split(':').next()?.to_owned());
    body.lines().filter_map(field).collect()
}

#[test]
fn everything_that_is_counted_is_counted_somewhere() {
    let sources = sources().split_whitespace().collect::<String>();
    let counted = [
        fields("src/telemetry/metrics.rs", "Metrics"),
        fields("src/telemetry/counters.rs", "WorkerCounters"),
    ]
    .concat();
    assert!(counted.len() > 15, "{counted:?}");
    for field in &counted {
        let verbs = ["add(", "add_alone(", "set(", "observe(", "of("];
        assert!(
            verbs.iter().any(|verb| sources.contains(&format!(".{field}.{verb}"))),
            "nothing counts `{field}`: its metric would always be zero"
        );
    }
}

#[test]
fn every_label_value_is_counted_somewhere() {
    let sources = sources().split_whitespace().collect::<String>();
    let labels = fs::read_to_string(root().join("src/telemetry/labels.rs")).unwrap();
    for block in labels.split("label! {").skip(1) {
        let block = block.split("\n}").next().unwrap();
        let head = block.lines().find(|line| line.contains(" = ") && line.ends_with('{')).unwrap();
        let label = head.trim().split(' ').next().unwrap();
        for line in block.lines().filter(|line| line.starts_with("        ") && line.ends_with(',')) {
            let variant = line.trim().split(' ').next().unwrap();
            let name = format!("{label}::{variant}");
            assert!(sources.contains(&name), "nothing counts as {name}");
        }
    }
}

#[test]
fn every_metric_is_in_the_documentation() {
    let path = root().join("docs/METRICS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, markdown()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    for row in ROWS {
        assert!(text.contains(&format!("`{}`", row.full_name())), "{} is missing", row.full_name());
    }
    assert_eq!(text, markdown(), "docs/METRICS.md is out of date: UPDATE_DOCS=1 cargo test --test metrics");
}
