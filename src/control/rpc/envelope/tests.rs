//! The envelope against messages that were captured between real oslo.messaging peers (`tests/data/oslo`).

use super::*;

/// The bodies of a capture's published messages, in wire order.
fn bodies(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/data/oslo/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let messages = capture["messages"].as_array().unwrap().iter();
    let published = messages.filter(|message| message["method"] == "basic.publish");
    published.map(|message| message["body_text"].as_str().unwrap().as_bytes().to_vec()).collect()
}

/// The last reply of a capture.
fn says(name: &str) -> Says {
    Reply::parse(bodies(name).last().unwrap(), None).unwrap().says
}

fn inner(body: &[u8]) -> Value {
    let outer: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(outer["oslo.version"], "2.0");
    serde_json::from_str(outer["oslo.message"].as_str().unwrap()).unwrap()
}

#[test]
fn a_request_is_the_smallest_that_was_seen_to_be_accepted() {
    let seen = inner(&bodies("request-minimal")[0]);
    let request = Request::call("validate_console_port", &seen["args"], "6.0", "reply_q", None);
    let ours = inner(&request.body);
    assert_eq!(ours["_msg_id"], request.msg_id);
    for key in ["method", "args", "version", "_timeout"] {
        assert_eq!(ours[key], seen[key], "{key}");
    }
    for (key, value) in ours.as_object().unwrap() {
        let alike =
            seen.get(key).is_some_and(|seen| std::mem::discriminant(seen) == std::mem::discriminant(value));
        assert!(alike, "{key} is {value}, was {:?}", seen.get(key));
    }
    let absent = seen.as_object().unwrap().iter().filter(|(key, _)| ours.get(key.as_str()).is_none());
    // show_deleted and read_only are false when they are absent.
    assert!(absent.into_iter().all(|(_, value)| value.is_null() || *value == false));
    let timestamp = ours["_context_timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2026-11-21T22:17:30.320977".len(), "{timestamp}");
}

#[test]
fn each_call_has_ids_of_its_own() {
    let call = || inner(&Request::call("m", &json!({}), "5.0", "q", Some(60)).body);
    let (first, second) = (call(), call());
    for key in ["_msg_id", "_unique_id", "_context_request_id"] {
        assert_ne!(first[key], second[key], "{key}");
    }
    assert_eq!(first["_timeout"], 60);
}

#[test]
fn results_are_taken_as_they_are() {
    assert_eq!(says("reply-true"), Says::Done(Value::Bool(true)));
    assert_eq!(says("reply-false"), Says::Done(Value::Bool(false)));
    assert_eq!(says("reply-null"), Says::Done(Value::Null));
    assert_eq!(says("reply-int-port-false"), Says::Done(Value::Bool(false)));
    assert_eq!(says("old-server-reply-exchange"), Says::Done(Value::Bool(true)));
}

#[test]
fn each_captured_failure_names_its_class() {
    for (name, class, module) in [
        ("reply-failure-instance-not-found", "InstanceNotFound", "nova.exception"),
        ("reply-failure-nova34", "InstanceNotFound", "nova.exception"),
        ("reply-failure-console-type-unavailable", "ConsoleTypeUnavailable", "nova.exception"),
        ("reply-failure-builtin", "ValueError", "builtins"),
        ("reply-failure-no-such-method", "NoSuchMethod", "oslo_messaging.rpc.dispatcher"),
        ("reply-failure-private-method", "NoSuchMethod", "oslo_messaging.rpc.dispatcher"),
        ("reply-failure-missing-argument", "TypeError", "builtins"),
        ("reply-failure-unsupported-namespace", "UnsupportedVersion", "oslo_messaging.rpc.dispatcher"),
        ("reply-failure-unsupported-version", "UnsupportedVersion", "oslo_messaging.rpc.dispatcher"),
    ] {
        let Says::Failed(failure) = says(name) else { panic!("{name} is no failure") };
        assert_eq!((failure.class.as_str(), failure.module.as_str()), (class, module), "{name}");
        assert_eq!(failure.is_unsupported_version(), class == "UnsupportedVersion", "{name}");
        assert!(!failure.to_string().contains("Traceback"), "{failure}");
    }
}

#[test]
fn keep_alives_are_no_end() {
    let replies: Vec<Says> =
        bodies("call-monitor")[1..].iter().map(|body| Reply::parse(body, None).unwrap().says).collect();
    let waiting = || Says::NotYet { result: None };
    assert_eq!(replies, [waiting(), waiting(), Says::Done(Value::Bool(true))]);
}

fn reply(message: &str) -> Result<Reply, ReplyError> {
    Reply::parse(json!({"oslo.version": "2.0", "oslo.message": message}).to_string().as_bytes(), None)
}

