//! The message bus (`oslo_messaging/conffixture.py` lists where its options are registered).
//!
//! The query of `transport_url` may set every option of `[oslo_messaging_rabbit]`, and wins over the files.

use super::{DEFAULT, OWN, OptionDef, option};
use crate::control::config::values::{ANY_INT, Kind};

/// Group of RabbitMQ's options.
pub(in crate::control::config) const RABBIT: &str = "oslo_messaging_rabbit";

const AT_LEAST_0: Kind = Kind::Int { min: 0, max: i64::MAX };
const AT_LEAST_1: Kind = Kind::Int { min: 1, max: i64::MAX };

const ONE_CONNECTION: &str = "this program has one connection to the bus";
const NO_SERVER: &str = "it concerns servers, and this program is a client";
const OWN_NAME: &str = "the reply queue's name is made of random digits, as without the queue manager";

pub(super) static DECLARED: &[OptionDef] = &[
    option(DEFAULT, "transport_url", Kind::Str, "Message bus of the cell: rabbit://user:password@host:port/vhost")
        .default("rabbit://")
        .secret(),
    option(DEFAULT, "control_exchange", Kind::Str, "Exchange that requests are published to").default("nova"),
    option(DEFAULT, "rpc_response_timeout", ANY_INT, "Seconds for the token and the port check").default("60"),
    option(DEFAULT, "rpc_ping_enabled", Kind::Bool, "Answer pings").default("false").no_effect(NO_SERVER),
    option(
        "upgrade_levels",
        "compute",
        Kind::Str,
        "From gazpacho (6.5) on the topic compute-alt is tried first; else without effect, as 5.0 is sent to all",
    ),
    // oslo_messaging/_drivers/impl_rabbit.py
    option(RABBIT, "ssl", Kind::Bool, "TLS to the broker")
        .default("false")
        .deprecated(&[(RABBIT, "rabbit_use_ssl"), (DEFAULT, "rabbit_use_ssl")]),
    option(RABBIT, "ssl_version", Kind::Str, "Oldest and newest TLS at once: TLSv1_2; empty negotiates")
        .default("")
        .deprecated(&[(RABBIT, "kombu_ssl_version"), (DEFAULT, "kombu_ssl_version")]),
    option(RABBIT, "ssl_key_file", Kind::Str, "Private key shown to the broker, PEM")
        .default("")
        .deprecated(&[(RABBIT, "kombu_ssl_keyfile"), (DEFAULT, "kombu_ssl_keyfile")]),
    option(RABBIT, "ssl_cert_file", Kind::Str, "Certificate shown to the broker, PEM")
        .default("")
        .deprecated(&[(RABBIT, "kombu_ssl_certfile"), (DEFAULT, "kombu_ssl_certfile")]),
    option(RABBIT, "ssl_ca_file", Kind::Str, "Authorities that sign brokers' certificates, PEM; empty takes the system's")
        .default("")
        .deprecated(&[(RABBIT, "kombu_ssl_ca_certs"), (DEFAULT, "kombu_ssl_ca_certs")]),
    option(
        RABBIT,
        "ssl_enforce_hostname_verification",
        Kind::Bool,
        "With ssl_ca_file: compare the broker's name with its certificate",
    )
    .default("true"),
    option(RABBIT, "ssl_enforce_fips_mode", Kind::Bool, "FIPS mode of Python's OpenSSL")
        .default("false")
        .no_effect("the TLS library is not OpenSSL"),
    option(RABBIT, "rabbit_login_method", Kind::Choice(&["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"]), "How to log in")
        .default("AMQPLAIN")
        .deprecated(&[(DEFAULT, "rabbit_login_method")]),
    option(RABBIT, "heartbeat_timeout_threshold", ANY_INT, "Seconds of silence after which a broker is lost; 0 is never")
        .default("60"),
    option(RABBIT, "heartbeat_rate", ANY_INT, "Checks in that time")
        .default("3")
        .no_effect("heartbeats are sent at half their interval"),
    option(RABBIT, "heartbeat_in_pthread", Kind::Bool, "Heartbeats from a thread of their own")
        .default("false")
        .no_effect("this program has one way of working"),
    option(RABBIT, "amqp_durable_queues", Kind::Bool, "The control exchange is durable")
        .default("false")
        .deprecated(&[(DEFAULT, "amqp_durable_queues"), (DEFAULT, "rabbit_durable_queues"), (RABBIT, "rabbit_durable_queues")]),
    option(RABBIT, "amqp_auto_delete", Kind::Bool, "The control exchange goes with its last queue")
        .default("false")
        .deprecated(&[(DEFAULT, "amqp_auto_delete")]),
    option(RABBIT, "rabbit_ha_queues", Kind::Bool, "Ask for mirrored queues")
        .default("false")
        .deprecated(&[(DEFAULT, "rabbit_ha_queues")]),
    option(RABBIT, "rabbit_quorum_queue", Kind::Bool, "Quorum queues; the control exchange is durable").default("false"),
    option(RABBIT, "rabbit_transient_quorum_queue", Kind::Bool, "The reply queue is a quorum queue").default("false"),
    option(RABBIT, "rabbit_quorum_delivery_limit", ANY_INT, "x-delivery-limit of quorum queues; 0 is none").default("0"),
    option(RABBIT, "rabbit_quorum_max_memory_length", ANY_INT, "x-max-in-memory-length of quorum queues; 0 is none")
        .default("0")
        .deprecated(&[(RABBIT, "rabbit_quroum_max_memory_length")]),
    option(RABBIT, "rabbit_quorum_max_memory_bytes", ANY_INT, "x-max-in-memory-bytes of quorum queues; 0 is none")
        .default("0")
        .deprecated(&[(RABBIT, "rabbit_quroum_max_memory_bytes")]),
    option(RABBIT, "rabbit_transient_queues_ttl", AT_LEAST_0, "Seconds after which an unused reply queue goes; 0 is never")
        .default("1800"),
    option(RABBIT, "rabbit_stream_fanout", Kind::Bool, "Fanout queues are streams; only checked, as no fanout is read")
        .default("false"),
    option(RABBIT, "rabbit_qos_prefetch_count", ANY_INT, "Replies on their way at a time; 0 leaves it to us").default("0"),
    option(RABBIT, "enable_cancel_on_failover", Kind::Bool, "Be told when the reply queue moves in the cluster")
        .default("false"),
    option(RABBIT, "use_queue_manager", Kind::Bool, "Fixed names of queues").default("false").no_effect(OWN_NAME),
    option(RABBIT, "hostname", Kind::Str, "Host in fixed names of queues").no_effect(OWN_NAME),
    option(RABBIT, "processname", Kind::Str, "Process in fixed names of queues").no_effect(OWN_NAME),
    option(RABBIT, "direct_mandatory_flag", Kind::Bool, "Replies are published as mandatory")
        .default("true")
        .deprecated(&[(RABBIT, "direct_mandatory_flag_enabled")])
        .no_effect(NO_SERVER),
    option(RABBIT, "kombu_compression", Kind::Str, "Compression of requests")
        .no_effect("requests are small and sent as they are; compressed replies are read"),
    option(RABBIT, "kombu_missing_consumer_retry_timeout", ANY_INT, "Seconds for which a reply is retried")
        .default("60")
        .deprecated(&[(RABBIT, "kombu_reconnect_timeout")])
        .no_effect(NO_SERVER),
    option(RABBIT, "kombu_failover_strategy", Kind::Choice(&["round-robin", "shuffle"]), "Order of brokers")
        .default("round-robin"),
    option(RABBIT, "kombu_reconnect_delay", Kind::Float { min: 0.0, max: 4.5 }, "Seconds before a lost connection is made again")
        .default("1.0")
        .deprecated(&[(DEFAULT, "kombu_reconnect_delay")]),
    option(RABBIT, "kombu_reconnect_splay", Kind::Float { min: 0.0, max: f64::INFINITY }, "Up to this many seconds more, by chance").default("0.0"),
    option(RABBIT, "rabbit_retry_interval", AT_LEAST_1, "Seconds after the first time that no broker could be reached")
        .default("1")
        .deprecated(&[(DEFAULT, "rabbit_retry_interval")]),
    option(RABBIT, "rabbit_retry_backoff", AT_LEAST_0, "Seconds by which that grows each time")
        .default("2")
        .deprecated(&[(DEFAULT, "rabbit_retry_backoff")]),
    option(RABBIT, "rabbit_interval_max", AT_LEAST_1, "Most seconds it grows to").default("30"),
    // oslo_messaging/_drivers/pool.py
    option(RABBIT, "rpc_conn_pool_size", AT_LEAST_1, "Connections for requests")
        .default("30")
        .deprecated(&[(DEFAULT, "rpc_conn_pool_size")])
        .no_effect(ONE_CONNECTION),
    option(RABBIT, "conn_pool_min_size", ANY_INT, "Connections that are kept").default("2").no_effect(ONE_CONNECTION),
    option(RABBIT, "conn_pool_ttl", ANY_INT, "Seconds for which they are").default("1200").no_effect(ONE_CONNECTION),
    // Until Rocky: where the bus is when transport_url names no host.
    option(RABBIT, "rabbit_host", Kind::Str, "Broker, when transport_url and rabbit_hosts name none")
        .deprecated(&[(DEFAULT, "rabbit_host")]),
    option(RABBIT, "rabbit_port", Kind::Port, "Its port").deprecated(&[(DEFAULT, "rabbit_port")]),
    option(RABBIT, "rabbit_hosts", Kind::List, "Brokers, when transport_url names none")
        .deprecated(&[(DEFAULT, "rabbit_hosts")]),
    option(RABBIT, "rabbit_userid", Kind::Str, "User for them").deprecated(&[(DEFAULT, "rabbit_userid")]),
    option(RABBIT, "rabbit_password", Kind::Str, "Password for them")
        .deprecated(&[(DEFAULT, "rabbit_password")])
        .secret(),
    option(RABBIT, "rabbit_virtual_host", Kind::Str, "Virtual host, when transport_url names none")
        .deprecated(&[(DEFAULT, "rabbit_virtual_host")]),
    // ours
    option(
        OWN,
        "rpc_reply_exchange",
        Kind::Bool,
        "Declare the exchange that computes up to Rocky publish their replies to",
    )
    .default("true"),
    option(
        OWN,
        "rpc_serial_number_retry",
        Kind::Bool,
        "Ask again with the port as a number when a compute refuses a serial console, for Queens and early Rocky",
    )
    .default("false"),
];
