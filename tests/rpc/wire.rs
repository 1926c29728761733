//! What goes over the wire, and what comes back that oslo.messaging's own server would not send.

use std::time::{Duration, Instant};

use consolegate::console::ConsoleType;
use consolegate::control::rpc::{CallError, PortQuestion, RpcSettings};
use serde_json::{Value, json};

use crate::peers::{
    Log, Peer, ask, ask_once, broker, defaults, question, settings, uuid, with_client, within,
};

const SECONDS: u64 = 60;

/// A reply in its envelope.
fn enveloped(message: &Value) -> String {
    json!({"oslo.version": "2.0", "oslo.message": message.to_string()}).to_string()
}

fn reply(result: &Value, ending: bool, unique_id: &str) -> Value {
    let message = json!({"result": result, "failure": null, "ending": ending, "_msg_id": "MSG_ID", "_unique_id": unique_id});
    json!({"body": enveloped(&message)})
}

fn yes() -> Value {
    reply(&json!(true), true, "only")
}

/// Asks the raw peer, which publishes `messages`, for at most `seconds`.
fn answered(peer: &Peer, settings: RpcSettings, messages: &Value, seconds: u64) -> Result<bool, CallError> {
    let uuid = uuid();
    peer.publishes(&uuid, messages);
    ask_once(settings, &peer.host, &uuid, seconds)
}

fn unsupported_version() -> Value {
    let failure = json!({
        "class": "UnsupportedVersion", "module": "oslo_messaging.rpc.dispatcher", "tb": [],
        "message": "Endpoint does not support RPC version", "args": [], "kwargs": {},
    });
    let message = json!({
        "result": null, "failure": failure.to_string(), "ending": true, "_msg_id": "MSG_ID", "_unique_id": "no",
    });
    json!([{"body": enveloped(&message)}])
}

#[test]
fn a_request_has_the_properties_that_were_captured() {
    let (peer, uuid) = (Peer::raw("properties", &[]), uuid());
    peer.publishes(&uuid, &json!([yes()]));
    let settings = settings(&broker().text("/url"), "rpc_response_timeout = 120", "", "");
    assert!(ask_once(settings, &peer.host, &uuid, 120).unwrap());
    let seen = &peer.seen(&uuid)[0];
    let properties = seen["properties"].as_object().unwrap();
    assert_eq!(properties["content_type"], "application/json");
    assert_eq!(properties["content_encoding"], "utf-8");
    assert_eq!(properties["application_headers"], json!({}));
    assert_eq!((&properties["delivery_mode"], &properties["priority"]), (&json!(2), &json!(0)));
    assert_eq!(properties.len(), 6, "{properties:?}");
    // What is left of the time when it was published.
    let expiration: u64 = properties["expiration"].as_str().unwrap().parse().unwrap();
    assert!((60_000..=120_000).contains(&expiration), "{expiration}");
    assert_eq!(seen["routing_key"], "compute.properties");
    let message = &seen["message"];
    // Nova asks for keep-alives where the operator lets a call take more than a minute.
    assert_eq!((&message["_timeout"], &message["version"]), (&json!(60), &json!("5.0")));
    assert!(message["_reply_q"].as_str().unwrap().starts_with("reply_"));
}

#[test]
fn keep_alives_are_waited_out() {
    let peer = Peer::raw("keepalives", &[]);
    let messages = json!([
        reply(&json!(null), false, "a"),
        reply(&json!(null), false, "b"),
        reply(&json!(true), true, "c")
    ]);
    assert!(answered(&peer, defaults(broker()), &messages, SECONDS).unwrap());
    let never = json!([reply(&json!(null), false, "a"), reply(&json!(null), false, "b")]);
    let failed = answered(&peer, defaults(broker()), &never, 2).unwrap_err();
    assert!(matches!(failed, CallError::NoReply { .. }), "{failed}");
    // Very old servers: the result first, the end apart.
    let apart = json!([reply(&json!(true), false, "a"), reply(&json!(null), true, "b")]);
    assert!(answered(&peer, defaults(broker()), &apart, SECONDS).unwrap());
}

