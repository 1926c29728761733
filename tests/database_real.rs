//! The same look-ups in a real MariaDB, a real PostgreSQL and SQLite: over TCP, Unix sockets and TLS, and through
//! what servers do to their clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "control/common.rs"]
#[allow(dead_code, reason = "shared with tests/control, which uses the rest")]
mod common;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod service;

use std::time::{Duration, Instant};

use consolegate::control::Control;
use consolegate::session::{AuthorizeError, Failure, Input};

use common::{INSTANCE, Scratch, ask, authorize, database_at, settings, start, token_question, tool};
use service::Service;

/// Time within which whoever recovers has to.
const PATIENCE: Duration = Duration::from_secs(30);

/// An instance that is deleted, and one that is nowhere.
const DELETED: &str = "22222222-2222-4333-8444-555555555555";
const NOWHERE: &str = "33333333-2222-4333-8444-555555555555";

fn control_on(url: &str) -> Control {
    let mut settings = settings();
    settings.database = database_at(url);
    settings.limits.authorize_timeout_ms = 10_000;
    settings.limits.database_timeout_ms = 3_000;
    start(settings)
}

/// Makes a token with the token tool, and returns it.
fn token(url: &str, instance: &str, console_type: &str, ttl: &str) -> String {
    let (status, out, err) = tool(&[
        "create",
        "--init",
        "--database",
        url,
        "--instance",
        instance,
        "--type",
        console_type,
        "--host",
        "192.0.2.7",
        "--port",
        "5901",
        "--ttl",
        ttl,
        "--instance-host",
        "compute1",
    ]);
    assert_eq!((status, err.as_str()), (0, ""), "{console_type}");
    let out = out.trim_end();
    out[out.len() - 36..].to_owned()
}

fn is_invalid(input: &Input) -> bool {
    matches!(input, Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)))
}

/// What every database answers alike, with tables of today and of Rocky. `run` changes its rows.
fn token_cases(url: &str, run: impl Fn(&str)) {
    token_cases_in_these_tables(url, &run);
    tls_port_cases(url, &run);
    run("DROP TABLE console_auth_tokens");
    run("DROP TABLE instances");
    // Makes the tables; until Nova 31 this column was not among them.
    token(url, INSTANCE, "novnc", "600");
    run("ALTER TABLE console_auth_tokens DROP COLUMN tls_port");
    token_cases_in_these_tables(url, &run);
    assert_eq!(tls_port(url, &token(url, INSTANCE, "spice-html5", "600")), None, "no such column");
}

fn token_cases_in_these_tables(url: &str, run: &impl Fn(&str)) {
    let control = control_on(url);
    for console_type in ["novnc", "spice-html5", "serial"] {
        let token = token(url, INSTANCE, console_type, "600");
        for _ in 0..2 {
            let Input::Authorized(info) = authorize(&control, &token) else {
                panic!("{console_type} is refused")
            };
            assert_eq!(info.console_type.as_str(), console_type);
            assert_eq!(
                (info.host.as_str(), info.port, info.instance_uuid.as_str()),
                ("192.0.2.7", Some(5901), INSTANCE)
            );
        }
    }
    assert!(is_invalid(&authorize(&control, "no-such-token")));
    assert!(is_invalid(&authorize(&control, "\u{fc}nicode and ' quotes")));
    assert!(is_invalid(&authorize(&control, &token(url, INSTANCE, "novnc", "0"))), "expired");
    let deleted = token(url, DELETED, "novnc", "600");
    run(&format!("UPDATE instances SET deleted = id WHERE uuid = '{DELETED}'"));
    assert!(is_invalid(&authorize(&control, &deleted)), "the instance is deleted");
    let nowhere = token(url, NOWHERE, "novnc", "600");
    run(&format!("UPDATE instances SET host = NULL WHERE uuid = '{NOWHERE}'"));
    let answer = authorize(&control, &nowhere);
    assert!(
        matches!(answer, Input::Failed(Failure::Authorize(AuthorizeError::InstanceWithoutHost { .. }))),
        "{answer:?}"
    );
}

/// The `tls_port` of a token that is looked up by a proxy that wants it.
fn tls_port(url: &str, token: &str) -> Option<u16> {
    let mut settings = settings();
    settings.database = database_at(url);
    settings.database.tls_port = true;
    let Input::Authorized(info) = authorize(&start(settings), token) else { panic!("refused") };
    assert_eq!((info.host.as_str(), info.port), ("192.0.2.7", Some(5901)));
    info.tls_port
}

