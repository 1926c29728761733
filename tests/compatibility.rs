//! `docs/COMPATIBILITY.md` is complete and speaks of tests that exist.
//!
//! Whether its differences are those that Nova and consolegate show is for `scripts/compat`, which runs both.

#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Rows of the contract's checklist.
const ROWS: usize = 184;

/// The cells of each table row whose first cell `keep` accepts.
fn rows(text: &str, keep: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    let cells = |line| {
        str::split(line, '|').map(str::trim).skip(1).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    let lines = text.lines().filter(|line| line.starts_with('|'));
    lines.map(cells).filter(|cells| cells.first().is_some_and(|first| keep(first))).collect()
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_difference(cell: &str) -> bool {
    cell.strip_prefix('D').is_some_and(is_number)
}

/// Everything of the form `file::name` in a cell; `compat::area::name` is a case of `scripts/compat`.
fn tests_named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split([' ', ',', '`', '(', ')']).filter(|word| word.contains("::"))
}

/// A cell that names a test, or says why none is possible.
fn is_evidence(cell: &str) -> bool {
    tests_named(cell).next().is_some() || cell.starts_with("no test: ")
}

/// Why `named` is no test of this repository.
fn missing(root: &Path, named: &str) -> Option<String> {
    let (path, name) = named.rsplit_once("::")?;
    let path = match path.strip_prefix("compat::") {
        Some(area) => format!("tests/compat/cases/{area}.py"),
        None => path.to_owned(),
    };
    let Ok(text) = fs::read_to_string(root.join(&path)) else {
        return Some(format!("{named}: no file {path}"));
    };
    let is_word = |at: usize| {
        let around = [text[..at].chars().next_back(), text[at + name.len()..].chars().next()];
        around.into_iter().flatten().all(|c| !(c.is_alphanumeric() || c == '_'))
    };
    let found = !name.is_empty() && text.match_indices(name).any(|(at, _)| is_word(at));
    (!found).then(|| format!("{named}: {path} does not name it"))
}

fn findings(root: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let numbered = rows(text, is_number);
    let numbers: Vec<usize> = numbered.iter().map(|cells| cells[0].parse().unwrap()).collect();
    if numbers != (1..=ROWS).collect::<Vec<_>>() {
        found.push(format!("the rows are not 1 to {ROWS}, once each and in order"));
    }
    let differences = rows(text, is_difference);
    let listed: BTreeSet<&str> = differences.iter().map(|cells| cells[0]).collect();
    if listed.len() != differences.len() {
        found.push("a difference is listed twice".to_owned());
    }
    for cells in &numbered {
        let verdict = cells.get(2).copied().unwrap_or_default();
        let ids = verdict.split([' ', ',', ':']).filter(|word| is_difference(word)).collect::<Vec<_>>();
        found.extend(
            ids.iter().filter(|id| !listed.contains(*id)).map(|id| format!("row {}: no {id}", cells[0])),
        );
        let is_known = verdict == "same" || !ids.is_empty() || verdict.starts_with("not done: ");
        if !is_known {
            found.push(format!("row {}: neither same, nor different, nor not done: {verdict}", cells[0]));
        }
        let shown = is_evidence(cells.get(3).copied().unwrap_or_default());
        if !shown && !verdict.starts_with("not done: ") {
            found.push(format!("row {}: names no test, and no reason for none", cells[0]));
        }
    }
    for cells in &differences {
        let shown = cells.get(5).is_some_and(|cell| is_evidence(cell));
        if cells.len() != 6 || !shown {
            found.push(format!("{}: has to have six cells, and a test in the last one", cells[0]));
        }
    }
    for cells in numbered.iter().chain(&differences) {
        let last = cells.last().copied().unwrap_or_default();
        found.extend(tests_named(last).filter_map(|named| missing(root, named)));
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_row_of_the_contract_has_a_verdict_and_a_test_that_exists() {
    let text = fs::read_to_string(root().join("docs/COMPATIBILITY.md")).unwrap();
    assert_eq!(findings(root(), &text), Vec::<String>::new());
}

#[test]
fn a_row_without_evidence_or_with_a_test_that_does_not_exist_is_found() {
    let table = |verdict: &str, evidence: &str| {
        let rows: Vec<String> =
            (1..=ROWS).map(|number| format!("| {number} | behaviour | {verdict} | {evidence} |")).collect();
        format!(
            "| D01 | what | theirs | ours | why | `tests/tidy.rs::no_file_outgrows_its_reader` |\n{}\n",
            rows.join("\n")
        )
    };
    let count = |text: &str| findings(root(), text).len();
    assert_eq!(count(&table("same", "`tests/tidy.rs::no_file_outgrows_its_reader`")), 0);
    assert_eq!(count(&table("D01", "no test: nothing shows it")), 0);
    assert_eq!(count(&table("not done: 2011", "")), 0);
    assert_eq!(count(&table("same", "")), ROWS);
    assert_eq!(count(&table("D02", "no test: x")), ROWS);
    assert_eq!(count(&table("perhaps", "no test: x")), ROWS);
    assert_eq!(count(&table("same", "`tests/tidy.rs::no_file_outgrows_its_read`")), ROWS);
    assert_eq!(count(&table("same", "`tests/nowhere.rs::name`, `compat::nowhere::name`")), 2 * ROWS);
    assert_eq!(count(&table("same", "no test: x").replace("| 7 |", "| 8 |")), 1);
}
