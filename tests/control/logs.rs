//! What the control thread writes to the log.

use consolegate::console::ConsoleToken;
use consolegate::control::ControlSettings;

use crate::common::{
    Scratch, TOKEN, authorize, create, database_at, dead_bus, secrets, settings, settings_for, start,
};

#[test]
fn no_level_shows_tokens_hashes_or_credentials() {
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
    let log = secrets::traced();
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
