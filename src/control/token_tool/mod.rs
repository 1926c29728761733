//! `consolegate token`: makes, lists and revokes console tokens in a cell database.
//!
//! For demonstrations and tests without a cloud. What it writes is what Nova's
//! `ConsoleAuthToken.authorize` writes (`nova/objects/console_auth_token.py`), so a real Nova proxy takes
//! its tokens and ours takes Nova's.

mod access_url;
mod args;
mod schema;
mod store;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use self::args::{Command, Create, Which};
use self::store::{NewToken, Store, TokenLine};
use super::sql::{DatabaseSettings, Target};
use super::unix_now;
use crate::console::ConsoleToken;
use crate::secret::Secret;

/// The subcommand; `args` is what follows `consolegate token`.
///
/// Exit status: 0 done, 1 failed or nothing to revoke, 2 wrong usage.
#[must_use]
pub fn main(args: &[OsString]) -> ExitCode {
    ExitCode::from(run(args, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// [`main`] with its streams and exit status in the caller's hands.
pub fn run(args: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let command = match args::parse(args) {
        Ok(command) => command,
        Err(complaint) => {
            // Nothing is left to be done when even stderr is closed.
            let _ = writeln!(err, "consolegate token: {complaint}; see consolegate token --help");
            return 2;
        }
    };
    match perform(command, out, err) {
        Ok(()) => 0,
        Err(reason) => {
            let _ = writeln!(err, "consolegate token: {reason}");
            1
        }
    }
}

fn perform(command: Command, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|reason| format!("could not start: {reason}"))?;
    runtime.block_on(async {
        let written = match command {
            Command::Help => out.write_all(args::HELP.as_bytes()),
            Command::Create { database, create } => {
                let mut store = open(&database, create.init, err).await?;
                let url = create_token(&mut store, *create, err).await?;
                writeln!(out, "{url}")
            }
            Command::List { database } => {
                let tokens = open(&database, false, err).await?.list().await?;
                list(&tokens, unix_now(), out)
            }
            Command::Revoke { database, which } => {
                let mut store = open(&database, false, err).await?;
                let revoked = match &which {
                    Which::Token(token) => store.revoke_token(&token.hash()).await?,
                    Which::Instance(uuid) => store.revoke_instance(uuid).await?,
                    Which::Expired => store.revoke_expired(unix_now()).await?,
                };
                if revoked == 0 && !matches!(which, Which::Expired) {
                    return Err("no such token".to_owned());
                }
                writeln!(out, "{revoked} revoked")
            }
        };
        written.and_then(|()| out.flush()).map_err(|reason| format!("could not write the answer: {reason}"))
    })
}

async fn open(database: &str, may_create: bool, err: &mut dyn Write) -> Result<Store, String> {
    let directory = std::env::current_dir().map_err(|reason| format!("no working directory: {reason}"))?;
    let mut warnings = Vec::new();
    let url = Secret::new(database);
    let target = Target::new(&url, &DatabaseSettings::default(), Path::new(&directory), &mut warnings)
        .map_err(|reason| format!("--database: {reason}"))?;
    for warning in warnings {
        let _ = writeln!(err, "consolegate token: warning: {warning}");
    }
    Store::open(target.for_writing(may_create)).await
}

async fn create_token(store: &mut Store, create: Create, err: &mut dyn Write) -> Result<String, String> {
    if create.init {
        store.create_tables().await?;
        let host = create.instance_host.as_ref().unwrap_or(&create.host);
        store.create_instance(&create.instance_uuid, host).await?;
    } else if !store.has_instance(&create.instance_uuid).await? {
        let _ =
            writeln!(err, "consolegate token: warning: the token will be refused until the instance exists");
    }
    let token = match create.token {
        Some(token) => token,
        None => random_token().map_err(|reason| format!("no random numbers: {reason}"))?,
    };
    let base_url =
        create.base_url.unwrap_or_else(|| access_url::default_base(create.console_type).to_owned());
    let url =
        access_url::access_url(create.console_type, &base_url, &String::from_utf8_lossy(token.expose()));
    store
        .insert(&NewToken {
            hash: token.hash(),
            console_type: create.console_type,
            host: create.host,
            port: create.port,
            tls_port: create.tls_port,
            internal_access_path: create.internal_access_path,
            instance_uuid: create.instance_uuid,
            expires: unix_now().saturating_add(i64::from(create.ttl_s)),
            access_url_base: base_url,
        })
        .await?;
    Ok(url)
}

/// One line per token, without anything that would open a console.
fn list(tokens: &[TokenLine], now: i64, out: &mut dyn Write) -> io::Result<()> {
    for token in tokens {
        let expires = jiff::Timestamp::from_second(token.expires)
            .map_or_else(|_| token.expires.to_string(), |time| time.to_string());
        let expired = if token.expires > now { "" } else { " (expired)" };
        writeln!(
            out,
            "{}\t{}\t{}:{}\t{}\t{expires}{expired}",
            token.id,
            // Whoever may write the table may not write to the operator's terminal.
            token.console_type.escape_default(),
            token.host.escape_default(),
            token.port,
            token.instance_uuid.escape_default(),
        )?;
    }
    Ok(())
}

/// A random UUID (RFC 9562 section 5.4) in Nova's spelling.
fn random_token() -> io::Result<ConsoleToken> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut number = u128::from_be_bytes(bytes);
    // Version 4, variant 10.
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{number:032x}");
    let groups: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().map(|at| &hex[at]).collect();
    Ok(ConsoleToken::new(groups.join("-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tokens_are_version_4_uuids_and_differ() {
        let text = |token: ConsoleToken| String::from_utf8(token.expose().to_vec()).unwrap();
        let (one, two) = (text(random_token().unwrap()), text(random_token().unwrap()));
        assert_ne!(one, two);
        for uuid in [one, two] {
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }

    #[test]
    fn list_escapes_what_the_table_holds() {
        let token = TokenLine {
            id: 7,
            console_type: "novnc".to_owned(),
            host: "h\x1b[2J".to_owned(),
            port: 5900,
            instance_uuid: "u".to_owned(),
            expires: 0,
        };
        let mut out = Vec::new();
        list(&[token], 0, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "7\tnovnc\th\\u{1b}[2J:5900\tu\t1970-01-01T00:00:00Z (expired)\n"
        );
    }
}
