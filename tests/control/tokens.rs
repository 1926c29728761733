//! Token look-ups in SQLite files.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use consolegate::console::{ConsoleToken, ConsoleType};
use consolegate::control::ControlSettings;
use consolegate::control::sql::CellDatabase;
use consolegate::session::{AuthorizeError, Failure, Input, Limits};
use sqlx::AssertSqlSafe;

use crate::common::{
    INSTANCE, Scratch, TOKEN, authorize, create, database_at, dead_bus, settings, settings_for, start, url,
    with_connection,
};

fn execute(database: &Path, sql: &str) {
    with_connection(database, async |connection| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
    });
}

/// What [`TOKEN`] is answered with in a new control thread. The answer never shows token or hash.
fn verdict(settings: ControlSettings) -> Input {
    let answer = authorize(&start(settings), TOKEN);
    let shown = format!("{answer:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains(&ConsoleToken::new(TOKEN).hash().to_hex()), "{shown}");
    answer
}

fn is_invalid(answer: &Input) -> bool {
    matches!(answer, Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)))
}

fn database_error(answer: Input) -> String {
    match answer {
        Input::Failed(Failure::Authorize(AuthorizeError::Database(reason))) => reason,
        answer => panic!("expected a database error, got {answer:?}"),
    }
}

#[test]
fn valid_token_opens_its_console_on_either_runtime() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(
        &database,
        &["--init", "--internal-access-path", "vm1", "--base-url", "https://c.example/vnc.html"],
    );
    for prefer_uring in [true, false] {
        let Input::Authorized(info) = verdict(ControlSettings { prefer_uring, ..settings_for(&database) })
        else {
            panic!("refused")
        };
        assert_eq!(info.console_type, ConsoleType::NoVnc);
        assert_eq!((info.host.as_str(), info.port), ("192.0.2.7", Some(5901)));
        assert_eq!(info.internal_access_path.as_deref(), Some("vm1"));
        assert_eq!(info.access_url_base.as_deref(), Some("https://c.example/vnc.html"));
        assert_eq!(info.instance_uuid, INSTANCE);
    }
}

#[test]
fn token_is_expired_at_equality() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    execute(&database, "UPDATE console_auth_tokens SET expires = 2000000000");
    let cell = CellDatabase::new(&database_at(&url(&database)), Path::new("/"), &Limits::default());
    let hash = ConsoleToken::new(TOKEN).hash();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = |now| runtime.block_on(cell.look_up(&hash, now)).unwrap().token.is_some();
    assert!(found(1_999_999_999));
    assert!(!found(2_000_000_000));
}

#[test]
fn unknown_expired_and_mismatching_tokens_are_invalid() {
    for (what, sql) in [
        ("unknown", "DELETE FROM console_auth_tokens"),
        ("expired", "UPDATE console_auth_tokens SET expires = 1"),
        ("no instance", "DELETE FROM instances"),
        ("deleted instance", "UPDATE instances SET deleted = id"),
        ("other instance", "UPDATE instances SET uuid = '00000000-0000-0000-0000-000000000001'"),
        ("unknown type", "UPDATE console_auth_tokens SET console_type = 'teletype'"),
        ("impossible port", "UPDATE console_auth_tokens SET port = 70000"),
    ] {
        let scratch = Scratch::new();
        let database = scratch.path("cell.db");
        create(&database, &["--init"]);
        execute(&database, sql);
        let answer = verdict(settings_for(&database));
        assert!(is_invalid(&answer), "{what}: {answer:?}");
    }
}

#[test]
fn unknown_token_opens_nothing_even_when_an_instance_has_the_nil_uuid() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    execute(
        &database,
        "UPDATE instances SET uuid = '00000000-0000-0000-0000-000000000000'; DELETE FROM console_auth_tokens",
    );
    assert!(is_invalid(&verdict(settings_for(&database))));
}

#[test]
fn instance_without_host_is_refused() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    execute(&database, "UPDATE instances SET host = NULL");
    let answer = verdict(settings_for(&database));
    let Input::Failed(Failure::Authorize(reason @ AuthorizeError::InstanceWithoutHost { .. })) = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!(reason.to_string(), format!("Unable to find host for Instance {INSTANCE}"));
}

#[test]
fn tls_port_is_not_selected() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    execute(&database, "ALTER TABLE console_auth_tokens DROP COLUMN tls_port");
    assert!(matches!(verdict(settings_for(&database)), Input::Authorized(_)));
}

#[test]
fn port_check_over_the_bus_fails_closed() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    let answer = verdict(ControlSettings { port_check: dead_bus(), ..settings_for(&database) });
    let Input::Failed(Failure::Authorize(AuthorizeError::PortCheck(reason))) = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("127.0.0.1:1: Connection refused"), "{reason}");
}

#[test]
fn missing_connection_and_unknown_dialects_are_named() {
    assert_eq!(database_error(verdict(settings())), "No sql_connection parameter is established");
    let refused = database_error(verdict(ControlSettings {
        database: database_at("oracle://n:pa55@c/n"),
        ..settings()
    }));
    assert_eq!(refused, "unknown database dialect oracle");
}

#[test]
fn database_that_appears_later_is_used_without_a_restart() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    let control = start(settings_for(&database));
    let reason = database_error(authorize(&control, TOKEN));
    assert!(reason.contains("cell.db") && reason.contains("No such file"), "{reason}");
    // An empty file is a database without tables.
    fs::write(&database, "").unwrap();
    let reason = database_error(authorize(&control, TOKEN));
    assert!(reason.contains("no such table: console_auth_tokens"), "{reason}");
    create(&database, &["--init"]);
    assert!(matches!(authorize(&control, TOKEN), Input::Authorized(_)));
}

#[test]
fn database_replaced_by_rename_is_noticed() {
    let scratch = Scratch::new();
    let (database, next) = (scratch.path("cell.db"), scratch.path("next.db"));
    create(&database, &["--init"]);
    create(&next, &["--init"]);
    execute(&next, "DELETE FROM console_auth_tokens");
    let control = start(settings_for(&database));
    // Repeated, because a connection goes back to its pool a little after its answer.
    for _ in 0..5 {
        assert!(matches!(authorize(&control, TOKEN), Input::Authorized(_)));
    }
    fs::rename(&next, &database).unwrap();
    // An open file is looked at once in a second.
    thread::sleep(Duration::from_millis(1_100));
    for _ in 0..5 {
        assert!(is_invalid(&authorize(&control, TOKEN)));
    }
}

#[test]
fn file_that_is_no_database_is_named() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    fs::write(&database, "not a database, and long enough that SQLite looks at it: ".repeat(40)).unwrap();
    let reason = database_error(verdict(settings_for(&database)));
    assert!(reason.contains("not a database"), "{reason}");
}

#[test]
fn locked_database_fails_in_time_and_recovers() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    let mut settings = settings_for(&database);
    settings.limits.authorize_timeout_ms = 3_000;
    let control = start(settings);
    with_connection(&database, async |connection| {
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut *connection).await.unwrap();
        // Which of two clocks is looked at first is the scheduler's choice.
        let reason = database_error(authorize(&control, TOKEN));
        let in_time = ["database is locked", "no answer within", "did not answer a query within 3000 ms"];
        assert!(in_time.iter().any(|in_time| reason.contains(in_time)), "{reason}");
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
    });
    assert!(matches!(authorize(&control, TOKEN), Input::Authorized(_)));
}