#[test]
fn what_cannot_be_read_is_dropped_and_the_call_goes_on() {
    let peer = Peer::raw("broken", &[]);
    let outer = |message: &str| json!({"oslo.version": "2.0", "oslo.message": message}).to_string();
    let broken_failure = enveloped(&json!({"_msg_id": "MSG_ID", "ending": true, "failure": "not json"}));
    for body in ["", "not json", "[1, 2]", &outer("not json"), &outer("[]"), &broken_failure] {
        let messages = json!([{"body": body}, yes()]);
        let (answer, log) = Log::of(|| answered(&peer, defaults(broker()), &messages, SECONDS));
        assert!(answer.unwrap(), "{body}");
        assert!(log.contains("dropped a message to the reply queue"), "{body}: {log}");
    }
    let bare = json!({"result": true, "failure": null, "ending": true, "_msg_id": "MSG_ID"}).to_string();
    assert!(answered(&peer, defaults(broker()), &json!([{"body": bare}]), SECONDS).unwrap());
}

#[test]
fn duplicates_and_strangers_change_nothing() {
    let peer = Peer::raw("strangers", &[]);
    let stranger = json!({"body": yes()["body"].as_str().unwrap().replace("MSG_ID", "0123456789abcdef")});
    let no = reply(&json!(false), true, "no");
    with_client(defaults(broker()), async |client| {
        // The stranger's and ours have the same unique id: the second message with it is the same message.
        let uuid = uuid();
        peer.publishes(&uuid, &json!([stranger, no, no, yes()]));
        assert!(!ask(client, &peer.host, &uuid, SECONDS).await.unwrap());
        // Nor do the leftovers answer the next call.
        let uuid = crate::peers::uuid();
        peer.publishes(&uuid, &json!([reply(&json!(true), true, "next")]));
        assert!(ask(client, &peer.host, &uuid, SECONDS).await.unwrap());
    });
}

#[test]
fn compressed_replies_are_read() {
    let peer = Peer::raw("compressed", &[]);
    let mut message = yes();
    message["zlib"] = json!(true);
    assert!(answered(&peer, defaults(broker()), &json!([message]), SECONDS).unwrap());
}

#[test]
fn a_message_that_is_too_long_is_not_read_into_memory() {
    let peer = Peer::raw("long", &[]);
    let (long, short) = (uuid(), uuid());
    peer.publishes(&long, &json!([{"body": " ".repeat(2 << 20)}]));
    peer.publishes(&short, &json!([yes()]));
    let ((), log) = Log::of(|| {
        with_client(defaults(broker()), async |client| {
            assert!(ask(client, &peer.host, &long, 5).await.is_err());
            assert!(ask(client, &peer.host, &short, SECONDS).await.unwrap());
        });
    });
    // Once: it does not come again.
    assert_eq!(log.matches("ended the connection").count(), 1, "{log}");
    assert!(log.contains("the broker sent a message of 2097152 bytes, at most 1048576 are read"), "{log}");
}

#[test]
fn servers_until_rocky_answer_through_an_exchange_named_like_the_queue() {
    let peer = Peer::raw("rocky", &[]);
    let mut message = yes();
    message["to"] = json!("exchange");
    assert!(answered(&peer, defaults(broker()), &json!([message]), SECONDS).unwrap());
}

#[test]
fn the_old_reply_exchange_can_be_left_out() {
    let exchanges = |own: &str| {
        with_client(settings(&broker().text("/url"), "", "", own), async |client| {
            let uuid = uuid();
            assert!(ask(client, &Peer::shared().host, &uuid, SECONDS).await.unwrap());
            let request = Peer::shared().calls(&uuid);
            assert_eq!(request.len(), 1);
            broker().command("ctl list_exchanges -p nova name type durable auto_delete")
        })
    };
    let with = exchanges("").as_str().unwrap().to_owned();
    let reply = with.lines().find(|line| line.starts_with("reply_")).unwrap();
    let columns: Vec<_> = reply.split_whitespace().skip(1).collect();
    assert_eq!(columns, ["direct", "false", "true"]);
    // Others of this process may have theirs: look for our own, which is named like our queue.
    let peer = Peer::raw("modern", &[]);
    let uuid = uuid();
    peer.publishes(&uuid, &json!([yes()]));
    let settings = settings(&broker().text("/url"), "", "", "rpc_reply_exchange = false");
    with_client(settings, async |client| {
        assert!(ask(client, &peer.host, &uuid, SECONDS).await.unwrap());
        let ours = peer.seen(&uuid)[0]["message"]["_reply_q"].as_str().unwrap().to_owned();
        let exchanges = broker().command("ctl list_exchanges -p nova name");
        assert!(!exchanges.as_str().unwrap().contains(&ours), "{exchanges}");
    });
}

