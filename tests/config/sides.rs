//! Which options and names only one side has: a new release of Nova shows here first.

use std::collections::{BTreeMap, BTreeSet};

use consolegate::control::config::{OWN, options};

use super::peer::{known, name_of};

/// Options of releases that are gone.
const ONLY_OURS: &[&str] = &[
    "DEFAULT.console_driver",
    "DEFAULT.console_public_hostname",
    "DEFAULT.console_topic",
    "DEFAULT.consoleauth_manager",
    "DEFAULT.consoleauth_topic",
    "DEFAULT.memcached_servers",
    "DEFAULT.verbose",
    "api_database.use_db_reconnect",
    "database.use_db_reconnect",
    "oslo_messaging_rabbit.heartbeat_in_pthread",
    "oslo_messaging_rabbit.rabbit_host",
    "oslo_messaging_rabbit.rabbit_hosts",
    "oslo_messaging_rabbit.rabbit_password",
    "oslo_messaging_rabbit.rabbit_port",
    "oslo_messaging_rabbit.rabbit_userid",
    "oslo_messaging_rabbit.rabbit_virtual_host",
    "rdp.enabled",
    "rdp.html5_proxy_base_url",
    "serial_console.listen",
    "spice.keymap",
    "upgrade_levels.consoleauth",
    "vnc.keymap",
    "vnc.xvpvncproxy_base_url",
    "vnc.xvpvncproxy_host",
    "vnc.xvpvncproxy_port",
    "workarounds.enable_consoleauth",
    "xenserver.console_public_hostname",
    "xvp.console_xvp_conf",
    "xvp.console_xvp_conf_template",
    "xvp.console_xvp_log",
    "xvp.console_xvp_multiplex_port",
    "xvp.console_xvp_pid",
];

