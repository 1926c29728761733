//! The command line of `consolegate token`.

use std::ffi::OsString;

use crate::console::{ConsoleToken, ConsoleType};

/// What `--help` prints.
pub(super) const HELP: &str = "\
usage: consolegate token create --database URL --type TYPE --host HOST --port PORT --instance UUID
                                [--ttl SECONDS] [--token UUID] [--base-url URL]
                                [--tls-port PORT] [--internal-access-path PATH]
                                [--init [--instance-host NAME]]
       consolegate token list   --database URL
       consolegate token revoke --database URL (--token UUID | --instance UUID | --expired)

Makes, shows and removes console tokens in a cell database, as nova-compute would.
For demonstrations and tests: in a cloud, nova makes the tokens.

create prints the access URL, which holds the token. The token itself is stored nowhere.
  --database URL    as [database] connection: mysql+pymysql://..., postgresql://..., sqlite:////path
  --type TYPE       novnc, spice-html5, serial, xvpvnc, rdp-html5, webmks or spice-direct
  --host, --port    where the console listens
  --instance UUID   the instance it belongs to
  --ttl SECONDS     lifetime, 600 unless given; with 0 the token is expired at once
  --token UUID      use this token instead of a random one
  --base-url URL    the page the token is for, instead of the default of its type
  --tls-port PORT   where SPICE listens for TLS; for tables of Nova 31 and later. --port may be -1
                    then: it listens nowhere else
  --internal-access-path PATH
                    asked for with CONNECT before the console starts
  --init            first make the tables console_auth_tokens and instances, and the row of the
                    instance, where they are missing
  --instance-host NAME
                    the compute service of that instance, HOST unless given

Exit status: 0 done, 1 failed or nothing to revoke, 2 wrong usage.
";

/// Longest value of a VARCHAR(255) column, in characters.
const COLUMN_CHARS_MAX: usize = 255;

/// Lifetime unless given: the default of `[consoleauth] token_ttl`.
const TTL_DEFAULT: u32 = 600;

#[derive(Debug)]
pub(super) enum Command {
    Help,
    Create { database: String, create: Box<Create> },
    List { database: String },
    Revoke { database: String, which: Which },
}

#[derive(Debug)]
pub(super) struct Create {
    pub(super) console_type: ConsoleType,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) instance_uuid: String,
    pub(super) ttl_s: u32,
    pub(super) token: Option<ConsoleToken>,
    pub(super) base_url: Option<String>,
    pub(super) tls_port: Option<u16>,
    pub(super) internal_access_path: Option<String>,
    pub(super) init: bool,
    pub(super) instance_host: Option<String>,
}

/// Which tokens are revoked.
#[derive(Debug)]
pub(super) enum Which {
    Token(ConsoleToken),
    Instance(String),
    Expired,
}

/// Parses what follows `consolegate token`. The error is one line for the user; it never repeats a token.
pub(super) fn parse(args: &[OsString]) -> Result<Command, String> {
    let args = args
        .iter()
        .map(|arg| arg.to_str().ok_or("an argument is not valid UTF-8"))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((command, rest)) = args.split_first() else {
        return Err("expected create, list or revoke".to_owned());
    };
    if args.iter().any(|arg| ["-h", "--help"].contains(arg)) {
        return Ok(Command::Help);
    }
    let mut options = Options(options(rest)?);
    let command = match *command {
        "create" => create(&mut options)?,
        "list" => Command::List { database: options.required("--database")? },
        "revoke" => revoke(&mut options)?,
        unknown => return Err(format!("unknown command {unknown:?}, expected create, list or revoke")),
    };
    match options.0.first() {
        Some((name, _)) => Err(format!("{name} does not belong here, or was given twice")),
        None => Ok(command),
    }
}

fn create(options: &mut Options) -> Result<Command, String> {
    let database = options.required("--database")?;
    let console_type = options.required("--type")?;
    let console_type = ConsoleType::from_name(&console_type)
        .ok_or_else(|| format!("--type: unknown type {console_type:?}"))?;
    let port_of = |name: &str, text: &str| {
        text.parse().ok().filter(|port| *port != 0).ok_or(format!("{name}: expected 1 to 65535"))
    };
    let port = options.required("--port")?;
    let tls_port = options.value("--tls-port").map(|port| port_of("--tls-port", &port)).transpose()?;
    let create = Create {
        console_type,
        host: column("--host", options.required("--host")?)?,
        port: match (port.as_str(), tls_port) {
            ("-1", Some(_)) => None,
            _ => Some(port_of("--port", &port)?),
        },
        tls_port,
        instance_uuid: uuid("--instance", options.required("--instance")?)?.to_lowercase(),
        ttl_s: match options.value("--ttl") {
            Some(ttl) => ttl.parse().map_err(|_| "--ttl: expected a number of seconds")?,
            None => TTL_DEFAULT,
        },
        token: options.token()?,
        base_url: options.value("--base-url").map(|url| column("--base-url", url)).transpose()?,
        internal_access_path: options
            .value("--internal-access-path")
            .map(|path| column("--internal-access-path", path))
            .transpose()?,
        init: options.flag("--init"),
        instance_host: options
            .value("--instance-host")
            .map(|host| column("--instance-host", host))
            .transpose()?,
    };
    if create.instance_host.is_some() && !create.init {
        return Err("--instance-host needs --init".to_owned());
    }
    Ok(Command::Create { database, create: Box::new(create) })
}

