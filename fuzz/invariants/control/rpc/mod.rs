//! The message bus: URLs, replies, frames.

#[path = "../../../../src/control/rpc/envelope.rs"]
mod envelope;
#[path = "../../../../src/control/rpc/amqp/gate.rs"]
mod gate;
#[path = "../../../../src/control/rpc/random.rs"]
mod random;
#[path = "../../../../src/control/rpc/transport_url.rs"]
pub(crate) mod transport_url;

use envelope::{REPLY_BYTES_MAX, Reply, Says, msg_id_of_returned};
use gate::Gate;

/// Longest text of an error: one log line, whatever the sender wrote.
const ERROR_CHARS_MAX: usize = 700;

/// Any bytes as a reply, plain and deflated, and as a stream of frames.
pub(crate) fn messages(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let compression = match first & 0x03 {
        0 => Some("application/x-gzip"),
        1 => Some(""),
        _ => None,
    };
    reply(body, compression);
    let _ = msg_id_of_returned(body);
    frames(body, first & 0x04 != 0, usize::from(first >> 3) + 1);
}

/// What is believed is bounded; what is not is explained in one line.
fn reply(body: &[u8], compression: Option<&str>) {
    match Reply::parse(body, compression) {
        Ok(reply) => {
            assert!(reply.msg_id.len() <= 128 && reply.unique_id.is_none_or(|id| id.len() <= 128));
            match reply.says {
                Says::Failed(failure) => {
                    for text in [&failure.class, &failure.module, &failure.message] {
                        assert!(text.chars().count() <= 512 && !text.chars().any(char::is_control));
                    }
                }
                Says::NotYet { result } => assert!(result.is_none_or(|value| !value.is_null())),
                Says::Done(_) => {}
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().count() <= ERROR_CHARS_MAX && !text.chars().any(char::is_control), "{text:?}");
        }
    }
    assert!(compression.is_some() || body.len() <= REPLY_BYTES_MAX, "the fuzzer is bounded as well");
}

/// A broker's stream, whole and in pieces: the same verdict, the same bytes handed on, nothing changed but a
/// heartbeat.
fn frames(stream: &[u8], no_heartbeat: bool, step: usize) {
    let pass = |step: usize| {
        let mut gate = Gate::new(no_heartbeat, 1 << 16);
        let mut bytes = stream.to_vec();
        let result = bytes.chunks_mut(step.max(1)).try_for_each(|chunk| gate.pass(chunk));
        (result.map_err(|error| error.to_string()), gate.is_open(), bytes)
    };
    let (whole, open, seen) = pass(stream.len());
    for pieces in [pass(1), pass(step)] {
        assert_eq!(pieces.0, whole, "the verdict depends on the reads");
        if whole.is_ok() {
            assert_eq!((pieces.1, &pieces.2), (open, &seen));
        }
    }
    assert!(no_heartbeat || seen == stream, "bytes were changed");
}
