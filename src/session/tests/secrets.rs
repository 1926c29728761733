//! Nothing that a session logs, and no `Debug` form of anything it handles, shows what is secret.

use std::fmt::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::span;

use super::conversation::*;
use super::*;
use crate::console::{ConnectInfo, ConsoleToken};
use crate::proto::http::FileMeta;

const COOKIE: &str = "0123-session-cookie-of-the-dashboard";
const QUERY: &str = "autoconnect-and-other-things";
const ACCESS_PATH: &str = "OpaqueRef:3f5a-session";

/// Panics when `text` holds a secret.
fn check(text: &str) {
    let hash = ConsoleToken::new(TOKEN).hash();
    for secret in [TOKEN, COOKIE, QUERY, ACCESS_PATH, &hash.to_hex()] {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
    // Bytes in a derived Debug form are decimal numbers.
    for secret in [&hash.0[..8], &TOKEN.as_bytes()[..8]] {
        let numbers = format!("{secret:?}");
        assert!(!text.contains(numbers.trim_matches(['[', ']'])), "a secret is shown in numbers: {text}");
    }
}

/// A subscriber of everything, down to traces, that checks each field and message.
#[derive(Default)]
struct Checking {
    events: AtomicUsize,
}

impl tracing::Subscriber for Checking {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Fields);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        event.record(&mut Fields);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Everything that sessions of this process log from now on goes through [`check`].
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Checking::default()).unwrap());
}

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        check(&format!("{}={value:?}", field.name()));
    }
}

/// Checks the session and the input before a step, and all outputs after it.
fn step(session: &mut Session, settings: &Settings, now: Instant, input: Input) {
    let mut text = format!("{input:?}");
    let mut out = Outbox::new();
    session.handle(now, UNIX_S, settings, input, &mut out);
    let _ = write!(text, "{session:?} {out:?} {}", session.phase_name());
    for output in out.drain() {
        let _ = write!(text, "{output:?}");
        if let Output::Close(reason) = output {
            let _ = write!(text, "{reason} {reason:?}");
        }
    }
    check(&text);
}