/// Names that Nova or its libraries have dropped, still read here, and the options that they are names of.
const RETIRED: &[(&str, &str)] = &[
    ("DEFAULT.amqp_auto_delete", "oslo_messaging_rabbit.amqp_auto_delete"),
    ("DEFAULT.amqp_durable_queues", "oslo_messaging_rabbit.amqp_durable_queues"),
    ("DEFAULT.db_backend", "database.backend"),
    ("DEFAULT.html5proxy_host", "spice.html5proxy_host"),
    ("DEFAULT.html5proxy_port", "spice.html5proxy_port"),
    ("DEFAULT.kombu_reconnect_delay", "oslo_messaging_rabbit.kombu_reconnect_delay"),
    ("DEFAULT.kombu_ssl_ca_certs", "oslo_messaging_rabbit.ssl_ca_file"),
    ("DEFAULT.kombu_ssl_certfile", "oslo_messaging_rabbit.ssl_cert_file"),
    ("DEFAULT.kombu_ssl_keyfile", "oslo_messaging_rabbit.ssl_key_file"),
    ("DEFAULT.kombu_ssl_version", "oslo_messaging_rabbit.ssl_version"),
    ("DEFAULT.log-config", "DEFAULT.log_config_append"),
    ("DEFAULT.notification_driver", "oslo_messaging_notifications.driver"),
    ("DEFAULT.notification_topics", "oslo_messaging_notifications.topics"),
    ("DEFAULT.notification_transport_url", "oslo_messaging_notifications.transport_url"),
    ("DEFAULT.rabbit_durable_queues", "oslo_messaging_rabbit.amqp_durable_queues"),
    ("DEFAULT.rabbit_ha_queues", "oslo_messaging_rabbit.rabbit_ha_queues"),
    ("DEFAULT.rabbit_login_method", "oslo_messaging_rabbit.rabbit_login_method"),
    ("DEFAULT.rabbit_retry_backoff", "oslo_messaging_rabbit.rabbit_retry_backoff"),
    ("DEFAULT.rabbit_retry_interval", "oslo_messaging_rabbit.rabbit_retry_interval"),
    ("DEFAULT.rabbit_use_ssl", "oslo_messaging_rabbit.ssl"),
    ("DEFAULT.rpc_conn_pool_size", "oslo_messaging_rabbit.rpc_conn_pool_size"),
    ("DEFAULT.spicehtml5proxy_host", "spice.html5proxy_host"),
    ("DEFAULT.spicehtml5proxy_port", "spice.html5proxy_port"),
    ("DEFAULT.sql_connection", "database.connection"),
    ("DEFAULT.sql_idle_timeout", "database.connection_recycle_time"),
    ("DEFAULT.sql_max_pool_size", "database.max_pool_size"),
    ("DEFAULT.sql_max_retries", "database.max_retries"),
    ("DEFAULT.sql_retry_interval", "database.retry_interval"),
    ("DEFAULT.vncserver_listen", "vnc.server_listen"),
    ("DEFAULT.vncserver_proxyclient_address", "vnc.server_proxyclient_address"),
    ("database.idle_timeout", "database.connection_recycle_time"),
    ("database.reconnect_interval", "database.retry_interval"),
    ("database.sql_connection", "database.connection"),
    ("database.sql_idle_timeout", "database.connection_recycle_time"),
    ("database.sql_max_pool_size", "database.max_pool_size"),
    ("database.sql_max_retries", "database.max_retries"),
    ("oslo_messaging_rabbit.direct_mandatory_flag_enabled", "oslo_messaging_rabbit.direct_mandatory_flag"),
    ("oslo_messaging_rabbit.kombu_ssl_ca_certs", "oslo_messaging_rabbit.ssl_ca_file"),
    ("oslo_messaging_rabbit.kombu_ssl_certfile", "oslo_messaging_rabbit.ssl_cert_file"),
    ("oslo_messaging_rabbit.kombu_ssl_keyfile", "oslo_messaging_rabbit.ssl_key_file"),
    ("oslo_messaging_rabbit.kombu_ssl_version", "oslo_messaging_rabbit.ssl_version"),
    ("oslo_messaging_rabbit.rabbit_durable_queues", "oslo_messaging_rabbit.amqp_durable_queues"),
    (
        "oslo_messaging_rabbit.rabbit_quroum_max_memory_bytes",
        "oslo_messaging_rabbit.rabbit_quorum_max_memory_bytes",
    ),
    (
        "oslo_messaging_rabbit.rabbit_quroum_max_memory_length",
        "oslo_messaging_rabbit.rabbit_quorum_max_memory_length",
    ),
    ("oslo_messaging_rabbit.rabbit_use_ssl", "oslo_messaging_rabbit.ssl"),
    ("rpc_notifier2.topics", "oslo_messaging_notifications.topics"),
    ("sql.connection", "database.connection"),
    ("vnc.vncserver_listen", "vnc.server_listen"),
    ("vnc.vncserver_proxyclient_address", "vnc.server_proxyclient_address"),
];

/// Nova's options that nothing here declares: no proxy reads them.
const ONLY_NOVAS: &str = include_str!("only_novas.txt");

#[test]
fn what_only_one_side_has_is_listed() {
    let known = known();
    let ours = || options().iter().filter(|option| option.group != OWN);
    let shown = |(group, name): &(String, String)| format!("{group}.{name}");

    let only_ours: BTreeSet<String> =
        ours().map(name_of).filter(|name| !known.contains_key(name)).map(|name| shown(&name)).collect();
    assert_eq!(only_ours, ONLY_OURS.iter().map(|one| (*one).to_owned()).collect());

    let mut retired = BTreeSet::new();
    for option in ours() {
        let Some(novas) = known.get(&name_of(option)) else { continue };
        let old = option.deprecated.iter().map(|(group, name)| ((*group).to_owned(), (*name).to_owned()));
        let names: BTreeSet<_> = old.chain([name_of(option)]).collect();
        let missing = novas.difference(&names).next();
        assert_eq!(missing, None, "Nova reads [{}] {} under this name too", option.group, option.name);
        let new = shown(&name_of(option));
        retired.extend(names.difference(novas).map(|old| (shown(old), new.clone())));
    }
    let listed = RETIRED.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
    assert_eq!(retired, listed.collect());

    let mut only_novas: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let declared: BTreeSet<_> = ours().map(name_of).collect();
    for (group, name) in known.keys().filter(|name| !declared.contains(name)) {
        only_novas.entry(group).or_default().insert(name);
    }
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut group = "";
    for line in ONLY_NOVAS.lines() {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => group = name,
            None => listed.entry(group).or_default().extend(line.split(' ')),
        }
    }
    assert_eq!(only_novas, listed);
}
