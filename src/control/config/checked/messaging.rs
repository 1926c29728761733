//! The message bus: `transport_url`, `[oslo_messaging_rabbit]`, and the query of the one that wins over the other.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Read;
use super::rpc_response_timeout;
use crate::control::config::Exit;
use crate::control::config::options::{DEFAULT, OWN, RABBIT, find};
use crate::control::config::values::Value;
use crate::control::rpc::options::{Login, QuorumLimits, RabbitOptions, RpcSettings, TlsOptions};
use crate::control::rpc::transport_url::{Host, PORT_DEFAULT, TransportUrl};
use crate::control::rpc::{Backoff, Failover};
use crate::secret::Secret;

/// Longest pause before a lost connection is made again, in seconds; oslo.messaging's own bound is shorter.
const PAUSE_S_MAX: f64 = 3_600.0;

/// What the options say of the message bus.
pub(super) fn settings(read: &Read<'_>, warnings: &mut Vec<String>) -> Result<RpcSettings, Exit> {
    let url = read.secret(DEFAULT, "transport_url").unwrap_or_else(|| Secret::new("rabbit://"));
    let url = std::str::from_utf8(url.expose())
        .map_err(|_| Exit::config("[DEFAULT] transport_url is not UTF-8"))
        .and_then(|url| TransportUrl::parse(url).map_err(|why| refused("transport_url", &why.to_string())))?;
    let rabbit = Rabbit { read, query: &url.query };
    rabbit.check_query()?;
    let options = rabbit.options(warnings)?;
    let hosts = if url.hosts.is_empty() { rabbit.old_hosts()? } else { url.hosts.clone() };
    let vhost = url.vhost.clone().or_else(|| rabbit.text("rabbit_virtual_host"));
    if hosts.iter().any(|host| host.user.is_empty()) && hosts.iter().any(|host| !host.user.is_empty()) {
        // oslo.messaging's own warning.
        warnings.push("All hosts must be set with username/password or not at the same time.".to_owned());
    }
    Ok(RpcSettings {
        hosts,
        vhost: vhost.unwrap_or_else(|| "/".to_owned()),
        control_exchange: read.text(DEFAULT, "control_exchange").unwrap_or("nova").to_owned(),
        response_timeout: rpc_response_timeout(read),
        rabbit: options,
        compute_alt: admits_compute_alt(read.text("upgrade_levels", "compute").unwrap_or_default()),
        serial_number_retry: read.is_on(OWN, "rpc_serial_number_retry"),
        reply_exchange: read.is_on(OWN, "rpc_reply_exchange"),
        program: read.0.program.name(),
    })
}

/// Whether the operator says that computes have RPC version 6.5, with which Nova's topic `compute-alt` came.
/// Nothing said is not enough: with older computes Nova's own proxies then wait for an answer in vain.
fn admits_compute_alt(level: &str) -> bool {
    // nova/compute/rpcapi.py, VERSION_ALIASES
    let version = if level.eq_ignore_ascii_case("gazpacho") { "6.5" } else { level };
    let parts: Vec<Option<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    matches!(parts.as_slice(), [Some(6), Some(minor), ..] if *minor >= 5)
}

/// `[oslo_messaging_rabbit]` with the URL's query over it.
struct Rabbit<'a> {
    read: &'a Read<'a>,
    query: &'a [(String, String)],
}

