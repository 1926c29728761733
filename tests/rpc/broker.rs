//! Connections: how we log in, what we declare, how brokers fail that cannot be used.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use consolegate::control::rpc::{CallError, probe};

use crate::peers::{
    Log, Peer, ask, ask_once, broker, defaults, run, settings, uuid, wait_until, with_client,
};

const SECONDS: u64 = 60;

/// The URL of the shared broker, with these changes.
fn url(user: &str, password: &str, vhost: &str) -> String {
    format!("rabbit://{user}:{password}@127.0.0.1:{}/{vhost}", broker().text("/port"))
}

fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The line of `ctl ARGUMENTS` that contains `text`.
fn listed(arguments: &str, text: &str) -> Option<Vec<String>> {
    let output = broker().command(&format!("ctl {arguments}"));
    let mut lines = output.as_str().unwrap().lines();
    let line = lines.find(|line| line.contains(text))?;
    Some(line.split('\t').map(str::to_owned).collect())
}

#[test]
fn each_way_to_log_in_works() {
    let (peer, uuid) = (Peer::shared(), uuid());
    for method in ["AMQPLAIN", "PLAIN"] {
        let settings = settings(&broker().text("/url"), "", &format!("rabbit_login_method = {method}"), "");
        assert!(ask_once(settings, &peer.host, &uuid, SECONDS).unwrap(), "{method}");
    }
}

#[test]
fn a_refused_login_fails_at_once_and_is_named_without_the_password() {
    let settings = settings(&url("nova", "wrong-pa55", "nova"), "", "", "");
    let started = Instant::now();
    let (failed, log) = Log::of(|| ask_once(settings, "host1", &uuid(), 600).unwrap_err());
    assert!(matches!(failed, CallError::Refused(_)), "{failed}");
    assert!(started.elapsed() < Duration::from_secs(SECONDS));
    let text = format!("{failed}\n{log}");
    assert!(text.contains("ACCESS_REFUSED") && !text.contains("wrong-pa55"), "{text}");
    assert!(log.starts_with("ERROR"), "{log}");
}

#[test]
fn an_unknown_virtual_host_is_named() {
    let settings = settings(&url("nova", "pa55-wort", "nowhere"), "", "", "");
    let (failed, log) = Log::of(|| ask_once(settings, "host1", &uuid(), 600).unwrap_err());
    assert!(matches!(failed, CallError::Refused(_)), "{failed}");
    assert!(log.contains("530") && log.contains("nowhere"), "{log}");
}

#[test]
fn a_dead_first_host_costs_no_pause() {
    let port = broker().text("/port");
    let dead = dead_port();
    let url = format!("rabbit://nova:pa55-wort@127.0.0.1:{dead},nova:pa55-wort@127.0.0.1:{port}/nova");
    // The order is ours by chance: until the dead one came first.
    for _ in 0..40 {
        // A pause would be longer than the call may take.
        let settings = settings(&url, "", "rabbit_retry_interval = 600\nrabbit_interval_max = 600", "");
        let (answer, log) = Log::of(|| ask_once(settings, &Peer::shared().host, &uuid(), SECONDS));
        assert!(answer.unwrap());
        if log.contains("is unreachable") {
            assert!(
                log.contains(&format!("AMQP server on 127.0.0.1:{dead} is unreachable: Connection refused")),
                "{log}"
            );
            assert!(log.contains("Trying again in 0 seconds."), "{log}");
            return;
        }
    }
    panic!("the dead host never came first");
}

#[test]
fn without_a_broker_a_call_ends_in_time_and_the_pauses_grow_by_addition() {
    let settings =
        settings(&format!("rabbit://u:pa55@127.0.0.1:{}/", dead_port()), "rpc_response_timeout = 5", "", "");
    let started = Instant::now();
    let (failed, log) = Log::of(|| ask_once(settings, "host1", &uuid(), SECONDS).unwrap_err());
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(SECONDS), "{took:?}");
    assert!(matches!(failed, CallError::Unreachable(_)), "{failed}");
    assert!(failed.to_string().contains("Connection refused"), "{failed}");
    for seconds in ["in 1 seconds", "in 3 seconds", "in 5 seconds"] {
        assert!(log.contains(seconds), "{log}");
    }
    assert!(!log.contains("pa55"), "{log}");
}

#[test]
fn a_broker_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        // Ends when the client has given up.
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let settings = settings(&format!("rabbit://u:p@127.0.0.1:{port}/"), "", "", "");
    let (failed, log) = Log::of(|| ask_once(settings, "host1", &uuid(), 20).unwrap_err());
    assert!(matches!(failed, CallError::Unreachable(_)), "{failed}");
    let text = "is unreachable: the broker accepted the connection and then said nothing";
    assert!(log.contains(text), "{log}");
    assert_eq!(silent.join().unwrap(), b"AMQP\0\0\x09\x01");
}

#[test]
fn a_probe_tells_who_answered_or_what_each_said() {
    let port = broker().text("/port");
    assert_eq!(run(probe(&defaults(broker()))).unwrap(), format!("127.0.0.1:{port}"));
    let dead = dead_port();
    let url = format!("rabbit://u:pa55@127.0.0.1:{dead},u:pa55@127.0.0.1:{port}/");
    let said = run(probe(&settings(&url, "", "", ""))).unwrap_err();
    assert!(said.contains(&format!("127.0.0.1:{dead}: Connection refused")), "{said}");
    assert!(said.contains("ACCESS_REFUSED") && !said.contains("pa55"), "{said}");
}

