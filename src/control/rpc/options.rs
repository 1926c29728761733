//! What the operator decided about the message bus, as types.

use std::path::PathBuf;
use std::time::Duration;

use super::hosts::{Backoff, Failover};
use super::transport_url::Host;

/// Everything the RPC client needs to know.
#[derive(Clone, Debug)]
pub struct RpcSettings {
    /// The brokers of `[DEFAULT] transport_url`; never empty
    pub hosts: Vec<Host>,
    /// Its virtual host
    pub vhost: String,
    /// `[DEFAULT] control_exchange`
    pub control_exchange: String,
    /// `[DEFAULT] rpc_response_timeout`
    pub response_timeout: Duration,
    /// `[oslo_messaging_rabbit]`
    pub rabbit: RabbitOptions,
    /// Whether the topic `compute-alt` is tried first: nova-compute from 2026.1 on goes on answering there
    /// while it shuts down
    pub compute_alt: bool,
    /// `[consolegate] rpc_serial_number_retry`
    pub serial_number_retry: bool,
    /// `[consolegate] rpc_reply_exchange`
    pub reply_exchange: bool,
    /// How the connection is called in `rabbitmqctl list_connections`, less pid and a unique part
    pub program: &'static str,
}

/// `[oslo_messaging_rabbit]`, as far as a client is concerned.
#[derive(Clone, Debug)]
pub struct RabbitOptions {
    /// How to talk TLS, if at all
    pub tls: Option<TlsOptions>,
    /// `rabbit_login_method`
    pub login: Login,
    /// `heartbeat_timeout_threshold`, in seconds; 0 is none
    pub heartbeat_s: u16,
    /// `amqp_durable_queues` or `rabbit_quorum_queue`: the control exchange is durable
    pub durable_exchange: bool,
    /// `amqp_auto_delete`: the control exchange goes with its last queue
    pub auto_delete_exchange: bool,
    /// `rabbit_ha_queues`: queues are mirrored, on brokers that still read it from arguments
    pub ha_queues: bool,
    /// `rabbit_transient_quorum_queue`: the reply queue is a quorum queue, with these limits
    pub reply_quorum: Option<QuorumLimits>,
    /// `rabbit_transient_queues_ttl`, in seconds; 0 is none
    pub reply_queue_ttl_s: u32,
    /// `rabbit_qos_prefetch_count`; 0 is not asked for
    pub prefetch: u16,
    /// `enable_cancel_on_failover`
    pub cancel_on_failover: bool,
    /// `kombu_failover_strategy`
    pub failover: Failover,
    /// `rabbit_retry_interval`, `rabbit_retry_backoff`, `rabbit_interval_max`
    pub backoff: Backoff,
    /// `kombu_reconnect_delay`
    pub reconnect_delay: Duration,
    /// `kombu_reconnect_splay`: up to this much more, by chance
    pub reconnect_splay: Duration,
}

/// `rabbit_quorum_delivery_limit`, `rabbit_quorum_max_memory_length` and `rabbit_quorum_max_memory_bytes`; 0 is
/// not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumLimits {
    /// Deliveries of one message
    pub delivery_limit: i32,
    /// Messages in memory
    pub max_memory_length: i32,
    /// Bytes in memory
    pub max_memory_bytes: i32,
}

/// `rabbit_login_method`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// `AMQPLAIN`
    AmqPlain,
    /// `PLAIN`
    Plain,
    /// `EXTERNAL`: the client certificate tells who we are
    External,
    /// `RABBIT-CR-DEMO`
    RabbitCrDemo,
}

/// The `ssl_*` options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// `ssl_ca_file`; the system's authorities without it
    pub ca_file: Option<PathBuf>,
    /// `ssl_cert_file`
    pub cert_file: Option<PathBuf>,
    /// `ssl_key_file`; in `cert_file` without it
    pub key_file: Option<PathBuf>,
    /// `ssl_enforce_hostname_verification`, which says nothing of the system's authorities: with those
    /// oslo.messaging never compared the name
    pub verify_name: bool,
    /// `ssl_version` = `TLSv1_2`
    pub only_tls12: bool,
}