impl Rabbit<'_> {
    /// Each key is an option, and its value one of the option's type.
    fn check_query(&self) -> Result<(), Exit> {
        for (key, text) in self.query {
            let Some(option) = find(RABBIT, key) else {
                return Err(refused(
                    "transport_url",
                    &format!("its query sets {key:?}, which is no option of [{RABBIT}]"),
                ));
            };
            // Values may be passwords: of a wrong one only the name is told.
            option.kind.parse(text).map_err(|_| {
                refused("transport_url", &format!("its query sets {key} to a value that does not fit"))
            })?;
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Value {
        let queried = self.query.iter().find(|(key, _)| key == name);
        let parsed = queried.and_then(|(_, text)| find(RABBIT, name)?.kind.parse(text).ok());
        parsed.unwrap_or_else(|| self.read.0.value(RABBIT, name).clone())
    }

    fn is_on(&self, name: &str) -> bool {
        self.value(name) == Value::Bool(true)
    }

    /// Text that is not empty.
    fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Value::Str(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        // A daemon leaves the directory that the program was started in.
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    /// A number that fits; the nearest one for one that does not.
    fn number<T: TryFrom<i64> + TryInto<i64> + Copy>(&self, name: &str, least: T, most: T) -> T {
        let (Value::Int(number), Ok(least_i64), Ok(most_i64)) =
            (self.value(name), least.try_into(), most.try_into())
        else {
            return least;
        };
        T::try_from(number.clamp(least_i64, most_i64)).unwrap_or(least)
    }

    fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(u64::from(self.number(name, 0, u32::MAX)))
    }

    /// Seconds with a fraction, an hour at most.
    fn pause(&self, name: &str) -> Duration {
        match self.value(name) {
            Value::Float(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, PAUSE_S_MAX)),
            _ => Duration::ZERO,
        }
    }

    fn options(&self, warnings: &mut Vec<String>) -> Result<RabbitOptions, Exit> {
        let (quorum, ha) = (self.is_on("rabbit_quorum_queue"), self.is_on("rabbit_ha_queues"));
        let transient_quorum = self.is_on("rabbit_transient_quorum_queue");
        let prefetch = self.number("rabbit_qos_prefetch_count", 0, u16::MAX);
        // The three pairs that oslo.messaging refuses (`impl_rabbit.py`, `Connection.__init__`).
        if quorum && ha {
            return Err(refused("rabbit_quorum_queue", "it cannot be used with rabbit_ha_queues"));
        }
        if self.is_on("rabbit_stream_fanout") && prefetch == 0 {
            return Err(refused("rabbit_stream_fanout", "it needs rabbit_qos_prefetch_count above 0"));
        }
        if self.is_on("rabbit_stream_fanout") && !transient_quorum {
            return Err(refused("rabbit_stream_fanout", "it needs rabbit_transient_quorum_queue"));
        }
        Ok(RabbitOptions {
            tls: self.tls(warnings)?,
            login: match self.text("rabbit_login_method").as_deref() {
                Some("PLAIN") => Login::Plain,
                Some("EXTERNAL") => Login::External,
                Some("RABBIT-CR-DEMO") => Login::RabbitCrDemo,
                _ => Login::AmqPlain,
            },
            heartbeat_s: self.number("heartbeat_timeout_threshold", 0, u16::MAX),
            durable_exchange: quorum || self.is_on("amqp_durable_queues"),
            auto_delete_exchange: self.is_on("amqp_auto_delete"),
            ha_queues: ha,
            reply_quorum: transient_quorum.then(|| QuorumLimits {
                delivery_limit: self.number("rabbit_quorum_delivery_limit", 0, i32::MAX),
                max_memory_length: self.number("rabbit_quorum_max_memory_length", 0, i32::MAX),
                max_memory_bytes: self.number("rabbit_quorum_max_memory_bytes", 0, i32::MAX),
            }),
            reply_queue_ttl_s: self.number("rabbit_transient_queues_ttl", 0, u32::MAX),
            prefetch,
            cancel_on_failover: self.is_on("enable_cancel_on_failover"),
            failover: match self.text("kombu_failover_strategy").as_deref() {
                Some("shuffle") => Failover::Shuffle,
                _ => Failover::RoundRobin,
            },
            backoff: Backoff {
                start: self.seconds("rabbit_retry_interval"),
                step: self.seconds("rabbit_retry_backoff"),
                max: self.seconds("rabbit_interval_max"),
            },
            reconnect_delay: self.pause("kombu_reconnect_delay"),
            reconnect_splay: self.pause("kombu_reconnect_splay"),
        })
    }

    fn tls(&self, warnings: &mut Vec<String>) -> Result<Option<TlsOptions>, Exit> {
        if !self.is_on("ssl") {
            return Ok(None);
        }
        let version = self.text("ssl_version").unwrap_or_default();
        let only_tls12 = match version.to_ascii_lowercase().as_str() {
            // SSLv23 is OpenSSL's old name for "the best both have".
            "" | "sslv23" => false,
            "tlsv1_2" => true,
            "tlsv1" | "tlsv1_1" | "sslv2" | "sslv3" => {
                return Err(refused(
                    "ssl_version",
                    &format!("{version} is broken and not supported, set TLSv1_2 or nothing"),
                ));
            }
            _ => return Err(refused("ssl_version", &format!("Invalid SSL version : {version}"))),
        };
        let ca_file = self.path("ssl_ca_file");
        if ca_file.is_none() {
            warnings.push(format!(
                "[{RABBIT}] ssl is set without ssl_ca_file: the broker's certificate is checked against this \
                 system's authorities, and its name is not."
            ));
        }
        Ok(Some(TlsOptions {
            ca_file,
            cert_file: self.path("ssl_cert_file"),
            key_file: self.path("ssl_key_file"),
            verify_name: self.is_on("ssl_enforce_hostname_verification"),
            only_tls12,
        }))
    }

    /// Where the bus is by the options from before `transport_url`.
    fn old_hosts(&self) -> Result<Vec<Host>, Exit> {
        let guest = Host::guest();
        let user = self.text("rabbit_userid").unwrap_or(guest.user);
        let password = match self.value("rabbit_password") {
            Value::Secret(password) if !password.is_empty() => password,
            // From the query, where no value is marked.
            Value::Str(password) if !password.is_empty() => Secret::new(password),
            _ => guest.password,
        };
        let mut addresses = match self.value("rabbit_hosts") {
            Value::List(addresses) => addresses,
            _ => Vec::new(),
        };
        if addresses.is_empty() {
            addresses.push(self.text("rabbit_host").unwrap_or(guest.name));
        }
        let port = match self.value("rabbit_port") {
            Value::Int(port) => u16::try_from(port).unwrap_or(PORT_DEFAULT),
            _ => PORT_DEFAULT,
        };
        let host = |(index, address): (usize, &String)| {
            let mut host = Host::at(address, index + 1, &user, &password)?;
            if host.port == PORT_DEFAULT {
                host.port = port;
            }
            Ok(host)
        };
        let hosts = addresses.iter().enumerate().map(host).collect::<Result<_, _>>();
        hosts.map_err(|why: crate::control::rpc::transport_url::TransportUrlError| {
            refused("rabbit_hosts", &why.to_string())
        })
    }
}

fn refused(name: &str, why: &str) -> Exit {
    Exit::config(format!("{name} cannot be used: {why}"))
}

#[cfg(test)]
mod tests;
