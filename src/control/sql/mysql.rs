//! What a URL says to PyMySQL (through `sqlalchemy/dialects/mysql/mysqldb.py`), said to our driver.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::authorities;
use super::option_file::OptionFile;
use super::url::ServerUrl;
use super::{DatabaseSettings, UrlError};

/// Keys that are understood, or that mean nothing where text is always UTF-8.
const KEYS: [&str; 19] = [
    "charset",
    "use_unicode",
    "binary_prefix",
    "unix_socket",
    "connect_timeout",
    "read_timeout",
    "write_timeout",
    "read_default_file",
    "read_default_group",
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_key",
    "ssl_check_hostname",
    "ssl_verify_cert",
    "ssl_verify_identity",
    "ssl_disabled",
    "ssl_mode",
    "password",
];

/// Keys of the Python drivers that have no effect here. Only these are named in a warning: what looks like a
/// key may be a piece of a password that was not percent-encoded.
const OTHER_KEYS: [&str; 15] = [
    "autocommit",
    "auth_plugin",
    "bind_address",
    "client_flag",
    "compress",
    "conv",
    "cursorclass",
    "db",
    "defer_connect",
    "init_command",
    "local_infile",
    "max_allowed_packet",
    "program_name",
    "sql_mode",
    "ssl_cipher",
];

/// The options of a connection, and what the operator should know.
///
/// Text is always sent and received as `utf8mb4`, whatever `charset` says: the server converts, and the
/// result is the same or better.
pub(super) fn options(url: &ServerUrl, warnings: &mut Vec<String>) -> Result<MySqlConnectOptions, UrlError> {
    warnings.extend(unknown_keys(&url.query, &KEYS, &OTHER_KEYS));
    let file = option_file(url, warnings);
    let or_file = |value: Option<&str>, key: &str| {
        value.map(str::to_owned).or_else(|| file.get(key).map(str::to_owned))
    };
    let host = or_file(url.host.as_deref(), "host").unwrap_or_else(|| "localhost".to_owned());
    let user = or_file(url.user.as_deref(), "user");
    // getpass.getuser(), as far as a service has it.
    let user = user.or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let mut options = MySqlConnectOptions::new()
        .host(&host)
        .username(&user)
        // What our driver sets of its own accord: Nova does not, and each is work for the server.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging();
    let port = match (url.port, file.get("port")) {
        (Some(port), _) => Some(port),
        (None, Some(text)) => Some(
            text.parse()
                .map_err(|_| UrlError::Value { key: "read_default_file", reason: "its port is no port" })?,
        ),
        (None, None) => None,
    };
    if let Some(port) = port {
        options = options.port(port);
    }
    let password = url.password.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
    let password = password.or_else(|| or_file(url.query.get("password"), "password"));
    if let Some(password) = password {
        options = options.password(&password);
    }
    if let Some(database) = or_file(url.database.as_deref(), "database") {
        options = options.database(&database);
    }
    let socket = or_file(url.query.get("unix_socket"), "socket");
    if let Some(socket) = &socket {
        options = options.socket(socket);
    }
    encrypt(options, url, &file, socket.is_some(), warnings)
}

/// How long connecting and one query may take.
pub(super) fn limits(url: &ServerUrl) -> Result<(Option<Duration>, Option<Duration>), UrlError> {
    let (read, write) = (url.query.seconds("read_timeout")?, url.query.seconds("write_timeout")?);
    let query = match (read, write) {
        (Some(read), Some(write)) => Some(read.min(write)),
        (read, write) => read.or(write),
    };
    Ok((url.query.seconds("connect_timeout")?, query))
}

/// What oslo.db sets in each session (`oslo_db/sqlalchemy/engines.py`), as one statement.
pub(super) fn session(settings: &DatabaseSettings) -> Option<String> {
    let mode = settings.mysql_sql_mode.as_ref().map(|mode| {
        let quoted = mode.replace('\\', "\\\\").replace('\'', "''");
        format!("SESSION sql_mode = '{quoted}'")
    });
    let wait = settings.mysql_wsrep_sync_wait.map(|wait| format!("SESSION wsrep_sync_wait = {wait}"));
    let all: Vec<String> = mode.into_iter().chain(wait).collect();
    (!all.is_empty()).then(|| format!("SET {}", all.join(", ")))
}

