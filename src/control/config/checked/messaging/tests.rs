//! What a configuration file makes of the message bus.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::control::PortCheck;
use crate::control::config::{Config, load};

/// The configuration of a file with this text.
fn config(text: &str) -> Result<Config, Exit> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("consolegate-messaging-{}-{number}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let argv = ["nova-serialproxy", "--config-file"].map(OsString::from);
    let argv: Vec<_> = argv.into_iter().chain([path.clone().into_os_string()]).collect();
    let config = load(&argv, &|_| None);
    std::fs::remove_file(path).unwrap();
    config
}

fn rpc(text: &str) -> RpcSettings {
    match config(text).unwrap().port_check {
        PortCheck::Rpc(settings) => *settings,
        PortCheck::Off => panic!("the port is not checked"),
    }
}

fn rabbit(options: &str) -> RabbitOptions {
    rpc(&format!("[oslo_messaging_rabbit]\n{options}")).rabbit
}

fn error(text: &str) -> String {
    config(text).unwrap_err().stderr
}

fn names(settings: &RpcSettings) -> Vec<String> {
    settings.hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_oslo_messagings_but_for_the_exchange_which_is_novas() {
    let settings = rpc("");
    assert_eq!(names(&settings), ["localhost:5672"]);
    assert_eq!(
        (settings.hosts[0].user.as_str(), settings.hosts[0].password.expose()),
        ("guest", &b"guest"[..])
    );
    assert_eq!((settings.vhost.as_str(), settings.control_exchange.as_str()), ("/", "nova"));
    assert_eq!(settings.response_timeout, Duration::from_secs(60));
    assert!(settings.reply_exchange && !settings.compute_alt && !settings.serial_number_retry);
    let rabbit = settings.rabbit;
    assert_eq!((rabbit.tls, rabbit.login, rabbit.heartbeat_s), (None, Login::AmqPlain, 60));
    assert!(!rabbit.durable_exchange && !rabbit.auto_delete_exchange && !rabbit.ha_queues);
    assert_eq!((rabbit.reply_quorum, rabbit.reply_queue_ttl_s, rabbit.prefetch), (None, 1_800, 0));
    let backoff = rabbit.backoff;
    assert_eq!([backoff.start, backoff.step, backoff.max].map(|time| time.as_secs()), [1, 2, 30]);
    assert_eq!((rabbit.reconnect_delay, rabbit.reconnect_splay), (Duration::from_secs(1), Duration::ZERO));
}

#[test]
fn the_urls_query_wins_over_the_files() {
    let settings = rpc("[DEFAULT]\ncontrol_exchange = other\n\
         transport_url = rabbit://u:p@ctl/v?heartbeat_timeout_threshold=17&kombu_reconnect_delay=0.5\n\
         [oslo_messaging_rabbit]\nheartbeat_timeout_threshold = 4\nrabbit_interval_max = 7\n");
    assert_eq!((settings.vhost.as_str(), settings.control_exchange.as_str()), ("v", "other"));
    assert_eq!(settings.rabbit.heartbeat_s, 17);
    assert_eq!(settings.rabbit.reconnect_delay, Duration::from_millis(500));
    assert_eq!(settings.rabbit.backoff.max, Duration::from_secs(7));
}

#[test]
fn a_query_that_sets_no_option_or_no_value_of_its_is_refused_without_the_value() {
    let url = |query: &str| error(&format!("[DEFAULT]\ntransport_url = rabbit://u:pa55@ctl/?{query}\n"));
    let unknown = url("hertbeat=pa55");
    assert!(unknown.contains("hertbeat") && !unknown.contains("pa55"), "{unknown}");
    let unfit = url("ssl=pa55");
    assert!(unfit.contains("ssl") && !unfit.contains("pa55"), "{unfit}");
}

#[test]
fn urls_that_cannot_be_used_end_the_start_unless_nobody_would_use_them() {
    for url in ["amqp://u:pa55@ctl/", "kafka://u:pa55@ctl/", "u:pa55@ctl", "rabbit://u:pa55@ctl:port/"] {
        let text = format!("[DEFAULT]\ntransport_url = {url}\n");
        let message = error(&text);
        assert!(message.contains("transport_url") && !message.contains("pa55"), "{message}");
        assert!(config(&format!("{text}[consolegate]\nport_check = off\n")).is_ok());
    }
}

#[test]
fn old_names_and_groups_are_read() {
    let settings = rpc(
        "[DEFAULT]\namqp_durable_queues = true\nrabbit_ha_queues = true\nkombu_reconnect_delay = 2.5\n\
         rabbit_login_method = PLAIN\nrabbit_retry_backoff = 4\n\
         [oslo_messaging_rabbit]\nrabbit_use_ssl = true\nkombu_ssl_ca_certs = /ca\nkombu_ssl_certfile = /cert\n\
         kombu_ssl_keyfile = /key\nkombu_ssl_version = tlsv1_2\nrabbit_quroum_max_memory_length = 9\n\
         rabbit_transient_quorum_queue = true\n",
    );
    let rabbit = settings.rabbit;
    assert!(rabbit.durable_exchange && rabbit.ha_queues);
    assert_eq!((rabbit.login, rabbit.reconnect_delay), (Login::Plain, Duration::from_millis(2_500)));
    assert_eq!(rabbit.backoff.step, Duration::from_secs(4));
    assert_eq!(rabbit.reply_quorum.unwrap().max_memory_length, 9);
    let expected = TlsOptions {
        ca_file: Some("/ca".into()),
        cert_file: Some("/cert".into()),
        key_file: Some("/key".into()),
        verify_name: true,
        only_tls12: true,
    };
    assert_eq!(rabbit.tls, Some(expected));
}

#[test]
fn old_options_name_the_bus_where_the_url_does_not() {
    let old = "[oslo_messaging_rabbit]\nrabbit_port = 5673\nrabbit_userid = nova\nrabbit_password = pa55\n\
               rabbit_virtual_host = cell\n";
    let settings = rpc(&format!("[DEFAULT]\nrabbit_host = ctl\n{old}"));
    assert_eq!(names(&settings), ["ctl:5673"]);
    assert_eq!((settings.hosts[0].user.as_str(), settings.vhost.as_str()), ("nova", "cell"));
    assert_eq!(settings.hosts[0].password.expose(), b"pa55");
    let settings = rpc(&format!("{old}rabbit_hosts = one, two:1\n"));
    assert_eq!(names(&settings), ["one:5673", "two:1"]);
    let settings = rpc(&format!("[DEFAULT]\ntransport_url = rabbit://u:p@new/v\n{old}"));
    assert_eq!((names(&settings), settings.vhost.as_str()), (vec!["new:5672".to_owned()], "v"));
}

#[test]
fn the_pairs_that_oslo_messaging_refuses_are_refused() {
    for (options, name) in [
        ("rabbit_quorum_queue = 1\nrabbit_ha_queues = 1", "rabbit_ha_queues"),
        ("rabbit_stream_fanout = 1\nrabbit_transient_quorum_queue = 1", "rabbit_qos_prefetch_count"),
        ("rabbit_stream_fanout = 1\nrabbit_qos_prefetch_count = 9", "rabbit_transient_quorum_queue"),
    ] {
        let message = error(&format!("[oslo_messaging_rabbit]\n{options}\n"));
        assert!(message.contains(name), "{message}");
    }
    let stream =
        rabbit("rabbit_stream_fanout=1\nrabbit_qos_prefetch_count=9\nrabbit_transient_quorum_queue=1\n");
    assert_eq!((stream.prefetch, stream.reply_quorum), (9, Some(QuorumLimits::default())));
}

#[test]
fn a_quorum_queue_makes_the_exchange_durable_but_not_the_reply_queue() {
    let quorum = rabbit("rabbit_quorum_queue = true\n");
    assert!(quorum.durable_exchange && quorum.reply_quorum.is_none());
}

#[test]
fn tls_versions_are_mapped_or_refused() {
    let tls = |version: &str| {
        rabbit(&format!("ssl = 1\nssl_ca_file = /ca\nssl_version = {version}\n")).tls.unwrap()
    };
    assert!(!tls("").only_tls12 && !tls("SSLv23").only_tls12 && tls("TLSv1_2").only_tls12);
    for version in ["TLSv1", "tlsv1_1", "SSLv2", "SSLv3", "TLSv9"] {
        let message = error(&format!("[oslo_messaging_rabbit]\nssl = 1\nssl_version = {version}\n"));
        assert!(message.contains("ssl_version") && message.contains(version), "{message}");
    }
}

#[test]
fn tls_without_an_authority_is_warned_of() {
    let warnings = |options: &str| config(&format!("[oslo_messaging_rabbit]\n{options}")).unwrap().warnings;
    let count =
        |warnings: Vec<String>| warnings.iter().filter(|warning| warning.contains("ssl_ca_file")).count();
    assert_eq!(count(warnings("ssl = true\n")), 1);
    assert_eq!(count(warnings("ssl = true\nssl_ca_file = /ca\n")), 0);
}

#[test]
fn compute_alt_needs_a_level_that_says_so() {
    for (level, expected) in [
        ("", false),
        ("auto", false),
        ("queens", false),
        ("flamingo", false),
        ("6.4", false),
        ("5.13", false),
        ("7.5", false),
        ("gazpacho", true),
        ("6.5", true),
        ("6.10", true),
    ] {
        let settings = rpc(&format!("[upgrade_levels]\ncompute = {level}\n"));
        assert_eq!(settings.compute_alt, expected, "{level:?}");
    }
}

#[test]
fn numbers_out_of_range_are_taken_to_its_end() {
    let rabbit = rabbit("heartbeat_timeout_threshold = 1000000\nrabbit_qos_prefetch_count = -1\n");
    assert_eq!((rabbit.heartbeat_s, rabbit.prefetch), (u16::MAX, 0));
    assert!(
        error("[oslo_messaging_rabbit]\nkombu_reconnect_delay = soon\n").contains("kombu_reconnect_delay")
    );
}

#[test]
fn hosts_with_and_without_credentials_are_warned_of() {
    let warnings = |url: &str| config(&format!("[DEFAULT]\ntransport_url = {url}\n")).unwrap().warnings;
    assert!(
        warnings("rabbit://u:p@one,two/").iter().any(|warning| warning.starts_with("All hosts must be set"))
    );
    assert!(!warnings("rabbit://u:p@one,u:p@two/").iter().any(|warning| warning.starts_with("All hosts")));
}
