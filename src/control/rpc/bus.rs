//! Calls over the message bus: one connection for all of them, made with the first, and kept.
//!
//! A call outlives connections. Its waiter is registered before its request is published; a request that the broker
//! has not confirmed is published again on the next connection, a confirmed one is waited for, since the
//! reply queue keeps its name. Whatever happens, a call ends at its deadline.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use super::amqp::{self, Publisher, Topology};
use super::envelope::{RemoteFailure, Request, msg_id_of_returned, shortened};
use super::keeper;
use super::options::RpcSettings;
use super::random::hex32;
use super::waiters::{News, Waiter, Waiters};

/// Between two attempts to publish the same request on brokers that are up.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Requests that the broker has not confirmed, also those of calls that are over: lapin keeps them.
const PUBLISHES_MAX: usize = 10_000;
/// How long the end of the process waits for the reply queue to be deleted.
const CLOSE_WITHIN: Duration = Duration::from_millis(400);

/// Why a call has no result. No text holds credentials.
#[derive(Debug, Error)]
pub enum CallError {
    /// Too many calls wait already.
    #[error("too many calls wait for the message bus")]
    TooMany,
    /// A name that cannot be a routing key.
    #[error("the request cannot be addressed: {0}")]
    Address(String),
    /// No connection until the deadline.
    #[error("the message bus could not be reached: {0}")]
    Unreachable(String),
    /// Every broker refused us.
    #[error("the message bus refused the connection: {0}")]
    Refused(String),
    /// Published, but the broker did not take it.
    #[error("the broker did not take the request in time{}", .0.as_ref().map_or(String::new(), |why| format!(": it is blocked ({why})")))]
    NotTaken(Option<String>),
    /// There is no such queue.
    #[error("the broker has no queue {queue} ({reply_text}): the service never ran there")]
    Undeliverable {
        /// Where the request was sent to
        queue: String,
        /// The broker's words
        reply_text: String,
    },
    /// Nobody answered.
    #[error("timed out waiting for a reply from {queue}")]
    NoReply {
        /// Where the request was sent to
        queue: String,
    },
    /// The server raised an exception.
    #[error("{0}")]
    Remote(RemoteFailure),
}

/// The bus, as callers see it. Belongs to one thread's `LocalSet`.
#[derive(Clone)]
pub(super) struct Bus(pub(super) Rc<Inner>);

/// What callers and the connection's keeper share.
pub(super) struct Inner {
    pub(super) settings: RpcSettings,
    pub(super) topology: Topology,
    pub(super) waiters: Waiters,
    pub(super) state: watch::Sender<State>,
    /// Why the broker takes nothing, while it does not
    pub(super) blocked: watch::Sender<Option<Rc<str>>>,
    /// One permit for each request that the broker has not confirmed
    publishes: Arc<Semaphore>,
    /// A publisher failed
    pub(super) publisher_lost: Notify,
    /// The process ends
    pub(super) stop: Notify,
    keeper: RefCell<Option<JoinHandle<()>>>,
}

/// Whether requests can be published.
#[derive(Clone)]
pub(super) enum State {
    /// Not now.
    Down {
        /// What each broker said last
        why: Rc<str>,
        /// They will say so again
        refused: bool,
    },
    /// Yes.
    Up(Up),
}

/// A channel for requests.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) publisher: Publisher,
    /// Grows with each channel
    pub(super) generation: u64,
    /// Until then computes may still be declaring their queues anew, as we did
    pub(super) unsettled_until: Option<Instant>,
}

/// What became of a published request.
enum Published {
    Confirmed,
    Nacked,
    Lost,
}

/// How long a call waits.
struct Patience {
    deadline: Instant,
    /// The longest silence of a server that has the request (`amqpdriver.py`, `ReplyWaiter.wait`)
    monitor: Option<Duration>,
    /// When something was last heard of the request
    heard: Instant,
}

impl Patience {
    fn ends(&self, confirmed: bool) -> Instant {
        let silent = self.monitor.filter(|_| confirmed).map(|silence| self.heard + silence);
        silent.map_or(self.deadline, |silent| silent.min(self.deadline))
    }
}