#[test]
fn a_server_without_version_5_is_asked_for_6_and_remembered() {
    let peer = Peer::raw("next", &[]);
    let (first, second) = (uuid(), uuid());
    peer.ask(&json!(["answer_each", first, [unsupported_version(), [yes()]]]));
    peer.publishes(&second, &json!([reply(&json!(true), true, "second")]));
    with_client(defaults(broker()), async |client| {
        assert!(ask(client, &peer.host, &first, SECONDS).await.unwrap());
        assert!(ask(client, &peer.host, &second, SECONDS).await.unwrap());
    });
    let versions = |uuid: &str| {
        let seen = peer.seen(uuid);
        seen.iter().map(|call| call["message"]["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (versions(&first), versions(&second)),
        (vec!["5.0".to_owned(), "6.0".to_owned()], vec!["6.0".to_owned()])
    );
}

#[test]
fn a_server_that_has_neither_version_fails_once() {
    let (peer, uuid) = (Peer::raw("neither", &[]), uuid());
    let mut again = unsupported_version();
    again[0]["body"] = json!(again[0]["body"].as_str().unwrap().replace("\\\"no\\\"", "\\\"again\\\""));
    peer.ask(&json!(["answer_each", uuid, [unsupported_version(), again]]));
    let failed = ask_once(defaults(broker()), &peer.host, &uuid, SECONDS).unwrap_err();
    assert!(failed.to_string().contains("UnsupportedVersion"), "{failed}");
    assert_eq!(peer.seen(&uuid).len(), 2);
}

#[test]
fn a_serial_port_is_asked_for_as_a_number_only_where_the_operator_says_so() {
    let peer = Peer::raw("serial", &[]);
    let ask = |own: &str, console_type: ConsoleType| {
        let uuid = uuid();
        peer.ask(&json!([
            "answer_each",
            uuid,
            [[reply(&json!(false), true, "a")], [reply(&json!(true), true, "b")]]
        ]));
        let answer = with_client(settings(&broker().text("/url"), "", "", own), async |client| {
            let question = PortQuestion { console_type, ..question(&peer.host, &uuid) };
            client.validate_console_port(&question, within(SECONDS)).await.unwrap()
        });
        let ports: Vec<Value> =
            peer.seen(&uuid).iter().map(|call| call["message"]["args"]["port"].clone()).collect();
        (answer, ports)
    };
    let switch = "rpc_serial_number_retry = true";
    assert_eq!(ask(switch, ConsoleType::Serial), (true, vec![json!("5900"), json!(5900)]));
    assert_eq!(ask(switch, ConsoleType::NoVnc), (false, vec![json!("5900")]));
    assert_eq!(ask("", ConsoleType::Serial), (false, vec![json!("5900")]));
}

#[test]
fn compute_alt_is_tried_first_where_the_level_admits_it() {
    let mut alt = defaults(broker());
    alt.compute_alt = true;
    // A compute that has both topics, and one that has only the old one.
    let (old, new) = (Peer::raw("both", &[]), Peer::raw("both", &["--topic", "compute-alt"]));
    let uuid_of_both = uuid();
    old.publishes(&uuid_of_both, &json!([reply(&json!(false), true, "old")]));
    new.publishes(&uuid_of_both, &json!([reply(&json!(true), true, "new")]));
    assert!(ask_once(alt.clone(), "both", &uuid_of_both, SECONDS).unwrap());
    assert!(!ask_once(defaults(broker()), "both", &uuid_of_both, SECONDS).unwrap());
    let only_old = Peer::raw("onlyold", &[]);
    let started = Instant::now();
    assert!(answered(&only_old, alt, &json!([yes()]), 600).unwrap());
    assert!(started.elapsed() < Duration::from_secs(SECONDS));
}