#[test]
fn the_connection_is_named_and_its_heartbeat_is_ours() {
    for (threshold, negotiated) in [("4", "4"), ("17", "17"), ("90", "60"), ("0", "0")] {
        let mut settings =
            settings(&broker().text("/url"), "", &format!("heartbeat_timeout_threshold = {threshold}"), "");
        settings.program = "heartbeat-test";
        with_client(settings, async |client| {
            assert!(ask(client, &Peer::shared().host, &uuid(), SECONDS).await.unwrap());
            // The broker's own heartbeat is 60 s; 0 must reach it, or it would end silent connections.
            let line = listed("list_connections timeout client_properties", "heartbeat-test:").unwrap();
            assert_eq!(line[0], negotiated, "for {threshold}: {line:?}");
            assert!(line[1].contains(&format!("heartbeat-test:{}:", std::process::id())), "{line:?}");
        });
        wait_until("the connection is closed", || {
            listed("list_connections client_properties", "heartbeat-test:").is_none()
        });
    }
}

#[test]
fn the_reply_queue_is_declared_as_the_options_say_and_deleted_in_the_end() {
    let queue = |rabbit: &str| {
        // An exchange of its own, since its options depend on these, too.
        let exchange = format!("exchange-{}", uuid());
        let default = format!("control_exchange = {exchange}");
        let mut before = String::new();
        let line = with_client(settings(&broker().text("/url"), &default, rabbit, ""), async |client| {
            let failed = ask(client, "nohost", &uuid(), SECONDS).await.unwrap_err();
            assert!(matches!(failed, CallError::Undeliverable { .. }), "{failed}");
            let declared = listed("list_exchanges -p nova name type durable auto_delete", &exchange).unwrap();
            // The queue that was not there before: the one bound to nothing of ours has consumers of ours only.
            let queues =
                broker().command("ctl list_queues -p nova name durable auto_delete arguments owner_pid");
            before = queues.as_str().unwrap().to_owned();
            (declared, before.clone())
        });
        (line.0, before)
    };
    let (exchange, _) = queue("");
    assert_eq!(exchange[1..], ["topic", "false", "false"]);
    let (exchange, _) = queue("amqp_durable_queues = true");
    assert_eq!(exchange[1..], ["topic", "true", "false"]);
    let (exchange, queues) = queue(
        "rabbit_quorum_queue = true\nrabbit_transient_quorum_queue = true\nrabbit_transient_queues_ttl = 77",
    );
    assert_eq!(exchange[1..], ["topic", "true", "false"]);
    let quorum = queues.lines().find(|line| line.contains("77000")).unwrap();
    assert!(
        quorum.starts_with("reply_") && quorum.contains("\ttrue\t") && quorum.contains("quorum"),
        "{quorum}"
    );
    let name = quorum.split('\t').next().unwrap();
    assert!(listed("list_queues -p nova name", name).is_none(), "{name} was not deleted");
}

#[test]
fn an_exchange_that_somebody_declared_otherwise_is_used_as_it_is() {
    // The shared compute declared it without durability.
    let peer = Peer::shared();
    let settings = settings(&broker().text("/url"), "", "amqp_durable_queues = true", "");
    assert!(ask_once(settings, &peer.host, &uuid(), SECONDS).unwrap());
}

#[test]
fn a_reply_queue_that_was_deleted_is_declared_again() {
    let (peer, first) = (Peer::raw("deleter", &[]), uuid());
    peer.publishes(&first, &serde_json::json!([]));
    let settings = settings(&broker().text("/url"), "", "kombu_reconnect_delay = 0.1", "");
    let ((), log) = Log::of(|| {
        with_client(settings, async |client| {
            let failed = ask(client, &peer.host, &first, 2).await.unwrap_err();
            assert!(matches!(failed, CallError::NoReply { .. }), "{failed}");
            let queue = peer.seen(&first)[0]["message"]["_reply_q"].as_str().unwrap().to_owned();
            broker().command(&format!("ctl delete_queue -p nova {queue}"));
            assert!(ask(client, &Peer::shared().host, &uuid(), SECONDS).await.unwrap());
        });
    });
    assert!(log.contains("cancelled the consumer of the reply queue"), "{log}");
}

#[test]
fn an_exchange_that_was_deleted_is_declared_again() {
    let exchange = format!("exchange-{}", uuid());
    let settings = settings(&broker().text("/url"), &format!("control_exchange = {exchange}"), "", "");
    with_client(settings, async |client| {
        let undeliverable = async || {
            let failed = ask(client, "nohost", &uuid(), SECONDS).await.unwrap_err();
            assert!(matches!(failed, CallError::Undeliverable { .. }), "{failed}");
        };
        undeliverable().await;
        broker().command(&format!(
            "ctl eval 'rabbit_exchange:delete(rabbit_misc:r(<<\"nova\">>, exchange, <<\"{exchange}\">>), false, <<\"test\">>).'"
        ));
        undeliverable().await;
    });
}
