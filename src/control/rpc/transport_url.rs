//! `[DEFAULT] transport_url`, in the grammar of oslo.messaging (`oslo_messaging/transport.py`, `TransportURL`).
//!
//! The URL holds passwords, so no error repeats any part of it but the scheme and the keys of its query.

use thiserror::Error;

use crate::secret::Secret;

/// RabbitMQ's port; also with TLS, since oslo.messaging never implies 5671.
pub const PORT_DEFAULT: u16 = 5672;
/// Hosts of one URL. Clusters have three to seven nodes.
const HOSTS_MAX: usize = 64;
/// Options in the query.
const QUERY_MAX: usize = 64;
/// A short string of AMQP 0-9-1, which the virtual host becomes.
const VHOST_BYTES_MAX: usize = 255;

/// Where the message bus is.
#[derive(Clone, PartialEq, Eq)]
pub struct TransportUrl {
    /// In the operator's order; none where the URL is just `rabbit://`
    pub hosts: Vec<Host>,
    /// Decoded, if the URL names one
    pub vhost: Option<String>,
    /// Options of `[oslo_messaging_rabbit]` that win over the files; repeated keys are joined by commas
    pub query: Vec<(String, String)>,
}

impl std::fmt::Debug for TransportUrl {
    /// Without what may be a password: any option can stand in the query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let query: Vec<&str> = self.query.iter().map(|(key, _)| key.as_str()).collect();
        let Self { hosts, vhost, .. } = self;
        f.debug_struct("TransportUrl")
            .field("hosts", hosts)
            .field("vhost", vhost)
            .field("query", &query)
            .finish()
    }
}

/// One broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or address; IPv6 without its brackets
    pub name: String,
    /// TCP port
    pub port: u16,
    /// Empty when the URL has none: that is then what is sent
    pub user: String,
    /// The same
    pub password: Secret,
}

impl Host {
    /// Whom a URL without hosts means.
    #[must_use]
    pub fn guest() -> Self {
        Self {
            name: "localhost".to_owned(),
            port: PORT_DEFAULT,
            user: "guest".to_owned(),
            password: Secret::new("guest"),
        }
    }

    /// `host` or `host:port`, with IPv6 in brackets, and these credentials.
    ///
    /// # Errors
    ///
    /// [`TransportUrlError`] when it is not of that form; `number` counts from one.
    pub fn at(
        address: &str,
        number: usize,
        user: &str,
        password: &Secret,
    ) -> Result<Self, TransportUrlError> {
        let (name, port) = match address.strip_prefix('[') {
            Some(inner) => {
                let (name, rest) = inner.split_once(']').ok_or(TransportUrlError::Ipv6)?;
                (name, rest.split_once(':').map(|(_, port)| port))
            }
            None => address.split_once(':').map_or((address, None), |(name, port)| (name, Some(port))),
        };
        // A colon without a number is refused, as `int('')` is.
        let port = port.map_or(Ok(PORT_DEFAULT), str::parse).map_err(|_| TransportUrlError::Port(number))?;
        // kombu's own default for a name that is not there.
        let name = if name.is_empty() { "localhost" } else { name }.to_owned();
        Ok(Self { name, port, user: user.to_owned(), password: password.clone() })
    }
}

impl std::fmt::Debug for Host {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({self})")
    }
}

impl std::fmt::Display for Host {
    /// `name:port`, as log lines name a broker.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, port, .. } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransportUrlError {
    /// oslo.messaging's reason.
    #[error("No scheme specified: expected rabbit://user:password@host:port/vhost")]
    NoScheme,
    /// A driver that is not RabbitMQ's.
    #[error("the driver \"{0}\" is not supported, only rabbit is")]
    Driver(String),
    /// `amqp://` was AMQP 1.0 in old releases, and is easily taken for RabbitMQ.
    #[error("the driver \"amqp\" is AMQP 1.0, which is not supported; for RabbitMQ write rabbit://")]
    Amqp1,
    /// `rabbit+memory://` and the like choose another back-end of kombu.
    #[error("the back-end \"{0}\" of kombu is not supported, only RabbitMQ's own is")]
    Backend(String),
    /// `[` without `]`.
    #[error("Invalid IPv6 URL: a bracket is not closed")]
    Ipv6,
    /// A port that is no number up to 65535.
    #[error("the port of host number {0} is not a port number")]
    Port(usize),
    /// Percent-encoding that does not give UTF-8.
    #[error("percent-encoded text is not valid UTF-8")]
    NotUtf8,
    /// Too much of anything.
    #[error("the URL has too many {0}")]
    TooMany(&'static str),
}

impl TransportUrl {
    /// Parses `url`.
    ///
    /// # Errors
    ///
    /// [`TransportUrlError`]; its text never holds user, password or host.
    pub fn parse(url: &str) -> Result<Self, TransportUrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(TransportUrlError::NoScheme)?;
        check_scheme(&scheme.to_ascii_lowercase())?;
        // As urllib.parse.urlsplit cuts: the authority ends at the first of these, then the fragment goes.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut hosts = Vec::new();
        for piece in authority.split(',').filter(|piece| !piece.is_empty()) {
            if hosts.len() == HOSTS_MAX {
                return Err(TransportUrlError::TooMany("hosts"));
            }
            hosts.push(host(piece, hosts.len() + 1)?);
        }
        let vhost = unquoted(path.strip_prefix('/').unwrap_or_default(), false)?;
        if vhost.len() > VHOST_BYTES_MAX {
            return Err(TransportUrlError::TooMany("bytes in its virtual host"));
        }
        let vhost = Some(vhost).filter(|vhost| !vhost.is_empty());
        Ok(Self { hosts, vhost, query: parse_query(query)? })
    }
}

