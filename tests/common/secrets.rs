//! What a test hands out and no program may show. Each secret is told to [`issue`], and whatever a program under test
//! writes goes through [`assert_silent`]: its standard output and error, and every file it makes. What runs in the
//! test's own process is under a subscriber that does the same: [`watch`].

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use consolegate::console::ConsoleToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Shorter ones would be found in innocent words.
const LEN_MIN: usize = 8;

type Start = [u8; LEN_MIN];

/// By their first bytes, since a crowd's tokens are looked for in a crowd's log.
static ISSUED: Mutex<Option<HashMap<Start, Vec<Vec<u8>>>>> = Mutex::new(None);

fn add(secret: &[u8]) {
    let Some(start) = secret.first_chunk::<LEN_MIN>() else {
        return;
    };
    let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    let alike = issued.get_or_insert_default().entry(*start).or_default();
    if !alike.iter().any(|known| known == secret) {
        alike.push(secret.to_vec());
    }
}

/// From now on no program may show `secret`, be it as text or as the numbers of a derived `Debug`.
pub(crate) fn issue(secret: &str) {
    add(secret.as_bytes());
    if let Some(start) = secret.as_bytes().first_chunk::<LEN_MIN>() {
        let numbers = format!("{start:?}");
        add(numbers.trim_matches(['[', ']']).as_bytes());
    }
}

/// The same for a token and for its hash, which opens a console to whoever can write to the database.
pub(crate) fn issue_token(token: &str) {
    issue(token);
    issue(&ConsoleToken::new(token).hash().to_hex());
}

/// The same for the passwords of all URLs in `text`, as they are written there and as they are meant.
pub(crate) fn issue_passwords(text: &str) {
    for after in text.split("://").skip(1) {
        let authority = after.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
        // Several servers of a message bus stand between commas.
        for place in authority.split(',') {
            let Some((user, _)) = place.rsplit_once('@') else { continue };
            let Some((_, password)) = user.split_once(':') else { continue };
            issue(password);
            issue(&decoded(password));
        }
    }
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => bytes.extend(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Fails when `text`, which `what` wrote, shows anything that was issued.
pub(crate) fn assert_silent(what: &str, text: &[u8]) {
    let issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(issued) = issued.as_ref() else { return };
    for (at, window) in text.windows(LEN_MIN).enumerate() {
        let shown = |secret: &&Vec<u8>| text[at..].starts_with(secret);
        let alike = window.first_chunk::<LEN_MIN>().and_then(|start| issued.get(start));
        if alike.is_some_and(|alike| alike.iter().any(|secret| shown(&secret))) {
            let line = text.split(|byte| *byte == b'\n').scan(0, |end, line| {
                *end += line.len() + 1;
                Some((*end, line))
            });
            let line = line.into_iter().find(|(end, _)| *end > at).map_or(text, |(_, line)| line);
            panic!("a secret is shown by {what}: {}", String::from_utf8_lossy(line));
        }
    }
}

/// What tests themselves write into a program's directory: it holds the secrets that are looked for.
fn is_given(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let given = [".conf", ".ini", ".pem", ".key", ".password"];
    name.contains(".sqlite") || given.iter().any(|end| name.ends_with(end))
}

/// [`assert_silent`] for every file below `directory` that a program under test may have written.
pub(crate) fn assert_directory_silent(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(|kind| kind.is_dir()) {
            assert_directory_silent(&path);
        } else if kind.is_ok_and(|kind| kind.is_file())
            && !is_given(&path)
            && let Ok(text) = fs::read(&path)
        {
            assert_silent(&path.display().to_string(), &text);
        }
    }
}

/// Everything that was traced in this process since [`watch_and_keep`].
static TRACED: Mutex<Option<String>> = Mutex::new(None);

/// How many events were looked at.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// From now on every event of this process, down to traces, goes through [`assert_silent`].
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Watching).unwrap());
}

/// [`watch`], for a process whose traces are few enough for [`traced`].
pub(crate) fn watch_and_keep() {
    TRACED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    watch();
}

/// What was traced since [`watch_and_keep`], a field a line.
pub(crate) fn traced() -> String {
    TRACED.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// How many events [`watch`] has looked at: none, and its silence says nothing.
pub(crate) fn events() -> u64 {
    EVENTS.load(Ordering::Relaxed)
}

struct Watching;

impl Subscriber for Watching {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Fields);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        EVENTS.fetch_add(1, Ordering::Relaxed);
        event.record(&mut Fields);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let line = format!("{field}={value:?}");
        if let Some(traced) = TRACED.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = writeln!(traced, "{line}");
        }
        assert_silent("an event", line.as_bytes());
    }
}

#[test]
fn what_shows_a_secret_is_found() {
    // Of this test alone: others of this process are not to be disturbed.
    issue_token("5ec4e700-0000-4000-8000-000000000000");
    issue_passwords("[database]\nconnection = mysql://nova:5ec4e7%2Dword@127.0.0.1/nova?x=1\n");
    assert_silent("a test", b"nothing of that kind: 5ec4e700-0000-4000, mysql://nova:***@127.0.0.1/nova");
    let hash = ConsoleToken::new("5ec4e700-0000-4000-8000-000000000000").hash().to_hex();
    for text in [
        "INFO Path: '/?token=5ec4e700-0000-4000-8000-000000000000'\n",
        "one line\nDEBUG Secret([53, 101, 99, 52, 101, 55, 48, 48, 45])\nanother\n",
        "mysql://nova:5ec4e7%2Dword@127.0.0.1/nova",
        "Access denied for nova with 5ec4e7-word",
        &hash,
    ] {
        let shown = std::panic::catch_unwind(|| assert_silent("a test", text.as_bytes()));
        let said = shown.expect_err(text).downcast::<String>().unwrap();
        assert!(said.starts_with("a secret is shown by a test: "), "{said}");
    }
    let directory = std::env::temp_dir().join(format!("consolegate-secrets-{}", std::process::id()));
    fs::create_dir_all(directory.join("logs")).unwrap();
    fs::write(directory.join("nova.conf"), &hash).unwrap();
    assert_directory_silent(&directory);
    fs::write(directory.join("logs/proxy.log"), &hash).unwrap();
    assert!(std::panic::catch_unwind(|| assert_directory_silent(&directory)).is_err());
    fs::remove_dir_all(directory).unwrap();
    tracing::subscriber::with_default(Watching, || {
        tracing::trace!("a token");
        let event = || tracing::trace!(token = "5ec4e700-0000-4000-8000-000000000000", "looked up");
        assert!(std::panic::catch_unwind(event).is_err());
    });
}
