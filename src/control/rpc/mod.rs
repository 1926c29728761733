//! Nova's message bus: an RPC client of oslo.messaging over RabbitMQ, for one question to nova-compute.
//!
//! [`transport_url`] and [`options`] say where the bus is and how it is used, `envelope` what a message looks
//! like, `amqp` moves it, `bus` matches replies with calls across connections, and [`compute`] asks.
//!
//! Out of scope: servers, casts, fanout, notifications, and every driver but RabbitMQ's.

mod amqp;
mod bus;
pub mod compute;
mod envelope;
mod hosts;
mod keeper;
pub mod options;
mod random;
pub mod transport_url;
mod waiters;

pub use bus::CallError;
pub use compute::{Compute, PortQuestion};
pub use envelope::RemoteFailure;
pub use hosts::{Backoff, Failover};
pub use options::RpcSettings;

/// Connects to the first broker that can be used, and ends the connection again. Returns its `host:port`.
///
/// Takes up to about half a minute for each broker that is silent. Needs a running tokio.
///
/// # Errors
///
/// What each broker said; no text holds credentials.
pub async fn probe(settings: &RpcSettings) -> Result<String, String> {
    let mut said = Vec::new();
    for host in &settings.hosts {
        match amqp::connect(settings, host).await {
            Ok(connection) => {
                connection.close().await;
                return Ok(host.to_string());
            }
            Err(why) => said.push(format!("{host}: {why}")),
        }
    }
    Err(said.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::options::{Login, RabbitOptions};
    use super::transport_url::Host;
    use super::*;

    /// The defaults of every option.
    pub(super) fn settings() -> RpcSettings {
        RpcSettings {
            hosts: vec![Host::guest()],
            vhost: "/".to_owned(),
            control_exchange: "nova".to_owned(),
            response_timeout: Duration::from_secs(60),
            rabbit: RabbitOptions {
                tls: None,
                login: Login::AmqPlain,
                heartbeat_s: 60,
                durable_exchange: false,
                auto_delete_exchange: false,
                ha_queues: false,
                reply_quorum: None,
                reply_queue_ttl_s: 1_800,
                prefetch: 0,
                cancel_on_failover: false,
                failover: Failover::RoundRobin,
                backoff: Backoff {
                    start: Duration::from_secs(1),
                    step: Duration::from_secs(2),
                    max: Duration::from_secs(30),
                },
                reconnect_delay: Duration::from_secs(1),
                reconnect_splay: Duration::ZERO,
            },
            compute_alt: false,
            serial_number_retry: false,
            reply_exchange: true,
            program: "nova-novncproxy",
        }
    }
}
