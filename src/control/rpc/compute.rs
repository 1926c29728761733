//! What nova-compute is asked (`nova/compute/rpcapi.py`, `validate_console_port`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::bus::{Bus, CallError};
use super::envelope::Request;
use super::options::RpcSettings;
use crate::console::ConsoleType;

/// Answered by every release from Queens to 2026.2, with the same arguments as 6.0.
const VERSION: &str = "5.0";
/// For the day that Nova drops 5.x.
const NEXT_VERSION: &str = "6.0";
/// Hosts remembered for it. A cloud has one release, or two while it is upgraded.
const NEXT_VERSION_HOSTS_MAX: usize = 1_000;
/// Nova asks for keep-alives in calls that may take longer than this.
const MONITOR_ABOVE_S: u64 = 60;

/// Asks computes whether a port still is an instance's.
pub struct Compute {
    bus: Bus,
    settings: RpcSettings,
    needs_next_version: RefCell<VecDeque<String>>,
    /// What came of the last attempt to connect for its own sake, and when
    probed: RefCell<Option<(Instant, Result<String, String>)>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct PortQuestion<'a> {
    /// `instances.id`: without it nova-compute would look the instance up
    pub instance_id: i64,
    /// `instances.uuid`
    pub instance_uuid: &'a str,
    /// `instances.host`: the service to ask, not the hypervisor's node
    pub host: &'a str,
    /// The token's port, -1 where there is none
    pub port: i64,
    /// The token's console type
    pub console_type: ConsoleType,
}

impl Compute {
    /// Nothing is contacted before the first question.
    #[must_use]
    pub fn new(settings: RpcSettings) -> Self {
        Self {
            bus: Bus::new(settings.clone()),
            settings,
            needs_next_version: RefCell::default(),
            probed: RefCell::default(),
        }
    }

    /// Whether the instance's console is at this port now. Only JSON `true` is a yes. Ends at `deadline`, or
    /// after `rpc_response_timeout` if that comes first.
    ///
    /// # Errors
    ///
    /// [`CallError`]: nobody can say, so the answer has to be taken for a no.
    pub async fn validate_console_port(
        &self,
        question: &PortQuestion<'_>,
        deadline: Instant,
    ) -> Result<bool, CallError> {
        let deadline = deadline.min(Instant::now() + self.settings.response_timeout);
        let port = Value::String(question.port.to_string());
        let valid = self.ask(question, &port, deadline).await?;
        if !valid && self.settings.serial_number_retry && question.console_type == ConsoleType::Serial {
            // Queens and early Rocky compare the port as it is, and serial's is a number there.
            return self.ask(question, &json!(question.port), deadline).await;
        }
        Ok(valid)
    }

    async fn ask(
        &self,
        question: &PortQuestion<'_>,
        port: &Value,
        deadline: Instant,
    ) -> Result<bool, CallError> {
        let remembered = self.needs_next_version.borrow().iter().any(|host| host == question.host);
        let version = if remembered { NEXT_VERSION } else { VERSION };
        match self.call(question, port, version, deadline).await {
            Err(CallError::Remote(failure)) if failure.is_unsupported_version() && !remembered => {
                let answer = self.call(question, port, NEXT_VERSION, deadline).await;
                if answer.is_ok() {
                    self.remember(question.host);
                }
                answer
            }
            answer => answer,
        }
    }

    async fn call(
        &self,
        question: &PortQuestion<'_>,
        port: &Value,
        version: &str,
        deadline: Instant,
    ) -> Result<bool, CallError> {
        let args = arguments(question, port);
        let seconds = self.settings.response_timeout.as_secs();
        let monitor_s = (seconds > MONITOR_ABOVE_S).then_some(MONITOR_ABOVE_S);
        let request =
            Request::call("validate_console_port", &args, version, self.bus.reply_queue(), monitor_s);
        let result = self.bus.call(&self.queues(question.host), request, deadline).await?;
        if !result.is_boolean() {
            warn!(
                "nova-compute on {} answered {}, expected a boolean; taken for no",
                question.host,
                super::envelope::shortened(&result.to_string())
            );
        }
        Ok(result == Value::Bool(true))
    }

    fn queues(&self, host: &str) -> Vec<String> {
        let topics: &[&str] =
            if self.settings.compute_alt { &["compute-alt", "compute"] } else { &["compute"] };
        topics.iter().map(|topic| format!("{topic}.{host}")).collect()
    }

    fn remember(&self, host: &str) {
        let mut hosts = self.needs_next_version.borrow_mut();
        if hosts.len() == NEXT_VERSION_HOSTS_MAX {
            hosts.pop_front();
        }
        hosts.push_back(host.to_owned());
    }

    /// Whether the message bus answers: of a connection that stands, or that is being made again, that is known.
    /// Before the first question one is tried, and what comes of it counts for `age`.
    ///
    /// # Errors
    ///
    /// What each broker said; no text holds credentials.
    pub async fn bus_answers(&self, age: Duration) -> Result<String, String> {
        if let Some(known) = self.bus.stands() {
            return known;
        }
        let probed = self.probed.borrow().clone();
        match probed {
            Some((at, result)) if at.elapsed() < age => result,
            _ => {
                let result = super::probe(&self.settings).await;
                self.probed.replace(Some((Instant::now(), result.clone())));
                result
            }
        }
    }

    /// Deletes the reply queue and ends the connection.
    pub async fn close(&self) {
        self.bus.close().await;
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compute")
    }
}

/// The smallest instance that nova-compute takes. Version 2.0 of the object is not above any server's, so
/// none asks the conductor to convert it; the port is text, since anything else is silently wrong.
fn arguments(question: &PortQuestion<'_>, port: &Value) -> Value {
    json!({
        "instance": {
            "nova_object.name": "Instance",
            "nova_object.namespace": "nova",
            "nova_object.version": "2.0",
            "nova_object.data": {
                "id": question.instance_id,
                "uuid": question.instance_uuid,
                "host": question.host,
            },
        },
        "port": port,
        "console_type": question.console_type.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    const QUESTION: PortQuestion<'_> = PortQuestion {
        instance_id: 1,
        instance_uuid: "8f1d2c3b-0000-4000-8000-000000000001",
        host: "host1",
        port: 5900,
        console_type: ConsoleType::NoVnc,
    };

    #[test]
    fn the_arguments_are_the_smallest_that_nova_was_seen_to_take() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/oslo/request-minimal.json");
        let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let seen = &capture["messages"][0]["decoded_message"]["args"];
        assert_eq!(arguments(&QUESTION, &json!("5900")), *seen);
    }

    #[test]
    fn compute_alt_comes_first_where_it_is_asked_for() {
        let mut settings = settings();
        assert_eq!(Compute::new(settings.clone()).queues("host1"), ["compute.host1"]);
        settings.compute_alt = true;
        assert_eq!(Compute::new(settings).queues("host1"), ["compute-alt.host1", "compute.host1"]);
    }

    #[test]
    fn hosts_that_need_the_next_version_are_remembered_within_a_bound() {
        let compute = Compute::new(settings());
        (0..=NEXT_VERSION_HOSTS_MAX).for_each(|number| compute.remember(&number.to_string()));
        let hosts = compute.needs_next_version.borrow();
        assert_eq!((hosts.len(), hosts[0].as_str()), (NEXT_VERSION_HOSTS_MAX, "1"));
    }
}