fn option_file(url: &ServerUrl, warnings: &mut Vec<String>) -> OptionFile {
    let (file, group) = (url.query.get("read_default_file"), url.query.get("read_default_group"));
    if file.is_none() && group.is_none() {
        return OptionFile::default();
    }
    let path = file.unwrap_or("/etc/my.cnf");
    OptionFile::read(Path::new(path), group.unwrap_or("client")).unwrap_or_else(|reason| {
        // PyMySQL goes on without the file, and says nothing.
        warnings.push(format!("[database] connection: read_default_file {path}: {reason}"));
        OptionFile::default()
    })
}

/// TLS, as PyMySQL decides on it: a CA makes the chain and the name count, `ssl_check_hostname` lifts the
/// name, and without any key encryption is used where the server has it.
///
/// Together with `ssl_verify_cert` the name does not count unless asked for: PyMySQL then reads its other
/// spelling of these options, whose `ssl_verify_identity` is off.
fn encrypt(
    mut options: MySqlConnectOptions,
    url: &ServerUrl,
    file: &OptionFile,
    is_local: bool,
    warnings: &mut Vec<String>,
) -> Result<MySqlConnectOptions, UrlError> {
    let query = &url.query;
    let path = |key: &str, file_key: &str| query.get(key).or_else(|| file.get(file_key)).map(str::to_owned);
    let (ca, directory) = (path("ssl_ca", "ssl-ca"), path("ssl_capath", "ssl-capath"));
    let (cert, key) = (path("ssl_cert", "ssl-cert"), path("ssl_key", "ssl-key"));
    let check_hostname = query.bool("ssl_check_hostname")?;
    let verify_cert = query.bool("ssl_verify_cert")?;
    let verify_identity = query.bool("ssl_verify_identity")?;
    let has_ca = ca.is_some() || directory.is_some();
    let is_asked = has_ca
        || cert.is_some()
        || key.is_some()
        || check_hostname.is_some()
        || verify_cert == Some(true)
        || verify_identity == Some(true);

    let verifies = verify_cert.unwrap_or(has_ca) || verify_identity == Some(true);
    let names = verify_identity.or(check_hostname).unwrap_or(has_ca && verify_cert.is_none());
    let mode = match query.get("ssl_mode").map(str::to_ascii_uppercase).as_deref() {
        Some("DISABLED") => MySqlSslMode::Disabled,
        Some("PREFERRED") => MySqlSslMode::Preferred,
        Some("REQUIRED") => MySqlSslMode::Required,
        Some("VERIFY_CA") => MySqlSslMode::VerifyCa,
        Some("VERIFY_IDENTITY") => MySqlSslMode::VerifyIdentity,
        Some(_) => {
            return Err(UrlError::Value { key: "ssl_mode", reason: "expected a mode of libmysqlclient" });
        }
        None if query.bool("ssl_disabled")? == Some(true) => MySqlSslMode::Disabled,
        // What does not leave the host needs no encryption that nobody asked for.
        None if !is_asked && is_local => MySqlSslMode::Disabled,
        None if !is_asked => MySqlSslMode::Preferred,
        None if !verifies => MySqlSslMode::Required,
        None if names => MySqlSslMode::VerifyIdentity,
        None => MySqlSslMode::VerifyCa,
    };
    options = options.ssl_mode(mode);
    if matches!(mode, MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity) {
        options = match (&ca, &directory) {
            (Some(ca), None) => options.ssl_ca(ca),
            _ => options.ssl_ca_from_pem(authorities::pem(ca.as_deref(), directory.as_deref(), warnings)),
        };
    }
    for path in [&ca, &cert, &key].into_iter().flatten() {
        warnings.extend(authorities::unreadable(path));
    }
    match (cert, key) {
        // One file may hold both.
        (Some(cert), key) => Ok(options.ssl_client_key(key.as_ref().unwrap_or(&cert)).ssl_client_cert(cert)),
        (None, Some(_)) => Err(UrlError::Value { key: "ssl_key", reason: "is set, and ssl_cert is not" }),
        (None, None) => Ok(options),
    }
}