/// The port for TLS, in tables that have it. `run` changes rows and tables.
fn tls_port_cases(url: &str, run: &impl Fn(&str)) {
    let token = token(url, INSTANCE, "spice-html5", "600");
    for (stored, expected) in
        [("NULL", None), ("5902", Some(5902)), ("-1", None), ("0", None), ("65536", None)]
    {
        run(&format!("UPDATE console_auth_tokens SET tls_port = {stored}"));
        assert_eq!(tls_port(url, &token), expected, "{stored}");
    }
    run("UPDATE console_auth_tokens SET tls_port = 5902");
    let Input::Authorized(info) = authorize(&control_on(url), &token) else { panic!("refused") };
    assert_eq!(info.tls_port, None, "nobody wants it");
    run("UPDATE console_auth_tokens SET port = -1");
    for (wanted, expected) in [(true, Some(5902)), (false, None)] {
        let mut settings = settings();
        settings.database = database_at(url);
        settings.database.tls_port = wanted;
        let Input::Authorized(info) = authorize(&start(settings), &token) else { panic!("refused") };
        assert_eq!((info.port, info.tls_port), (None, expected), "SPICE that listens for TLS alone");
    }
}

/// The password as it stands in a URL.
fn encoded(password: &str) -> String {
    password.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// `scheme://user:password@place/database`, with `query` behind it.
fn url(server: &Service, scheme: &str, place: &str, query: &str) -> String {
    let (user, password, database) =
        (server.text("/user"), encoded(&server.text("/password")), server.text("/database"));
    format!("{scheme}://{user}:{password}@{place}/{database}{query}")
}

fn tcp(server: &Service) -> String {
    format!("{}:{}", server.text("/host"), server.text("/port"))
}

fn sql(server: &Service, statement: &str) {
    let answer = server.command(&format!("sql {statement}"));
    assert!(answer.is_string(), "{statement}: {answer}");
}

/// How each kind of server is reached.
struct Kind {
    name: &'static str,
    scheme: &'static str,
    socket: fn(&Service) -> String,
    authority: &'static str,
    /// Keys of the client's certificate and of its key
    client: [&'static str; 2],
    /// What the server says to a client without a certificate
    not_without: &'static str,
    /// Takes all rights from our user but to read
    read_only: &'static str,
}

const MARIADB: Kind = Kind {
    name: "mariadb",
    scheme: "mysql+pymysql",
    socket: |server| format!("?charset=utf8&unix_socket={}", server.text("/socket")),
    authority: "ssl_ca",
    client: ["ssl_cert", "ssl_key"],
    not_without: "Access denied",
    read_only: "REVOKE ALL ON nova_cell1.* FROM nova@'%', nova@localhost; \
                GRANT SELECT ON nova_cell1.* TO nova@'%', nova@localhost",
};

const POSTGRES: Kind = Kind {
    name: "postgres",
    scheme: "postgresql+psycopg2",
    socket: |server| format!("?host={}&port={}", server.text("/socket"), server.text("/port")),
    authority: "sslmode=verify-full&sslrootcert",
    client: ["sslcert", "sslkey"],
    not_without: "certificate",
    read_only: "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nova; \
                GRANT SELECT ON ALL TABLES IN SCHEMA public TO nova",
};

fn tokens_are_looked_up_alike(kind: &Kind) {
    let server = Service::start(kind.name);
    let run = |statement: &str| sql(&server, statement);
    token_cases(&url(&server, kind.scheme, &tcp(&server), ""), run);
    let ca = format!("?{}={}", kind.authority, server.text("/tls/ca"));
    for reached in [
        url(&server, kind.scheme, "localhost", &(kind.socket)(&server)),
        url(&server, kind.scheme, &tcp(&server), &ca),
    ] {
        let token = token(&reached, INSTANCE, "novnc", "600");
        assert!(matches!(authorize(&control_on(&reached), &token), Input::Authorized(_)), "{}", kind.name);
    }
}

fn a_server_that_dies_or_hangs_costs_a_bounded_wait_and_is_found_again(kind: &Kind) {
    let server = Service::start(kind.name);
    let url = url(&server, kind.scheme, &tcp(&server), "");
    let mut opens = token(&url, INSTANCE, "novnc", "600");
    let control = control_on(&url);
    assert!(matches!(authorize(&control, &opens), Input::Authorized(_)));
    for (harm, mend) in [("kill", "start"), ("pause", "resume"), ("stop", "start")] {
        assert_eq!(server.command(harm), "ok");
        let asked = Instant::now();
        let answer = authorize(&control, &opens);
        let Input::Failed(Failure::Authorize(AuthorizeError::Database(cause))) = &answer else {
            panic!("{} after {harm}: {answer:?}", kind.name)
        };
        assert!(!cause.is_empty() && !cause.contains(&server.text("/password")), "{cause}");
        assert!(asked.elapsed() < PATIENCE, "bounded");
        assert_eq!(server.command(mend), "ok");
        // These servers write lazily: what was made just before the crash may be gone.
        opens = token(&url, INSTANCE, "novnc", "600");
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = authorize(&control, &opens);
            if matches!(answer, Input::Authorized(_)) {
                break;
            }
            assert!(Instant::now() < until, "{} after {harm} and {mend}: {answer:?}", kind.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn five_hundred_look_ups_at_once_share_a_cold_pool(kind: &Kind) {
    let server = Service::start(kind.name);
    let url = url(&server, kind.scheme, &tcp(&server), "");
    let token = token(&url, INSTANCE, "novnc", "600");
    let mut settings = settings();
    settings.database = database_at(&url);
    settings.limits.authorize_timeout_ms = 60_000;
    settings.limits.database_timeout_ms = 60_000;
    let control = start(settings);
    let authorizer = control.authorizer();
    let answers: Vec<_> =
        (0..500).map(|_| ask(&*authorizer, token_question(&token)).expect("there is a place")).collect();
    for answer in answers {
        let answer = answer.recv_timeout(PATIENCE).expect("no answer");
        assert!(matches!(answer, Input::Authorized(_)), "{answer:?}");
    }
}

/// What the log says of a database that cannot be used.
fn cause(url: &str) -> String {
    match authorize(&control_on(url), "no-such-token") {
        Input::Failed(Failure::Authorize(AuthorizeError::Database(cause))) => cause,
        other => panic!("{other:?}"),
    }
}

fn certificates_count_on_both_sides(kind: &Kind) {
    let server = Service::start(kind.name);
    let token = token(&url(&server, kind.scheme, &tcp(&server), ""), INSTANCE, "novnc", "600");
    let is_open = |url: &str| matches!(authorize(&control_on(url), &token), Input::Authorized(_));
    let by_ca = |ca: &str| format!("?{}={}", kind.authority, server.text(ca));
    let [cert, key] = kind.client;
    let pair = format!("&{cert}={}&{key}={}", server.text("/tls/cert"), server.text("/tls/key"));
    let (user, database) = (server.text("/tls_user"), server.text("/database"));
    let as_user = |query: &str| format!("{}://{user}@{}/{database}{query}", kind.scheme, tcp(&server));

    assert!(is_open(&as_user(&(by_ca("/tls/ca") + &pair))), "{} takes the certificate", kind.name);
    let said = cause(&as_user(&by_ca("/tls/ca")));
    assert!(said.contains(kind.not_without), "without a certificate: {said}");

    let said = cause(&url(&server, kind.scheme, &tcp(&server), &by_ca("/tls/other_ca")));
    assert!(said.contains("UnknownIssuer"), "of another authority: {said}");
    let elsewhere = format!("{}:{}", server.text("/other_host"), server.text("/port"));
    let said = cause(&url(&server, kind.scheme, &elsewhere, &by_ca("/tls/ca")));
    assert!(said.contains("not valid for name"), "for another host: {said}");

    assert_eq!(server.command("expire"), "ok");
    let said = cause(&url(&server, kind.scheme, &tcp(&server), &by_ca("/tls/ca")));
    assert!(said.contains("expired"), "{said}");
}

fn the_right_to_read_is_enough(kind: &Kind) {
    let server = Service::start(kind.name);
    let url = url(&server, kind.scheme, &tcp(&server), "");
    let token = token(&url, INSTANCE, "novnc", "600");
    sql(&server, kind.read_only);
    let (status, _, said) = tool(&[
        "create",
        "--database",
        &url,
        "--instance",
        INSTANCE,
        "--type",
        "novnc",
        "--host",
        "192.0.2.7",
        "--port",
        "5901",
    ]);
    assert_ne!(status, 0, "it may still write");
    assert!(said.contains("denied"), "{said}");
    let rows = || server.command("sql SELECT * FROM console_auth_tokens");
    let before = rows();
    let control = control_on(&url);
    for _ in 0..2 {
        assert!(matches!(authorize(&control, &token), Input::Authorized(_)), "{}", kind.name);
        assert!(is_invalid(&authorize(&control, "no-such-token")));
    }
    assert_eq!(rows(), before);
}

#[test]
fn mariadb_need_not_let_us_write() {
    the_right_to_read_is_enough(&MARIADB);
}

#[test]
fn postgresql_need_not_let_us_write() {
    the_right_to_read_is_enough(&POSTGRES);
}

#[test]
fn mariadb_and_we_check_certificates() {
    certificates_count_on_both_sides(&MARIADB);
}

#[test]
fn postgresql_and_we_check_certificates() {
    certificates_count_on_both_sides(&POSTGRES);
}

#[test]
fn an_option_file_says_who_and_where_mariadb_is() {
    let server = Service::start(MARIADB.name);
    let token = token(&url(&server, MARIADB.scheme, &tcp(&server), ""), INSTANCE, "novnc", "600");
    let scratch = Scratch::new();
    let file = scratch.path("my.cnf");
    let reached =
        format!("mysql+pymysql:///{}?read_default_file={}", server.text("/database"), file.display());
    let write = |password: &str, place: &str| {
        let user = server.text("/user");
        let other = "[mysqld]\nuser = nobody\n[client]\n# as root has it\n";
        let text = format!("{other}user = {user}\npassword = \"{password}\"\n{place}\n");
        std::fs::write(&file, text).unwrap();
    };
    for place in [
        format!("socket = {}", server.text("/socket")),
        format!("host = 127.0.0.1\nport = {}", server.text("/port")),
    ] {
        write(&server.text("/password"), &place);
        let answer = authorize(&control_on(&reached), &token);
        assert!(matches!(answer, Input::Authorized(_)), "{place}: {answer:?}");
        write("wrong-password", &place);
        let said = cause(&reached);
        assert!(said.contains("Access denied") && !said.contains("wrong-password"), "{place}: {said}");
    }
}

#[test]
fn mariadb_looks_tokens_up() {
    tokens_are_looked_up_alike(&MARIADB);
}

/// Tables of an old cloud, of which one was converted: MariaDB refuses to compare the two columns in a join, or does it
/// without an index.
#[test]
fn a_token_and_its_instance_are_one_query_where_mariadb_can_join_them() {
    let server = Service::start(MARIADB.name);
    let url = url(&server, MARIADB.scheme, &tcp(&server), "");
    let queries = || server.status("Com_stmt_execute");
    let token = token(&url, INSTANCE, "novnc", "600");
    let collations = [
        ("console_auth_tokens MODIFY instance_uuid", "utf8mb3 COLLATE utf8mb3_general_ci"),
        ("instances MODIFY uuid", "utf8mb3 COLLATE utf8mb3_general_ci"),
        ("instances MODIFY uuid", "utf8mb3 COLLATE utf8mb3_unicode_ci"),
        ("instances MODIFY uuid", "utf8mb4 COLLATE utf8mb4_unicode_ci"),
        ("console_auth_tokens MODIFY instance_uuid", "utf8mb4 COLLATE utf8mb4_unicode_ci"),
    ];
    for ((column, collation), each) in collations.into_iter().zip([None, Some(1), Some(2), Some(2), Some(1)])
    {
        sql(&server, &format!("ALTER TABLE {column} VARCHAR(36) CHARACTER SET {collation}"));
        let Some(each) = each else { continue };
        let control = control_on(&url);
        let look_up = || {
            let answer = authorize(&control, &token);
            assert!(matches!(answer, Input::Authorized(_)), "{column} {collation}: {answer:?}");
            assert!(is_invalid(&authorize(&control, &format!("{:036}", queries()))));
        };
        // The connection's own question as well.
        look_up();
        let before = queries();
        look_up();
        assert_eq!(
            queries() - before,
            2 * each,
            "{column} {collation}: a token that exists and one that does not"
        );
    }
}

#[test]
fn postgresql_looks_tokens_up() {
    tokens_are_looked_up_alike(&POSTGRES);
}

#[test]
fn sqlite_looks_tokens_up() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    token_cases(&common::url(&database), |statement| {
        common::with_connection(&database, async |connection| {
            let safe = sqlx::AssertSqlSafe(statement.to_owned());
            sqlx::query(safe).execute(&mut *connection).await.unwrap();
        });
    });
}

#[test]
fn mariadb_may_die_or_hang() {
    a_server_that_dies_or_hangs_costs_a_bounded_wait_and_is_found_again(&MARIADB);
}

#[test]
fn postgresql_may_die_or_hang() {
    a_server_that_dies_or_hangs_costs_a_bounded_wait_and_is_found_again(&POSTGRES);
}

#[test]
fn mariadb_takes_many_look_ups_at_once() {
    five_hundred_look_ups_at_once_share_a_cold_pool(&MARIADB);
}

#[test]
fn postgresql_takes_many_look_ups_at_once() {
    five_hundred_look_ups_at_once_share_a_cold_pool(&POSTGRES);
}