fn revoke(options: &mut Options) -> Result<Command, String> {
    let database = options.required("--database")?;
    let token = options.token()?;
    let instance = options.value("--instance").map(|value| uuid("--instance", value)).transpose()?;
    let which = match (token, instance, options.flag("--expired")) {
        (Some(token), None, false) => Which::Token(token),
        (None, Some(instance), false) => Which::Instance(instance.to_lowercase()),
        (None, None, true) => Which::Expired,
        _ => return Err("expected one of --token, --instance and --expired".to_owned()),
    };
    Ok(Command::Revoke { database, which })
}

/// Options that were not taken yet. Those without a value hold an empty one.
struct Options(Vec<(String, String)>);

impl Options {
    fn value(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.value(name).ok_or_else(|| format!("{name} is required"))
    }

    fn flag(&mut self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn token(&mut self) -> Result<Option<ConsoleToken>, String> {
        Ok(self.value("--token").map(|token| uuid("--token", token)).transpose()?.map(ConsoleToken::new))
    }
}

const FLAGS: [&str; 2] = ["--init", "--expired"];
const VALUED: [&str; 11] = [
    "--database",
    "--type",
    "--host",
    "--port",
    "--instance",
    "--ttl",
    "--token",
    "--base-url",
    "--tls-port",
    "--internal-access-path",
    "--instance-host",
];

/// Splits `--name value`, `--name=value` and `--flag`.
fn options(args: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut options = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = arg.split_once('=').map_or((*arg, None), |(name, value)| (name, Some(value)));
        if FLAGS.contains(&name) && value.is_none() {
            options.push((name.to_owned(), String::new()));
        } else if VALUED.contains(&name) {
            let value = value.or_else(|| args.next().copied()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("{name} needs a value"))?;
            options.push((name.to_owned(), value.to_owned()));
        } else if name.starts_with('-') {
            return Err(format!("unknown option {name:?}"));
        } else {
            // It could be a token.
            return Err("unexpected argument without an option".to_owned());
        }
    }
    Ok(options)
}

fn column(name: &str, value: String) -> Result<String, String> {
    if value.chars().count() > COLUMN_CHARS_MAX || value.chars().any(char::is_control) {
        return Err(format!(
            "{name}: expected at most {COLUMN_CHARS_MAX} characters, none of them a control"
        ));
    }
    Ok(value)
}

fn uuid(name: &str, value: String) -> Result<String, String> {
    let groups = value.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if groups && value.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) {
        Ok(value)
    } else {
        Err(format!("{name}: expected a UUID with dashes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "11111111-2222-4333-8444-55555555555f";

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(&line.replace("UUID", UUID).split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn create_takes_both_spellings_of_a_value() {
        let line =
            "create --database=sqlite:////x --type novnc --host h --port 5900 --instance UUID --token=UUID";
        let Ok(Command::Create { database, create }) = parse_line(line) else { panic!("{line}") };
        assert_eq!((database.as_str(), create.port, create.ttl_s), ("sqlite:////x", Some(5900), 600));
        assert_eq!(create.token, Some(ConsoleToken::new(UUID)));
    }

    #[test]
    fn without_a_port_there_is_one_for_tls() {
        let line =
            "create --database x --type spice-html5 --host h --port -1 --tls-port 5901 --instance UUID";
        let Ok(Command::Create { create, .. }) = parse_line(line) else { panic!("{line}") };
        assert_eq!((create.port, create.tls_port), (None, Some(5901)));
    }

    #[test]
    fn wrong_usage_is_named() {
        for (line, complaint) in [
            ("", "expected create, list or revoke"),
            ("mint", "unknown command \"mint\""),
            ("list", "--database is required"),
            ("list --database", "--database needs a value"),
            ("list --database x --port 1", "--port does not belong here"),
            ("list --database x --database y", "--database does not belong here, or was given twice"),
            ("list --init=1 --database x", "unknown option \"--init\""),
            ("revoke --database x", "expected one of --token, --instance and --expired"),
            ("revoke --database x --expired --instance UUID", "expected one of"),
            ("create --database x --type vnc", "--type: unknown type \"vnc\""),
            ("create --database x --type novnc --host h --port 0", "--port: expected 1 to 65535"),
            ("create --database x --type spice-html5 --host h --port -1", "--port: expected 1 to 65535"),
            (
                "create --database x --type novnc --host h --port 1 --instance 12",
                "--instance: expected a UUID",
            ),
            (
                "create --database x --type novnc --host h --port 1 --instance UUID --ttl -1",
                "--ttl: expected",
            ),
            (
                "create --database x --type novnc --host h --port 1 --instance UUID --instance-host c",
                "needs --init",
            ),
        ] {
            let message = parse_line(line).unwrap_err();
            assert!(message.contains(complaint), "{line}: {message}");
        }
    }

    #[test]
    fn help_wins_over_missing_options() {
        assert!(matches!(parse_line("create --help"), Ok(Command::Help)));
        assert!(matches!(parse_line("-h"), Ok(Command::Help)));
    }

    #[test]
    fn a_malformed_token_is_not_repeated() {
        for line in ["revoke --database x --token ab5a1e5e-not-a-uuid", "revoke ab5a1e5e --database x"] {
            let message = parse_line(line).unwrap_err();
            assert!(!message.contains("ab5a1e5e"), "{message}");
        }
    }
}
