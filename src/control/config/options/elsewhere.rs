//! What other services of the same nova.conf read: accepted, listed, and otherwise left alone.

use super::machine::Fact;
use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::{ANY_FLOAT, ANY_INT, Kind};

const COMPUTE: &str = "nova-compute";
const API: &str = "nova-api, nova-conductor and nova-scheduler";
const ALL: &str = "several services of Nova";
const BUS_SERVERS: &str = "services that are servers on the message bus";
const NOTIFIERS: &str = "services that send notifications";
const CONSOLEAUTH: &str = "nova-consoleauth, until Nova 19 (Stein)";
const XVP: &str = "nova-xvpvncproxy, until Nova 20 (Train)";
const UNTIL_21: &str = "nova-compute, until Nova 21 (Ussuri)";
const UNTIL_28: &str = "nova-compute, until Nova 28 (2023.2)";
const XEN: &str = "nova-compute, until Nova 22 (Victoria)";

const KAFKA: &str = "oslo_messaging_kafka";
const NOTIFICATIONS: &str = "oslo_messaging_notifications";

const AT_LEAST_0: Kind = Kind::Int { min: 0, max: i64::MAX };

pub(super) static DECLARED: &[OptionDef] = &[
    // nova/conf/{base,netconf,paths,rpc,compute,xvp}.py and what they were
    option(DEFAULT, "host", Kind::HostDomain, "Name of this host in the database and on the message bus")
        .machine(Fact::HostName)
        .elsewhere(ALL),
    option(DEFAULT, "my_ip", Kind::Str, "Address of this host").machine(Fact::Address).elsewhere(ALL),
    option(DEFAULT, "pybasedir", Kind::Str, "Directory of Nova's Python modules")
        .default("/usr/lib/python3/dist-packages")
        .elsewhere(ALL),
    option(DEFAULT, "state_path", Kind::Str, "Directory of Nova's state")
        .default("$pybasedir")
        .elsewhere(ALL),
    option(DEFAULT, "tempdir", Kind::Str, "Directory of temporary files").elsewhere(COMPUTE),
    option(DEFAULT, "console_host", Kind::Str, "Name of the host that serves consoles")
        .machine(Fact::HostName)
        .elsewhere(COMPUTE),
    option(DEFAULT, "long_rpc_timeout", ANY_INT, "Seconds for requests that take long")
        .default("1800")
        .elsewhere(ALL),
    option(DEFAULT, "executor_thread_pool_size", ANY_INT, "Threads that answer requests")
        .default("64")
        .deprecated(&[(DEFAULT, "rpc_thread_pool_size")])
        .elsewhere(BUS_SERVERS),
    option(DEFAULT, "instance_delete_interval", ANY_INT, "Seconds between clean-ups, of expired tokens too")
        .default("300")
        .elsewhere(COMPUTE),
    option(DEFAULT, "verbose", Kind::Bool, "Log at INFO").elsewhere("the logging library, until 2016"),
    option(DEFAULT, "console_driver", Kind::Str, "Python class of the console driver").elsewhere(XEN),
    option(DEFAULT, "console_public_hostname", Kind::Str, "Name of the console host for browsers")
        .elsewhere(XEN),
    option(DEFAULT, "console_topic", Kind::Str, "Topic of nova-console").elsewhere(XEN),
    option(DEFAULT, "consoleauth_topic", Kind::Str, "Topic of nova-consoleauth").elsewhere(CONSOLEAUTH),
    option(DEFAULT, "consoleauth_manager", Kind::Str, "Python class of nova-consoleauth")
        .elsewhere(CONSOLEAUTH),
    option(DEFAULT, "memcached_servers", Kind::List, "Where tokens were kept")
        .default("")
        .elsewhere(CONSOLEAUTH),
    // nova/conf/consoleauth.py
    option("consoleauth", "token_ttl", AT_LEAST_0, "Seconds for which a token may be used")
        .default("600")
        .deprecated(&[(DEFAULT, "console_token_ttl")])
        .elsewhere(COMPUTE),
    // nova/conf/vnc.py
    option("vnc", "enabled", Kind::Bool, "Instances have VNC consoles")
        .default("true")
        .deprecated(&[(DEFAULT, "vnc_enabled")])
        .elsewhere(COMPUTE),
    option("vnc", "server_listen", Kind::HostAddress, "Address that VNC servers listen on")
        .default("127.0.0.1")
        .deprecated(&[(DEFAULT, "vncserver_listen"), ("vnc", "vncserver_listen")])
        .elsewhere(COMPUTE),
    option("vnc", "server_proxyclient_address", Kind::HostAddress, "Address that proxies connect to")
        .default("127.0.0.1")
        .deprecated(&[(DEFAULT, "vncserver_proxyclient_address"), ("vnc", "vncserver_proxyclient_address")])
        .elsewhere(COMPUTE),
    option("vnc", "novncproxy_base_url", Kind::Uri, "Where browsers find nova-novncproxy")
        .default("http://127.0.0.1:6080/vnc_auto.html")
        .deprecated(&[(DEFAULT, "novncproxy_base_url")])
        .elsewhere(COMPUTE),
    option("vnc", "keymap", Kind::Str, "Keyboard of instances")
        .deprecated(&[(DEFAULT, "vnc_keymap")])
        .elsewhere(UNTIL_21),
    option("vnc", "xvpvncproxy_host", Kind::HostAddress, "Address that it listens on")
        .default("0.0.0.0")
        .deprecated(&[(DEFAULT, "xvpvncproxy_host")])
        .elsewhere(XVP),
    option("vnc", "xvpvncproxy_port", Kind::Port, "Port that it listens on")
        .default("6081")
        .deprecated(&[(DEFAULT, "xvpvncproxy_port")])
        .elsewhere(XVP),
    option("vnc", "xvpvncproxy_base_url", Kind::Uri, "Where clients find it")
        .default("http://127.0.0.1:6081/console")
        .deprecated(&[(DEFAULT, "xvpvncproxy_base_url")])
        .elsewhere(XVP),
    // nova/conf/spice.py
    option("spice", "enabled", Kind::Bool, "Instances have SPICE consoles")
        .default("false")
        .elsewhere(COMPUTE),
    option("spice", "agent_enabled", Kind::Bool, "Instances have a SPICE agent")
        .default("true")
        .elsewhere(COMPUTE),
    option("spice", "server_listen", Kind::Str, "Address that SPICE servers listen on")
        .default("127.0.0.1")
        .elsewhere(COMPUTE),
    option("spice", "server_proxyclient_address", Kind::Str, "Address that proxies connect to")
        .default("127.0.0.1")
        .elsewhere(COMPUTE),
    option("spice", "html5proxy_base_url", Kind::Uri, "Where browsers find nova-spicehtml5proxy")
        .default("http://127.0.0.1:6082/spice_auto.html")
        .elsewhere(COMPUTE),
    option("spice", "spice_direct_proxy_base_url", Kind::Uri, "Where clients find a native SPICE proxy")
        .default("http://127.0.0.1:13002/nova")
        .elsewhere(COMPUTE),
    option("spice", "require_secure", Kind::Bool, "SPICE servers insist on TLS")
        .default("false")
        .elsewhere(COMPUTE),
    option(
        "spice",
        "image_compression",
        Kind::Choice(&["auto_glz", "auto_lz", "quic", "glz", "lz", "off"]),
        "Compression of images",
    )
    .elsewhere(COMPUTE),
    option("spice", "jpeg_compression", Kind::Choice(&["auto", "never", "always"]), "Lossy compression")
        .elsewhere(COMPUTE),
    option(
        "spice",
        "zlib_compression",
        Kind::Choice(&["auto", "never", "always"]),
        "Compression over slow links",
    )
    .elsewhere(COMPUTE),
    option("spice", "playback_compression", Kind::Bool, "Compression of sound").elsewhere(COMPUTE),
    option("spice", "streaming_mode", Kind::Choice(&["filter", "all", "off"]), "What is sent as video")
        .elsewhere(COMPUTE),
    option("spice", "keymap", Kind::Str, "Keyboard of instances").elsewhere(UNTIL_21),
    // nova/conf/serial_console.py
    option("serial_console", "enabled", Kind::Bool, "Instances have serial consoles")
        .default("false")
        .elsewhere(COMPUTE),
    option("serial_console", "port_range", Kind::PortRange, "Ports of serial consoles, as FIRST:LAST")
        .default("10000:20000")
        .elsewhere(COMPUTE),
    option("serial_console", "base_url", Kind::Uri, "Where clients find nova-serialproxy")
        .default("ws://127.0.0.1:6083/")
        .elsewhere(COMPUTE),
    option("serial_console", "proxyclient_address", Kind::Str, "Address that proxies connect to")
        .default("127.0.0.1")
        .elsewhere(COMPUTE),
    option("serial_console", "listen", Kind::Str, "Address that serial consoles listen on")
        .elsewhere("nova-compute, until Nova 14 (Newton)"),
    // nova/conf/{mks,ironic,vmware}.py, and those of hypervisors that are gone
    option("mks", "enabled", Kind::Bool, "Instances have MKS consoles").default("false").elsewhere(COMPUTE),
    option("mks", "mksproxy_base_url", Kind::WebUri, "Where browsers find the MKS proxy")
        .default("http://127.0.0.1:6090/")
        .elsewhere(COMPUTE),
    option("ironic", "vnc_console_state_timeout", AT_LEAST_0, "Seconds for a console of bare metal to start")
        .default("60")
        .elsewhere(COMPUTE),
    option("vmware", "vnc_port", Kind::Port, "First port of VNC servers").default("5900").elsewhere(COMPUTE),
    option("vmware", "vnc_port_total", AT_LEAST_0, "How many ports there are")
        .default("10000")
        .elsewhere(COMPUTE),
    option("vmware", "vnc_keymap", Kind::Str, "Keyboard of instances").default("en-us").elsewhere(COMPUTE),
    option("rdp", "enabled", Kind::Bool, "Instances have RDP consoles").elsewhere(UNTIL_28),
    option("rdp", "html5_proxy_base_url", Kind::Uri, "Where browsers find the RDP proxy").elsewhere(UNTIL_28),
    option("xenserver", "console_public_hostname", Kind::Str, "Name of the console host for browsers")
        .elsewhere(XEN),
    option("xvp", "console_xvp_conf_template", Kind::Str, "Template of xvp's configuration").elsewhere(XEN),
    option("xvp", "console_xvp_conf", Kind::Str, "xvp's configuration").elsewhere(XEN),
    option("xvp", "console_xvp_pid", Kind::Str, "File for the number of xvp's process").elsewhere(XEN),
    option("xvp", "console_xvp_log", Kind::Str, "xvp's log file").elsewhere(XEN),
    option("xvp", "console_xvp_multiplex_port", Kind::Port, "Port of xvp").elsewhere(XEN),
    // nova/conf/upgrade_levels.py
    option("upgrade_levels", "baseapi", Kind::Str, "Version of requests to all services").elsewhere(ALL),
    option("upgrade_levels", "conductor", Kind::Str, "Version of requests to nova-conductor").elsewhere(ALL),
    option("upgrade_levels", "scheduler", Kind::Str, "Version of requests to nova-scheduler").elsewhere(ALL),
    option("upgrade_levels", "consoleauth", Kind::Str, "Version of requests to nova-consoleauth")
        .elsewhere(CONSOLEAUTH),
    // oslo_messaging/notify/notifier.py
    option(NOTIFICATIONS, "driver", Kind::Multi, "How notifications are sent; may be repeated")
        .deprecated(&[(DEFAULT, "notification_driver")])
        .elsewhere(NOTIFIERS),
    option(NOTIFICATIONS, "transport_url", Kind::Str, "Message bus of notifications")
        .deprecated(&[(DEFAULT, "notification_transport_url")])
        .secret()
        .elsewhere(NOTIFIERS),
    option(NOTIFICATIONS, "topics", Kind::List, "Topics of notifications")
        .default("notifications")
        .deprecated(&[("rpc_notifier2", "topics"), (DEFAULT, "notification_topics")])
        .elsewhere(NOTIFIERS),
    option(NOTIFICATIONS, "retry", ANY_INT, "Attempts to send; -1 sets no limit")
        .default("-1")
        .elsewhere(NOTIFIERS),
    // oslo_messaging/_drivers/kafka_driver/kafka_options.py
    option(KAFKA, "kafka_max_fetch_bytes", ANY_INT, "Most bytes fetched at a time")
        .default("1048576")
        .elsewhere(NOTIFIERS),
    option(KAFKA, "kafka_consumer_timeout", ANY_FLOAT, "Seconds a consumer waits")
        .default("1.0")
        .elsewhere(NOTIFIERS),
    option(KAFKA, "consumer_group", Kind::Str, "Group of consumers")
        .default("oslo_messaging_consumer")
        .elsewhere(NOTIFIERS),
    option(KAFKA, "producer_batch_timeout", ANY_FLOAT, "Seconds for which messages are collected")
        .default("0.0")
        .elsewhere(NOTIFIERS),
    option(KAFKA, "producer_batch_size", ANY_INT, "Bytes that are collected")
        .default("16384")
        .elsewhere(NOTIFIERS),
    option(
        KAFKA,
        "compression_codec",
        Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        "Compression of messages",
    )
    .default("none")
    .elsewhere(NOTIFIERS),
    option(KAFKA, "enable_auto_commit", Kind::Bool, "Messages are taken as read")
        .default("false")
        .elsewhere(NOTIFIERS),
    option(KAFKA, "max_poll_records", ANY_INT, "Most messages fetched at a time")
        .default("500")
        .elsewhere(NOTIFIERS),
    option(
        KAFKA,
        "security_protocol",
        Kind::Choice(&["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"]),
        "How brokers are spoken to",
    )
    .default("PLAINTEXT")
    .elsewhere(NOTIFIERS),
    option(KAFKA, "sasl_mechanism", Kind::Str, "How to log in").default("PLAIN").elsewhere(NOTIFIERS),
    option(KAFKA, "ssl_cafile", Kind::Str, "Authorities of brokers, PEM").default("").elsewhere(NOTIFIERS),
    option(KAFKA, "ssl_client_cert_file", Kind::Str, "Certificate, PEM").default("").elsewhere(NOTIFIERS),
    option(KAFKA, "ssl_client_key_file", Kind::Str, "Private key, PEM").default("").elsewhere(NOTIFIERS),
    option(KAFKA, "ssl_client_key_password", Kind::Str, "Password of that key")
        .default("")
        .secret()
        .elsewhere(NOTIFIERS),
    // nova/conf/workarounds.py, in Rocky and Stein
    option("workarounds", "enable_consoleauth", Kind::Bool, "Ask nova-consoleauth for tokens first")
        .default("false")
        .no_effect("tokens are looked up in the cell database, where Rocky and Stein write them too"),
];

/// `[api_database]` has the options of `[database]` (`nova/conf/database.py`).
pub(super) fn api_database(database: &'static [OptionDef]) -> impl Iterator<Item = OptionDef> {
    database
        .iter()
        .map(|option| OptionDef { group: "api_database", deprecated: &[], ..option.clone() }.elsewhere(API))
}