/// A warning for each key that has no effect.
pub(super) fn unknown_keys(query: &super::url::Query, known: &[&str], other: &[&str]) -> Vec<String> {
    let numbered = query.keys().enumerate().filter(|(_, key)| !known.contains(key));
    numbered
        .map(|(index, key)| {
            let key = if other.contains(&key) { key.to_owned() } else { format!("number {}", index + 1) };
            format!("[database] connection: the key {key} of the URL's query has no effect here.")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::sql::DatabaseUrl;

    fn server(query: &str) -> ServerUrl {
        match DatabaseUrl::parse(&format!("mysql+pymysql://nova:pa55@ctl/cell?{query}"), Path::new("/")) {
            Ok(DatabaseUrl::MySql(url)) => url,
            other => panic!("{other:?}"),
        }
    }

    fn mode(query: &str) -> String {
        format!("{:?}", options(&server(query), &mut Vec::new()).unwrap().get_ssl_mode())
    }

    #[test]
    fn encryption_is_what_pymysql_makes_of_the_keys() {
        for (query, expected) in [
            ("charset=utf8", "Preferred"),
            ("unix_socket=/run/my.sock", "Disabled"),
            ("ssl_ca=/ca.pem", "VerifyIdentity"),
            ("ssl_ca=/ca.pem&ssl_check_hostname=false", "VerifyCa"),
            ("ssl_ca=/ca.pem&ssl_verify_cert=true", "VerifyCa"),
            ("ssl_ca=/ca.pem&ssl_verify_cert=true&ssl_verify_identity=true", "VerifyIdentity"),
            ("ssl_verify_cert=true", "VerifyCa"),
            ("ssl_ca=/ca.pem&ssl_verify_cert=false", "Required"),
            ("ssl_cert=/c.pem&ssl_key=/k.pem", "Required"),
            ("ssl_ca=/ca.pem&ssl_disabled=true", "Disabled"),
            ("ssl_mode=REQUIRED", "Required"),
        ] {
            assert_eq!(mode(query), expected, "{query}");
        }
        for query in ["ssl_mode=x", "ssl_disabled=x", "ssl_key=/k.pem"] {
            assert!(options(&server(query), &mut Vec::new()).is_err(), "{query}");
        }
    }

    #[test]
    fn keys_without_effect_are_warned_of_and_unknown_ones_not_shown() {
        let mut warnings = Vec::new();
        options(&server("charset=utf8&compress=1&pa55=1"), &mut warnings).unwrap();
        assert_eq!(
            warnings,
            ["compress", "number 3"].map(|key| format!(
                "[database] connection: the key {key} of the URL's query has no effect here."
            ))
        );
    }

    #[test]
    fn session_statement_is_what_oslo_db_sets() {
        let with = |mode: Option<&str>, wait| DatabaseSettings {
            mysql_sql_mode: mode.map(str::to_owned),
            mysql_wsrep_sync_wait: wait,
            ..DatabaseSettings::default()
        };
        assert_eq!(session(&with(None, None)), None);
        assert_eq!(session(&with(Some("a'\\b"), None)).as_deref(), Some("SET SESSION sql_mode = 'a''\\\\b'"));
        assert_eq!(
            session(&with(Some("TRADITIONAL"), Some(1))).as_deref(),
            Some("SET SESSION sql_mode = 'TRADITIONAL', SESSION wsrep_sync_wait = 1")
        );
    }

    #[test]
    fn the_url_comes_before_the_option_file() {
        let path = std::env::temp_dir().join(format!("consolegate-my-{}.cnf", std::process::id()));
        std::fs::write(&path, "[cell]\nhost=other\nuser=root\nport=3307\nsocket=/s\nssl-ca=/ca.pem\n")
            .unwrap();
        let query = format!("read_default_file={}&read_default_group=cell", path.display());
        let options = options(&server(&query), &mut Vec::new()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((options.get_host(), options.get_username(), options.get_port()), ("ctl", "nova", 3307));
        assert_eq!(options.get_socket().unwrap(), Path::new("/s"));
        assert!(matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity));
    }

    #[test]
    fn limits_are_those_of_the_url() {
        let seconds = Duration::from_secs;
        assert_eq!(
            limits(&server("connect_timeout=3&read_timeout=9&write_timeout=4")).unwrap(),
            (Some(seconds(3)), Some(seconds(4)))
        );
        assert_eq!(limits(&server("charset=utf8")).unwrap(), (None, None));
        assert!(limits(&server("read_timeout=0")).is_err());
    }
}