/// Runs one session through `inputs`, with the first bytes given as they arrive.
fn run(settings: &Settings, inputs: Vec<Input>) {
    let now = Instant::now();
    let mut session = Session::new(1, SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let mut out = Outbox::new();
    session.start(now, UNIX_S, settings, &mut out);
    for input in inputs {
        step(&mut session, settings, now, input);
        if session.phase_name() == "closed" {
            return;
        }
    }
    step(&mut session, settings, now, Input::Kill(CloseReason::ShuttingDown));
}

fn received(from: Side, bytes: &[u8]) -> Input {
    Input::Received { from, chunk: Chunk::copied_from(bytes) }
}

fn written(to: Side) -> Input {
    Input::Written { to }
}

/// Upgrades that carry the token in each of the places where it may be.
fn upgrades() -> Vec<Vec<u8>> {
    let cookie = format!("Cookie: dashboard={COOKIE}; token={TOKEN}\r\n");
    let plain = String::from_utf8(upgrade_with(&cookie)).unwrap();
    let query = format!("/websockify?token={TOKEN}");
    [
        query.clone(),
        format!("/websockify?x={QUERY}&token={TOKEN}"),
        format!("/?path=%3Ftoken%3D{TOKEN}"),
        "/websockify".to_owned(),
        format!("http://proxy.example:6080/?token={TOKEN}"),
    ]
    .map(|target| plain.replace(&query, &target).into_bytes())
    .into()
}

fn authorized(settings: &Settings) -> Input {
    let info = connect_info(settings.console_type);
    let internal_access_path = Some(format!("/console?ref={ACCESS_PATH}"));
    Input::Authorized(Admitted::boxed(ConnectInfo { internal_access_path, ..info }))
}

/// The course of a session behind its upgrade: into the relay and back out, by way of a tunnel.
fn course(settings: &Settings) -> Vec<Input> {
    let mut inputs = vec![
        written(Side::Tenant),
        authorized(settings),
        Input::Resolved(vec![COMPUTE.into()]),
        Input::Connected,
        written(Side::Compute),
        received(Side::Compute, b"HTTP/1.1 200 OK\r\n\r\n"),
    ];
    if matches!(settings.security, Security::Rfb(_)) {
        inputs.extend([
            received(Side::Compute, VERSION),
            written(Side::Compute),
            written(Side::Tenant),
            received(Side::Compute, b"\x01\x01"),
            received(Side::Tenant, &binary(VERSION)),
            written(Side::Tenant),
            received(Side::Tenant, &binary(b"\x01")),
            written(Side::Compute),
            received(Side::Compute, &[0; 4]),
            written(Side::Tenant),
        ]);
    }
    // A console can show anything, its own URL among it.
    inputs.extend([
        received(Side::Compute, TOKEN.as_bytes()),
        received(Side::Tenant, &binary(TOKEN.as_bytes())),
        written(Side::Tenant),
        written(Side::Compute),
        received(Side::Tenant, &frame(0x89, TOKEN.as_bytes())),
        written(Side::Tenant),
        received(Side::Tenant, &close_frame(1000, TOKEN)),
        written(Side::Tenant),
        Input::Ended { from: Side::Tenant },
    ]);
    inputs
}

/// Of what a session can meet, under Miri a part: all of it would take hours there and run no other code.
const EVERY: usize = if cfg!(miri) { 5 } else { 1 };

/// Everything that a session can meet, under a subscriber that panics at a secret.
fn run_everything() {
    for settings in [vnc(), spice(), serial()] {
        for upgrade in upgrades().into_iter().step_by(EVERY) {
            let course = || course(&settings);
            // Ended after each of its steps, by the process's end or by silence.
            for len in (0..=course().len()).step_by(EVERY) {
                let begin = || {
                    let mut inputs = vec![received(Side::Tenant, &upgrade)];
                    inputs.extend(course().into_iter().take(len));
                    inputs
                };
                run(&settings, begin());
                run(&settings, begin().into_iter().chain([Input::Deadline]).collect());
            }
            let refusals = [
                Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)),
                Input::Failed(Failure::Authorize(AuthorizeError::PortCheck("no reply".to_owned()))),
                Input::Authorized(Admitted::boxed(connect_info(ConsoleType::RdpHtml5))),
            ];
            for refusal in refusals {
                run(&settings, vec![received(Side::Tenant, &upgrade), refusal]);
            }
            // Broken heads, and heads in two pieces.
            run(&settings, vec![received(Side::Tenant, &upgrade[..upgrade.len() - 2])]);
            let broken = String::from_utf8(upgrade.clone()).unwrap().replace("HTTP/1.1", "HTTP/3.0");
            run(&settings, vec![received(Side::Tenant, broken.as_bytes())]);
            let foreign = String::from_utf8(upgrade).unwrap();
            let foreign = foreign.replace("Cookie:", "Origin: http://evil.example\r\nCookie:");
            let foreign = received(Side::Tenant, foreign.as_bytes());
            run(&settings, vec![foreign, authorized(&settings)]);
        }
        let page = format!(
            "GET /vnc_auto.html?token={TOKEN}&{QUERY} HTTP/1.1\r\nHost: h\r\nCookie: {COOKIE}\r\n\r\n"
        );
        let opened = FileEvent::Opened {
            file: FileHandle::new(TOKEN.to_owned()),
            meta: Box::new(FileMeta { len: 4, modified_unix_ns: 0, gzip: false, media_type: "text/html" }),
            first: Chunk::copied_from(b"file"),
        };
        for event in [opened, FileEvent::Directory, FileEvent::Missing, FileEvent::Failed] {
            run(&settings, vec![received(Side::Tenant, page.as_bytes()), Input::File(event)]);
        }
    }
}

#[test]
fn no_log_line_and_no_debug_form_shows_a_secret() {
    let checking = Arc::new(Checking::default());
    tracing::subscriber::with_default(checking.clone(), run_everything);
    let events = checking.events.load(Ordering::Relaxed);
    assert!(events > 1_000 / EVERY, "{events} events: the subscriber was not reached");
}

#[test]
#[should_panic(expected = "a secret is shown")]
fn the_subscriber_does_panic_at_a_secret() {
    tracing::subscriber::with_default(Checking::default(), || tracing::trace!(token = TOKEN, "looked up"));
}