#[test]
fn a_reply_without_its_envelope_is_read() {
    let bare = br#"{"result": true, "failure": null, "ending": true, "_msg_id": "a"}"#;
    let bare = Reply::parse(bare, None).unwrap();
    assert_eq!(bare, Reply { msg_id: "a".to_owned(), unique_id: None, says: Says::Done(Value::Bool(true)) });
}

#[test]
fn an_end_must_be_said_and_a_result_before_it_is_kept() {
    let says = |rest: &str| reply(&format!(r#"{{"_msg_id": "a", {rest}}}"#)).unwrap().says;
    assert_eq!(says(r#""result": true"#), Says::NotYet { result: Some(Value::Bool(true)) });
    assert_eq!(says(r#""result": true, "ending": "true""#), Says::NotYet { result: Some(Value::Bool(true)) });
    assert_eq!(says(r#""ending": true"#), Says::Done(Value::Null));
    assert_eq!(says(r#""result": "true", "ending": true"#), Says::Done(json!("true")));
}

#[test]
fn what_is_broken_at_any_level_is_refused() {
    use ReplyError as E;
    for body in ["", "true", "[]", "{", "\u{0}"] {
        assert_eq!(Reply::parse(body.as_bytes(), None), Err(E::NotJson("envelope")), "{body}");
    }
    for message in ["", "[1]", "{\"a\""] {
        assert_eq!(reply(message), Err(E::NotJson("message")), "{message}");
    }
    for failure in [json!("not json"), json!({"class": "X"}), json!(1)] {
        let message = json!({"_msg_id": "a", "ending": true, "failure": failure}).to_string();
        assert_eq!(reply(&message), Err(E::NotJson("failure")), "{failure}");
    }
    assert_eq!(reply(r#"{"result": true, "ending": true}"#), Err(E::NoMsgId));
    assert_eq!(reply(r#"{"result": true, "ending": true, "_msg_id": 7}"#), Err(E::NoMsgId));
    let long =
        format!(r#"{{"result": true, "ending": true, "_msg_id": "{}"}}"#, "a".repeat(ID_BYTES_MAX + 1));
    assert_eq!(reply(&long), Err(E::NoMsgId));
    for version in ["1.0", "2.1", "3.0"] {
        let body = json!({"oslo.version": version, "oslo.message": "{}"}).to_string();
        assert!(matches!(Reply::parse(body.as_bytes(), None), Err(E::Version(_))), "{version}");
    }
    assert_eq!(Reply::parse(&vec![b' '; REPLY_BYTES_MAX + 1], None), Err(E::TooLong));
}

#[test]
fn compressed_replies_are_inflated_within_the_bound() {
    let plain = &bodies("reply-true")[0];
    let zlib = |bytes: &[u8]| miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6);
    let gzip = Some("application/x-gzip");
    assert_eq!(Reply::parse(&zlib(plain), gzip), Reply::parse(plain, None));
    assert_eq!(Reply::parse(plain, gzip), Err(ReplyError::Inflate));
    let bomb = zlib(&vec![b' '; 64 * REPLY_BYTES_MAX]);
    assert!(bomb.len() < REPLY_BYTES_MAX);
    assert_eq!(Reply::parse(&bomb, gzip), Err(ReplyError::Inflate));
    let unknown = Reply::parse(plain, Some("application/x-bz2"));
    assert_eq!(unknown, Err(ReplyError::Compression("application/x-bz2".to_owned())));
}

#[test]
fn a_failures_text_fits_into_one_log_line() {
    let failure =
        json!({"class": "E", "module": "m", "message": format!("a\nb{}", "x".repeat(9_000))}).to_string();
    let message = json!({"_msg_id": "a", "ending": true, "result": null, "failure": failure}).to_string();
    let Says::Failed(failure) = reply(&message).unwrap().says else { panic!() };
    assert!(failure.message.starts_with("a b") && failure.message.len() == FAILURE_CHARS_MAX);
}

#[test]
fn a_returned_request_tells_whose_it_was() {
    let request = Request::call("m", &json!({}), "5.0", "q", None);
    assert_eq!(msg_id_of_returned(&request.body), Some(request.msg_id));
    assert_eq!(msg_id_of_returned(b"{}"), None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_and_only_true_is_true(bytes: Vec<u8>, at: usize, with: Vec<u8>) {
        let _ = Reply::parse(&bytes, None);
        let _ = Reply::parse(&bytes, Some("application/x-gzip"));
        // A good reply with something else in its place.
        let mut reply = bodies("reply-false")[0].clone();
        let start = at % reply.len();
        let end = (start + with.len()).min(reply.len());
        reply.splice(start..end, with);
        let says = Reply::parse(&reply, None).map(|reply| reply.says);
        proptest::prop_assert!(says != Ok(Says::Done(Value::Bool(true))));
    }
}