fn check_scheme(scheme: &str) -> Result<(), TransportUrlError> {
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || scheme.len() > 64 || !scheme.chars().all(known) {
        return Err(TransportUrlError::NoScheme);
    }
    let (driver, backend) = scheme.split_once('+').unwrap_or((scheme, ""));
    match driver {
        "rabbit" | "kombu" if backend.is_empty() => Ok(()),
        "rabbit" | "kombu" => Err(TransportUrlError::Backend(backend.to_owned())),
        "amqp" => Err(TransportUrlError::Amqp1),
        _ => Err(TransportUrlError::Driver(driver.to_owned())),
    }
}

/// `[user[:password]@]host[:port]`: the last `@` ends the credentials, their first `:` the user.
fn host(piece: &str, number: usize) -> Result<Host, TransportUrlError> {
    let (credentials, address) = piece.rsplit_once('@').unwrap_or(("", piece));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    Host::at(address, number, &unquoted(user, false)?, &Secret::new(unquoted(password, false)?))
}

/// As `urllib.parse.parse_qs`: `+` is a space, and a key without a value is dropped.
fn parse_query(query: &str) -> Result<Vec<(String, String)>, TransportUrlError> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.split('&') {
        let Some((key, value)) = pair.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            continue;
        };
        let (key, value) = (unquoted(key, true)?, unquoted(value, true)?);
        if let Some((_, values)) = options.iter_mut().find(|(known, _)| *known == key) {
            values.push(',');
            values.push_str(&value);
        } else if options.len() == QUERY_MAX {
            return Err(TransportUrlError::TooMany("options"));
        } else {
            options.push((key, value));
        }
    }
    Ok(options)
}