/// What became of a call so far.
enum Outcome {
    Result(Value),
    /// There is no such queue, or, unless the bus has settled, not yet.
    Returned {
        settled: bool,
        why: CallError,
    },
    /// The broker did not take it: it is to be published again.
    NotTaken(CallError),
}

impl Bus {
    /// Nothing is contacted before the first call.
    pub(super) fn new(settings: RpcSettings) -> Self {
        let topology = Topology::new(&settings, &format!("reply_{}", hex32()));
        let down = State::Down { why: "no broker has answered yet".into(), refused: false };
        Self(Rc::new(Inner {
            settings,
            topology,
            waiters: Waiters::default(),
            state: watch::Sender::new(down),
            blocked: watch::Sender::default(),
            publishes: Arc::new(Semaphore::new(PUBLISHES_MAX)),
            publisher_lost: Notify::new(),
            stop: Notify::new(),
            keeper: RefCell::default(),
        }))
    }

    /// The queue that replies come to.
    pub(super) fn reply_queue(&self) -> &str {
        &self.0.topology.reply_queue
    }

    /// Publishes `request` to the first of `queues` that exists, and waits for its result.
    pub(super) async fn call(
        &self,
        queues: &[String],
        request: Request,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        self.start();
        let keys = queues.iter().map(|queue| amqp::short(queue)).collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|error| CallError::Address(error.to_string()))?;
        let Request { msg_id, body, monitor } = request;
        let mut patience = Patience { deadline, monitor, heard: Instant::now() };
        let body: Rc<[u8]> = body.into();
        let mut waiter = self.0.waiters.register(&msg_id).ok_or(CallError::TooMany)?;
        let mut broken = 0;
        loop {
            let mut failed = CallError::TooMany;
            for (index, key) in keys.iter().enumerate() {
                let up = self.up(broken, deadline).await?;
                let published = self.publish(&up, key, &body, deadline)?;
                match self.outcome(&mut waiter, published, &up, key.as_str(), &mut patience).await? {
                    Outcome::Result(result) => return Ok(result),
                    Outcome::Returned { settled, why } => {
                        failed = why;
                        if settled && index + 1 == keys.len() {
                            return Err(failed);
                        }
                    }
                    Outcome::NotTaken(why) => {
                        if !up.publisher.is_up() {
                            broken = up.generation;
                        }
                        failed = why;
                        break;
                    }
                }
            }
            sleep_until(deadline.min(Instant::now() + RETRY_PAUSE)).await;
            if Instant::now() >= deadline {
                return Err(failed);
            }
        }
    }

    /// Waits for what becomes of a request that is being published.
    async fn outcome(
        &self,
        waiter: &mut Waiter,
        mut published: oneshot::Receiver<Published>,
        up: &Up,
        queue: &str,
        patience: &mut Patience,
    ) -> Result<Outcome, CallError> {
        let queue = || queue.to_owned();
        let mut confirmed = false;
        loop {
            tokio::select! {
                biased;
                news = waiter.next() => return match news {
                    News::Alive => {
                        patience.heard = Instant::now();
                        continue;
                    }
                    News::Done(result) => Ok(Outcome::Result(result)),
                    News::Failed(failure) => Err(CallError::Remote(failure)),
                    News::Returned { reply_text } => Ok(Outcome::Returned {
                        // After a restart of the broker its clients come back one by one.
                        settled: up.unsettled_until.is_none_or(|until| Instant::now() >= until),
                        why: CallError::Undeliverable { queue: queue(), reply_text },
                    }),
                },
                outcome = &mut published, if !confirmed => match outcome {
                    Ok(Published::Confirmed) => {
                        confirmed = true;
                        patience.heard = Instant::now();
                    }
                    Ok(Published::Nacked | Published::Lost) | Err(_) => return Ok(Outcome::NotTaken(self.not_taken())),
                },
                () = sleep_until(patience.ends(confirmed)) => {
                    return Err(if confirmed { CallError::NoReply { queue: queue() } } else { self.not_taken() });
                }
            }
        }
    }

    fn not_taken(&self) -> CallError {
        CallError::NotTaken(self.0.blocked.borrow().as_ref().map(ToString::to_string))
    }

    /// Publishes in a task of its own: the broker's confirmation may carry the request of another call that came
    /// back, so each has to be waited for, also when its call is over.
    fn publish(
        &self,
        up: &Up,
        key: &ShortString,
        body: &Rc<[u8]>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Published>, CallError> {
        let Ok(place) = Arc::clone(&self.0.publishes).try_acquire_owned() else {
            return Err(CallError::TooMany);
        };
        let (sender, receiver) = oneshot::channel();
        let (inner, publisher, body) = (Rc::clone(&self.0), up.publisher.clone(), Rc::clone(body));
        let key = key.clone();
        let expires_in = deadline.saturating_duration_since(Instant::now());
        spawn_local(async move {
            let _place = place;
            let confirmation = match publisher.publish(&key, &body, expires_in).await {
                Ok(confirm) => confirm.await.ok(),
                Err(_) => None,
            };
            let published = match confirmation {
                None => {
                    inner.publisher_lost.notify_one();
                    Published::Lost
                }
                Some(confirmation) => {
                    let nacked = confirmation.is_nack();
                    if let Some(returned) = confirmation.take_message()
                        && let Some(msg_id) = msg_id_of_returned(&returned.data)
                    {
                        let said = format!("{} {}", returned.reply_code, returned.reply_text);
                        inner.waiters.returned(&msg_id, shortened(&said));
                    }
                    if nacked { Published::Nacked } else { Published::Confirmed }
                }
            };
            // Its call may be over.
            let _ = sender.send(published);
        });
        Ok(receiver)
    }

    /// Waits for a channel younger than generation `broken`, on a broker that takes messages.
    async fn up(&self, broken: u64, deadline: Instant) -> Result<Up, CallError> {
        let (mut state, mut blocked) = (self.0.state.subscribe(), self.0.blocked.subscribe());
        loop {
            let is_blocked = blocked.borrow_and_update().is_some();
            let why = match &*state.borrow_and_update() {
                State::Up(up) if up.generation > broken && !is_blocked => return Ok(up.clone()),
                State::Up(_) if is_blocked => self.not_taken(),
                State::Up(_) => CallError::Unreachable("the channel was closed".to_owned()),
                State::Down { why, refused: true } => return Err(CallError::Refused(why.to_string())),
                State::Down { why, refused: false } => CallError::Unreachable(why.to_string()),
            };
            tokio::select! {
                // Both senders live as long as this does.
                _ = state.changed() => {}
                _ = blocked.changed() => {}
                () = sleep_until(deadline) => return Err(why),
            }
        }
    }

    /// Whether the connection stands, or why not. None before the first call.
    pub(super) fn stands(&self) -> Option<Result<String, String>> {
        self.0.keeper.borrow().as_ref()?;
        Some(match (&*self.0.state.borrow(), &*self.0.blocked.borrow()) {
            (State::Up(_), None) => Ok("connected".to_owned()),
            (State::Up(_), Some(why)) => Err(format!("the broker is blocked: {why}")),
            (State::Down { why, .. }, _) => Err(why.to_string()),
        })
    }

    fn start(&self) {
        self.0.keeper.borrow_mut().get_or_insert_with(|| spawn_local(keeper::keep(Rc::clone(&self.0))));
    }

    /// Deletes the reply queue and ends the connection, if there is one.
    pub(super) async fn close(&self) {
        let keeper = self.0.keeper.borrow_mut().take();
        let Some(mut keeper) = keeper else { return };
        if matches!(&*self.0.state.borrow(), State::Up(_)) {
            self.0.stop.notify_one();
            let _ = timeout(CLOSE_WITHIN, &mut keeper).await;
        }
        keeper.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_with_keep_alives_ends_with_their_absence_once_the_request_is_out() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let deadline = now + seconds(200);
        let mut patience = Patience { deadline, monitor: Some(seconds(60)), heard: now };
        assert_eq!((patience.ends(false), patience.ends(true)), (deadline, now + seconds(60)));
        patience.heard = now + seconds(50);
        assert_eq!(patience.ends(true), now + seconds(110));
        patience.heard = now + seconds(150);
        assert_eq!(patience.ends(true), deadline);
        patience.monitor = None;
        assert_eq!(patience.ends(true), deadline);
    }
}
