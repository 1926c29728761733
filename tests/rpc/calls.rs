//! Calls that a real nova-compute's libraries answer.

use std::time::{Duration, Instant};

use consolegate::control::rpc::CallError;
use serde_json::json;

use crate::peers::{
    Log, Peer, ask, ask_once, broker, defaults, question, settings, uuid, with_client, within,
};

/// Generous: machines that run tests are busy.
const SECONDS: u64 = 60;

#[test]
fn only_true_is_a_yes() {
    let peer = Peer::shared();
    let (yes, no, null, text) = (uuid(), uuid(), uuid(), uuid());
    peer.answers(&no, &json!(["false"]));
    peer.answers(&null, &json!(["null"]));
    peer.answers(&text, &json!(["text"]));
    let (answers, log) = Log::of(|| {
        with_client(defaults(broker()), async |client| {
            let mut answers = Vec::new();
            for uuid in [&yes, &no, &null, &text] {
                answers.push(ask(client, &peer.host, uuid, SECONDS).await.unwrap());
            }
            answers
        })
    });
    assert_eq!(answers, [true, false, false, false]);
    assert!(log.contains("answered null, expected a boolean"), "{log}");
    assert!(log.contains("answered \"true\", expected a boolean"), "{log}");
}

#[test]
fn novas_own_objects_read_what_is_asked() {
    let (peer, uuid) = (Peer::shared(), uuid());
    assert!(ask_once(defaults(broker()), &peer.host, &uuid, SECONDS).unwrap());
    let calls = peer.calls(&uuid);
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    // Every release from Queens on has an endpoint for 5.0.
    assert_eq!(call["endpoint"], "5.13");
    assert_eq!(call["instance"], json!({"id": 7, "uuid": uuid, "host": peer.host}));
    assert_eq!((&call["port"], &call["console_type"]), (&json!("5900"), &json!("novnc")));
    assert_eq!(call["is_admin"], true);
    assert!(call["request_id"].as_str().unwrap().starts_with("req-"));
}

#[test]
fn exceptions_of_the_compute_are_named() {
    let peer = Peer::shared();
    for class in ["InstanceNotFound", "InstanceNotReady", "ConsoleTypeUnavailable", "InternalError"] {
        let uuid = uuid();
        peer.answers(&uuid, &json!(["raise", class]));
        let failed = ask_once(defaults(broker()), &peer.host, &uuid, SECONDS).unwrap_err();
        let CallError::Remote(failure) = &failed else { panic!("{class}: {failed}") };
        assert_eq!((failure.class.as_str(), failure.module.as_str()), (class, "nova.exception"));
        let text = failed.to_string();
        assert!(
            text.starts_with(&format!("nova.exception.{class}: ")) && !text.contains("Traceback"),
            "{text}"
        );
    }
}

#[test]
fn a_compute_that_never_answers_costs_exactly_the_time_limit() {
    let (peer, uuid) = (Peer::shared(), uuid());
    peer.answers(&uuid, &json!(["never"]));
    let settings = settings(&broker().text("/url"), "rpc_response_timeout = 2", "", "");
    let started = Instant::now();
    let failed = ask_once(settings, &peer.host, &uuid, SECONDS).unwrap_err();
    let took = started.elapsed();
    assert_eq!(failed.to_string(), "timed out waiting for a reply from compute.host1");
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(SECONDS), "{took:?}");
}

#[test]
fn a_late_reply_is_dropped_and_disturbs_nobody() {
    let (peer, late, other) = (Peer::shared(), uuid(), uuid());
    peer.answers(&late, &json!(["delay", 3]));
    peer.answers(&other, &json!(["delay", 4]));
    let ((first, second), log) = Log::of(|| {
        with_client(defaults(broker()), async |client| {
            let first = client.validate_console_port(&question(&peer.host, &late), within(1)).await;
            // The other's reply comes after the late one.
            (first, ask(client, &peer.host, &other, SECONDS).await)
        })
    });
    assert!(matches!(first, Err(CallError::NoReply { .. })), "{first:?}");
    assert!(second.unwrap());
    assert!(log.contains("No calling threads waiting for msg_id"), "{log}");
}

#[test]
fn a_host_without_a_queue_is_answered_at_once() {
    let started = Instant::now();
    let failed = ask_once(defaults(broker()), "nohost", &uuid(), 600).unwrap_err();
    assert!(matches!(failed, CallError::Undeliverable { .. }), "{failed}");
    assert!(failed.to_string().contains("no queue compute.nohost (312 NO_ROUTE)"), "{failed}");
    assert!(started.elapsed() < Duration::from_secs(SECONDS));
}

#[test]
fn a_returned_request_fails_its_own_call_among_many() {
    let peer = Peer::shared();
    with_client(defaults(broker()), async |client| {
        let client = &client;
        let calls = (0..60).map(|number| async move {
            let uuid = uuid();
            let host = if number % 3 == 0 { "nohost" } else { &peer.host };
            (host, ask(client, host, &uuid, SECONDS).await)
        });
        for (host, answer) in join_all(calls).await {
            match answer {
                Ok(answer) => assert!(answer && host != "nohost"),
                Err(failed) => {
                    assert!(
                        matches!(failed, CallError::Undeliverable { .. }) && host == "nohost",
                        "{host}: {failed}"
                    );
                }
            }
        }
    });
}

#[test]
fn a_name_that_amqp_cannot_have_is_refused() {
    let failed = ask_once(defaults(broker()), &"h".repeat(255), &uuid(), SECONDS).unwrap_err();
    assert!(matches!(failed, CallError::Address(_)), "{failed}");
}

#[test]
fn replies_out_of_order_find_their_calls() {
    let peer = Peer::shared();
    let uuids: Vec<String> = (0..50).map(|_| uuid()).collect();
    for (index, uuid) in uuids.iter().enumerate() {
        // The first asked is answered last; every fifth is refused.
        let delay = 2.0 - index as f64 / 25.0;
        peer.answers(uuid, &if index % 5 == 0 { json!(["false"]) } else { json!(["delay", delay]) });
    }
    let answers = with_client(defaults(broker()), async |client| {
        let client = &client;
        join_all(
            uuids.iter().map(|uuid| async move { ask(client, &peer.host, uuid, SECONDS).await.unwrap() }),
        )
        .await
    });
    let expected: Vec<bool> = (0..50).map(|index| index % 5 != 0).collect();
    assert_eq!(answers, expected);
}

#[test]
fn five_hundred_calls_at_once_share_one_connection() {
    let peer = Peer::shared();
    let mut settings = defaults(broker());
    settings.program = "five-hundred";
    let answers = with_client(settings, async |client| {
        let client = &client;
        let calls = (0..500).map(|_| async move {
            let uuid = uuid();
            ask(client, &peer.host, &uuid, 120).await.unwrap()
        });
        let answers = join_all(calls).await;
        let listed = broker().command("ctl list_connections client_properties");
        assert_eq!(listed.as_str().unwrap().matches("five-hundred:").count(), 1, "{listed}");
        answers
    });
    assert_eq!(answers.iter().filter(|yes| **yes).count(), 500);
}

/// Polls all futures on this thread until all are done; the results come in their order.
async fn join_all<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, result) in pending.iter_mut().filter(|(_, result)| result.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *result = Some(value),
                std::task::Poll::Pending => waiting = true,
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    pending.into_iter().map(|(_, result)| result.unwrap()).collect()
}
