//! Requests and replies as oslo.messaging writes them: JSON in JSON
//! (`oslo_messaging/_drivers/common.py`, `amqpdriver.py`).
//!
//! Requests are as small as every release from Queens on accepts. Replies come from whoever can write to our
//! queue, so they are bounded and believed only in their exact form.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::random::{hex32, uuid4};

/// Longest reply that is read, also once inflated. A boolean takes 200 bytes, a traceback some KiB.
pub(super) const REPLY_BYTES_MAX: usize = 1 << 20;
/// Longest id of a message. oslo.messaging's have 32 digits.
const ID_BYTES_MAX: usize = 128;
/// Longest text of a remote failure that is logged.
const FAILURE_CHARS_MAX: usize = 512;
/// The version of the envelope that we write, and the only one we read.
const ENVELOPE_VERSION: &str = "2.0";

/// One call, ready to be sent any number of times: a server drops what it has just seen, by `unique_id`.
pub(super) struct Request {
    /// What the reply will name
    pub(super) msg_id: String,
    /// The whole message
    pub(super) body: Vec<u8>,
    /// The longest silence of the server, where keep-alives were asked for
    pub(super) monitor: Option<Duration>,
}

impl Request {
    /// A call of `method`, to be answered to `reply_queue`. `monitor_s` asks for keep-alives within that time.
    pub(super) fn call(
        method: &str,
        args: &Value,
        version: &str,
        reply_queue: &str,
        monitor_s: Option<u64>,
    ) -> Self {
        let msg_id = hex32();
        let mut message = json!({
            "method": method,
            "args": args,
            "version": version,
            "_msg_id": msg_id,
            "_reply_q": reply_queue,
            "_timeout": monitor_s,
            "_unique_id": hex32(),
        });
        if let Value::Object(message) = &mut message {
            message.extend(admin_context());
        }
        let outer = json!({ "oslo.version": ENVELOPE_VERSION, "oslo.message": message.to_string() });
        Self { msg_id, body: outer.to_string().into_bytes(), monitor: monitor_s.map(Duration::from_secs) }
    }
}

/// What `nova.context.get_admin_context()` says of itself, less what is null there: absent and null are the
/// same to every release. `is_admin` must be there, since absent reads as false.
fn admin_context() -> Map<String, Value> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string();
    let context = json!({
        "_context_is_admin": true,
        "_context_is_admin_project": true,
        "_context_read_deleted": "no",
        "_context_request_id": format!("req-{}", uuid4()),
        "_context_roles": [],
        "_context_service_catalog": [],
        // Without microseconds older releases fail to read it.
        "_context_timestamp": now,
        "_context_user_id": null,
        "_context_project_id": null,
    });
    match context {
        Value::Object(context) => context,
        _ => Map::new(),
    }
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    /// Which call it answers
    pub(super) msg_id: String,
    /// Of this very message; the same reply may come twice
    pub(super) unique_id: Option<String>,
    /// What it says
    pub(super) says: Says,
}

/// What a reply says.
#[derive(Debug, PartialEq)]
pub(super) enum Says {
    /// The call is still being worked on. Very old servers send the result so, and the end apart.
    NotYet {
        /// Not null: keep it for the end
        result: Option<Value>,
    },
    /// It is done. Null after a result that was kept.
    Done(Value),
    /// It failed.
    Failed(RemoteFailure),
}

/// An exception of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFailure {
    /// Python's class
    pub class: String,
    /// The module of the class
    pub module: String,
    /// Its text, shortened and without control characters
    pub message: String,
}

impl RemoteFailure {
    /// Whether no endpoint of the server has the version that was asked for.
    #[must_use]
    pub fn is_unsupported_version(&self) -> bool {
        self.class == "UnsupportedVersion" && self.module.starts_with("oslo_messaging.")
    }
}

impl fmt::Display for RemoteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.module, self.class, self.message)
    }
}

/// Why a reply is not believed.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum ReplyError {
    #[error("it is longer than {REPLY_BYTES_MAX} bytes")]
    TooLong,
    #[error("its compression \"{0}\" is unknown")]
    Compression(String),
    #[error("it cannot be inflated")]
    Inflate,
    #[error("its {0} is not a JSON object")]
    NotJson(&'static str),
    #[error("its envelope has version {0}, expected {ENVELOPE_VERSION}")]
    Version(String),
    #[error("it has no _msg_id")]
    NoMsgId,
}

impl Reply {
    /// Reads a message; `compression` is its header of that name.
    pub(super) fn parse(body: &[u8], compression: Option<&str>) -> Result<Self, ReplyError> {
        let inflated = match compression {
            None | Some("") => None,
            // Named so by kombu/compression.py, which writes zlib's format (RFC 1950) and not gzip's.
            Some("application/x-gzip") => Some(
                miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(body, REPLY_BYTES_MAX)
                    .map_err(|_| ReplyError::Inflate)?,
            ),
            Some(other) => return Err(ReplyError::Compression(shortened(other))),
        };
        let body = inflated.as_deref().unwrap_or(body);
        if body.len() > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        let message = open(object(body, "envelope")?)?;
        let msg_id = id(&message, "_msg_id").ok_or(ReplyError::NoMsgId)?;
        let unique_id = id(&message, "_unique_id");
        let says = says(&message)?;
        Ok(Self { msg_id, unique_id, says })
    }
}

/// The `_msg_id` of a message of our own that came back.
pub(super) fn msg_id_of_returned(body: &[u8]) -> Option<String> {
    id(&open(object(body, "envelope").ok()?).ok()?, "_msg_id")
}

/// An id is text, and not long: some are remembered.
fn id(message: &Map<String, Value>, name: &str) -> Option<String> {
    message.get(name).and_then(Value::as_str).filter(|id| id.len() <= ID_BYTES_MAX).map(str::to_owned)
}

/// Takes the message out of its envelope. Without both keys the outer object is the message.
fn open(outer: Map<String, Value>) -> Result<Map<String, Value>, ReplyError> {
    let (Some(version), Some(message)) = (outer.get("oslo.version"), outer.get("oslo.message")) else {
        return Ok(outer);
    };
    if version.as_str() != Some(ENVELOPE_VERSION) {
        return Err(ReplyError::Version(shortened(&version.to_string())));
    }
    object(message.as_str().unwrap_or_default().as_bytes(), "message")
}

fn says(message: &Map<String, Value>) -> Result<Says, ReplyError> {
    let field = |name: &str| message.get(name).filter(|value| !value.is_null());
    if let Some(failure) = field("failure") {
        let failure = object(failure.as_str().unwrap_or_default().as_bytes(), "failure")?;
        let text = |name: &str| shortened(failure.get(name).and_then(Value::as_str).unwrap_or_default());
        let (class, module, message) = (text("class"), text("module"), text("message"));
        return Ok(Says::Failed(RemoteFailure { class, module, message }));
    }
    let result = field("result").cloned();
    // Only an end that is said is one.
    if message.get("ending") == Some(&Value::Bool(true)) {
        Ok(Says::Done(result.unwrap_or(Value::Null)))
    } else {
        Ok(Says::NotYet { result })
    }
}

fn object(json: &[u8], what: &'static str) -> Result<Map<String, Value>, ReplyError> {
    match serde_json::from_slice(json) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(ReplyError::NotJson(what)),
    }
}

/// Text of others, fit for one log line.
pub(super) fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FAILURE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