/// `urllib.parse.unquote`: a `%` that begins no pair of hexadecimal digits is literal.
fn unquoted(text: &str, plus_is_space: bool) -> Result<String, TransportUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%').and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some(digit(pair[0])? << 4 | digit(pair[1])?)
        });
        match pair {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if plus_is_space && *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| TransportUrlError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> TransportUrl {
        TransportUrl::parse(url).unwrap()
    }

    fn credentials(host: &Host) -> (&str, &str) {
        (&host.user, std::str::from_utf8(host.password.expose()).unwrap())
    }

    #[test]
    fn a_whole_url_gives_all_its_parts() {
        for scheme in ["rabbit", "kombu", "RABBIT"] {
            let url = parse(&format!("{scheme}://nova:pa55@ctl:5671/cell1?heartbeat_timeout_threshold=17"));
            assert_eq!((url.hosts[0].name.as_str(), url.hosts[0].port), ("ctl", 5671));
            assert_eq!(credentials(&url.hosts[0]), ("nova", "pa55"));
            assert_eq!(url.vhost.as_deref(), Some("cell1"));
            assert_eq!(url.query, [("heartbeat_timeout_threshold".to_owned(), "17".to_owned())]);
        }
    }

    #[test]
    fn other_drivers_are_refused_by_name() {
        use TransportUrlError as E;
        for (url, error) in [
            ("amqp://ctl/", E::Amqp1),
            ("kafka://ctl/", E::Driver("kafka".to_owned())),
            ("fake:///", E::Driver("fake".to_owned())),
            ("kombu+memory:///", E::Backend("memory".to_owned())),
            ("ctl:5672/", E::NoScheme),
            ("", E::NoScheme),
            ("://ctl", E::NoScheme),
        ] {
            assert_eq!(TransportUrl::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn each_host_has_its_own_credentials_and_the_order_stays() {
        let url = parse("rabbit://a:1@one:5673,b:2@two,,three,/");
        let names: Vec<_> = url.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["one:5673", "two:5672", "three:5672"]);
        let all: Vec<_> = url.hosts.iter().map(credentials).collect();
        assert_eq!(all, [("a", "1"), ("b", "2"), ("", "")]);
    }

    #[test]
    fn credentials_are_cut_at_the_last_at_and_the_first_colon_then_decoded() {
        for (text, expected) in [
            ("us@er:pass", ("us@er", "pass")),
            ("user:pa:ss", ("user", "pa:ss")),
            ("u%2Fs%40er:p%2Fa%3Ass+%zz", ("u/s@er", "p/a:ss+%zz")),
            ("user", ("user", "")),
        ] {
            assert_eq!(credentials(&parse(&format!("rabbit://{text}@ctl/")).hosts[0]), expected, "{text}");
        }
    }

    #[test]
    fn addresses_may_be_ipv6_and_ports_absent() {
        for (text, name, port) in [
            ("[2001:db8::1]:5673", "2001:db8::1", 5673),
            ("[2001:db8::1]", "2001:db8::1", 5672),
            ("u:p@[::1]:1", "::1", 1),
        ] {
            let url = parse(&format!("rabbit://{text}/"));
            assert_eq!((url.hosts[0].name.as_str(), url.hosts[0].port), (name, port), "{text}");
        }
        assert_eq!(parse("rabbit://[::1]/").hosts[0].to_string(), "[::1]:5672");
        assert_eq!(TransportUrl::parse("rabbit://[::1/"), Err(TransportUrlError::Ipv6));
        assert_eq!(TransportUrl::parse("rabbit://a,b:x/"), Err(TransportUrlError::Port(2)));
        for port in ["65536", "", "-1"] {
            assert_eq!(TransportUrl::parse(&format!("rabbit://a:{port}/")), Err(TransportUrlError::Port(1)));
        }
    }

    #[test]
    fn the_virtual_host_is_all_behind_the_first_slash() {
        for (path, vhost) in [("//", "/"), ("/%2F", "/"), ("/a%2Fb", "a/b"), ("//a", "/a"), ("/a/b", "a/b")] {
            assert_eq!(parse(&format!("rabbit://ctl{path}")).vhost.as_deref(), Some(vhost), "{path}");
        }
        for path in ["", "/"] {
            assert_eq!(parse(&format!("rabbit://ctl{path}")).vhost, None, "{path}");
        }
        let long = TransportUrl::parse(&format!("rabbit://ctl/{}", "v".repeat(256)));
        assert_eq!(long, Err(TransportUrlError::TooMany("bytes in its virtual host")));
        assert_eq!(TransportUrl::parse("rabbit://ctl/%ff"), Err(TransportUrlError::NotUtf8));
    }

    #[test]
    fn a_url_may_name_no_host() {
        for url in ["rabbit://", "rabbit:///", "rabbit://,,/v"] {
            assert!(parse(url).hosts.is_empty(), "{url}");
        }
    }

    #[test]
    fn repeated_keys_are_joined_and_empty_ones_dropped() {
        let url = parse("rabbit://ctl/?a=1&b=x+y%26&a=2&c=&d#e=1");
        let expected = [("a", "1,2"), ("b", "x y&")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(url.query, expected);
    }

    #[test]
    fn lists_without_end_are_refused() {
        let hosts = vec!["h"; HOSTS_MAX + 1].join(",");
        let refused = TransportUrl::parse(&format!("rabbit://{hosts}/"));
        assert_eq!(refused, Err(TransportUrlError::TooMany("hosts")));
        let query: String = (0..=QUERY_MAX).map(|number| format!("k{number}=1&")).collect();
        let refused = TransportUrl::parse(&format!("rabbit://h/?{query}"));
        assert_eq!(refused, Err(TransportUrlError::TooMany("options")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String, parts in "rabbit://[a:@%,\\[\\]/?&=#]{0,40}") {
            let _ = TransportUrl::parse(&text);
            let _ = TransportUrl::parse(&parts);
        }
    }

    #[test]
    fn nothing_shows_the_credentials() {
        for url in [
            "amqp://nova:pa55@ctl/",
            "nova:pa55@ctl",
            "rabbit://nova:pa55@ctl:x/",
            "rabbit://nova:pa55@[ctl/",
        ] {
            let message = TransportUrl::parse(url).unwrap_err().to_string();
            assert!(!message.contains("pa55") && !message.contains("ctl"), "{message}");
        }
        let shown = format!("{:?}", parse("rabbit://nova:pa55@ctl/?rabbit_password=pa55"));
        assert!(
            shown.contains("Host(ctl:5672)") && !shown.contains("pa55") && !shown.contains("nova"),
            "{shown}"
        );
    }
}
