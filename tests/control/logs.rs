//! What the control thread writes to the log.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use consolegate::console::ConsoleToken;
use consolegate::control::ControlSettings;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::common::{
    Scratch, TOKEN, authorize, create, database_at, dead_bus, settings, settings_for, start,
};

/// Everything that any test of this program logged, at every level.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Line);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line;

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        writeln!(LOG.lock().unwrap_or_else(PoisonError::into_inner), "{field}={value:?}").unwrap();
    }
}

#[test]
fn no_level_shows_tokens_hashes_or_credentials() {
    tracing::subscriber::set_global_default(Recorder).unwrap();
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    authorize(&start(settings_for(&database)), TOKEN);
    authorize(&start(ControlSettings { port_check: dead_bus(), ..settings_for(&database) }), TOKEN);
    authorize(&start(settings_for(&scratch.path("missing.db"))), TOKEN);
    for connection in [
        "mysql://nova:pa55w0rd@127.0.0.1:1/nova?pa55w0rd=1",
        "postgresql://nova:pa55w0rd@127.0.0.1:1/nova?password=pa55w0rd",
        "sqlite://nova:pa55w0rd@ctl/nova",
        "nova:pa55w0rd@ctl",
    ] {
        let mut settings = ControlSettings { database: database_at(connection), ..settings() };
        // Nobody comes to the port.
        settings.limits.database_timeout_ms = 200;
        authorize(&start(settings), TOKEN);
    }
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    for expected in [
        "port_check = off",
        "AMQP server on 127.0.0.1:1 is unreachable",
        "refused a token: validate_console_port on",
        "SQL connection failed: could not connect to the database",
        "the key number 1 of the URL's query has no effect",
    ] {
        assert!(log.contains(expected), "not logged: {expected}");
    }
    for secret in [TOKEN, ConsoleToken::new(TOKEN).hash().to_hex().as_str(), "pa55w0rd"] {
        assert!(!log.contains(secret), "logged: {secret}");
    }
}
