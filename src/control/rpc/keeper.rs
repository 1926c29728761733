//! Keeps the connection: makes it, reads replies, and makes it again when it is lost, for as long as the process
//! lives.
//!
//! Its log lines have oslo.messaging's logger and, where there is one, its text.

use std::rc::Rc;
use std::time::Duration;

use lapin::message::Delivery;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::amqp::{self, AmqpError, Connection, Event, Publisher, acknowledge};
use super::bus::{Inner, State, Up};
use super::envelope::Reply;
use super::hosts::Hosts;
use super::random::fraction;
use super::transport_url::Host;
use super::waiters::Fate;
use crate::telemetry::metrics::metrics;

/// How long after a reconnect a missing queue is taken for one that is not there *yet*: Python's services come
/// back after one to a few seconds.
const UNSETTLED: Duration = Duration::from_secs(15);

/// Before a lost connection is made again, also where the operator wants no delay: a broker that takes us in and
/// throws us out would be asked without end.
const PAUSE_MIN: Duration = Duration::from_millis(100);

const TARGET: &str = "oslo.messaging._drivers.impl_rabbit";

/// How a connection ended.
enum End {
    Stopped,
    Lost(AmqpError),
}

/// Runs until [`Inner::stop`].
pub(super) async fn keep(inner: Rc<Inner>) {
    let rabbit = &inner.settings.rabbit;
    let mut hosts = Hosts::new(inner.settings.hosts.len(), rabbit.failover, rabbit.backoff);
    let mut generation = 0;
    // What each host said in this round, and whether all of it was a refusal.
    let mut round: Vec<String> = Vec::new();
    let mut refused = true;
    let mut afresh = false;
    loop {
        let Some(host) = inner.settings.hosts.get(hosts.current()) else { return };
        match open(&inner, host, afresh).await {
            Ok((mut connection, publisher)) => {
                hosts.worked();
                (round, refused) = (Vec::new(), true);
                let again = generation > 0;
                generation += 1;
                let heartbeat_s = connection.heartbeat_s();
                let what = if again { "Reconnected" } else { "Connected" };
                info!(target: TARGET, "{what} to AMQP server on {host} (heartbeat {heartbeat_s} s)");
                let unsettled_until = again.then(|| Instant::now() + UNSETTLED);
                inner.state.send_replace(State::Up(Up {
                    publisher: publisher.clone(),
                    generation,
                    unsettled_until,
                }));
                metrics().broker_connected.set(1);
                let end = serve(&inner, &mut connection, publisher, &mut generation).await;
                metrics().broker_connected.set(0);
                inner.blocked.send_replace(None);
                match end {
                    End::Stopped => {
                        connection.delete_replies(&inner.topology).await;
                        connection.close().await;
                        return;
                    }
                    End::Lost(why) => {
                        // A message that we do not read would come again.
                        afresh = matches!(why, AmqpError::Unreadable(_));
                        inner.down(format!("{host}: {why}"), false);
                        let pause = rabbit.reconnect_delay + rabbit.reconnect_splay.mul_f64(fraction());
                        let pause = pause.max(PAUSE_MIN);
                        let seconds = pause.as_secs_f64();
                        error!(
                            target: TARGET,
                            "AMQP server on {host} ended the connection: {why}. Trying again in {seconds:.1} seconds."
                        );
                        connection.close().await;
                        sleep(pause).await;
                    }
                }
            }
            Err(why) => {
                refused &= matches!(why, AmqpError::Refused(_));
                round.push(format!("{host}: {why}"));
                let pause = hosts.failed();
                // A login that was refused will be refused again: no hurry, and not our broker's log full of it.
                let pause = pause.map(|pause| if refused { rabbit.backoff.max } else { pause });
                let seconds = pause.unwrap_or_default().as_secs();
                error!(
                    target: TARGET,
                    "AMQP server on {host} is unreachable: {why}. Trying again in {seconds} seconds."
                );
                inner.down(round.join("; "), refused && pause.is_some());
                if let Some(pause) = pause {
                    (round, refused) = (Vec::new(), true);
                    sleep(pause).await;
                }
            }
        }
    }
}

async fn open(inner: &Inner, host: &Host, afresh: bool) -> Result<(Connection, Publisher), AmqpError> {
    let mut connection = amqp::connect(&inner.settings, host).await?;
    let publisher = connection.set_up(&inner.topology, afresh).await;
    match publisher {
        Ok(publisher) => Ok((connection, publisher)),
        Err(why) => {
            connection.close().await;
            Err(why)
        }
    }
}

/// Reads from a connection until it ends.
async fn serve(
    inner: &Rc<Inner>,
    connection: &mut Connection,
    mut publisher: Publisher,
    generation: &mut u64,
) -> End {
    loop {
        tokio::select! {
            event = connection.next() => match event {
                Event::Reply(delivery) => inner.take(delivery),
                Event::Cancelled => {
                    warn!(target: TARGET, "the broker cancelled the consumer of the reply queue; declaring it again");
                    sleep(inner.settings.rabbit.reconnect_delay).await;
                    if let Err(why) = connection.consume_again(&inner.topology).await {
                        return End::Lost(why);
                    }
                }
                Event::Blocked(why) => {
                    let why = super::envelope::shortened(&why);
                    warn!(target: TARGET, "Connection blocked: {why}");
                    inner.blocked.send_replace(Some(why.into()));
                }
                Event::Unblocked => {
                    info!(target: TARGET, "Connection unblocked");
                    inner.blocked.send_replace(None);
                }
                Event::Lost(why) => return End::Lost(why),
            },
            () = inner.publisher_lost.notified() => {
                // The loss of the whole connection is an event of its own, with its reason.
                if publisher.is_up() || !connection.is_up() {
                    continue;
                }
                match connection.publish_again(&inner.topology).await {
                    Ok(another) => publisher = another,
                    Err(why) => return End::Lost(why),
                }
                *generation += 1;
                let up = Up { publisher: publisher.clone(), generation: *generation, unsettled_until: None };
                inner.state.send_replace(State::Up(up));
            }
            () = inner.stop.notified() => return End::Stopped,
        }
    }
}

impl Inner {
    fn down(&self, why: String, refused: bool) {
        self.state.send_replace(State::Down { why: why.into(), refused });
    }

    /// Takes a reply to its call. What cannot be read is dropped: its call, if it is one, times out.
    fn take(&self, delivery: Box<Delivery>) {
        let headers = delivery.properties.headers().as_ref();
        let compression = headers.and_then(|headers| headers.inner().get("compression"));
        let compression = compression.and_then(|value| value.as_long_string()).map(ToString::to_string);
        match Reply::parse(&delivery.data, compression.as_deref()) {
            Ok(reply) => {
                let msg_id = reply.msg_id.clone();
                match self.waiters.deliver(reply) {
                    Fate::Delivered => {}
                    Fate::Duplicate => {
                        debug!(target: TARGET, "dropped a reply that came before (msg_id {msg_id:?})")
                    }
                    // Too late, or not ours.
                    Fate::Unknown => {
                        info!(target: TARGET, "No calling threads waiting for msg_id : {msg_id:?}")
                    }
                }
            }
            Err(why) => warn!(target: TARGET, "dropped a message to the reply queue: {why}"),
        }
        // While the broker is blocked lapin sends nothing, this neither: it must not hold up the next reply.
        spawn_local(async move { acknowledge(&delivery).await });
    }
}
