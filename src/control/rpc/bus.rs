//! Calls over the message bus: one connection for all of them, made with the first, and kept.
//!
//! A call outlives connections. Its waiter is registered before its request is published; a request that the broker
//! has not confirmed is published again on the next connection, a confirmed one is waited for, since the
//! reply queue keeps its name. Whatever happens, a call ends at its deadline.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lapin::types::ShortString;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::amqp::{self, Publisher, Topology};
use super::envelope::{RemoteFailure, Request, msg_id_of_returned, shortened};
use super::keeper;
use super::options::RpcSettings;
use super::random::hex32;
use super::waiters::{News, Waiter, Waiters};

/// Between two attempts to publish the same request on brokers that are up.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
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
    pub(super) blocked: RefCell<Option<String>>,
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

/// What a call does next.
enum Step {
    /// Publish again after a pause
    Again(Duration),
    /// To the next address
    Elsewhere { reply_text: String },
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
            blocked: RefCell::default(),
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
        let Request { msg_id, body } = request;
        let body: Rc<[u8]> = body.into();
        let mut waiter = self.0.waiters.register(&msg_id).ok_or(CallError::TooMany)?;
        let mut broken = 0;
        let mut queues = queues.iter().peekable();
        let mut queue = queues.next().map_or("", String::as_str);
        loop {
            let key = amqp::short(queue).map_err(|error| CallError::Address(error.to_string()))?;
            let up = self.up(broken, deadline).await?;
            let published = self.publish(&up, key, &body, deadline);
            match self.outcome(&mut waiter, published, &up, queue, deadline).await? {
                Ok(result) => return Ok(result),
                Err(Step::Again(pause)) => {
                    if !up.publisher.is_up() {
                        broken = up.generation;
                    }
                    sleep(pause).await;
                }
                Err(Step::Elsewhere { reply_text }) => match queues.next() {
                    Some(next) => queue = next,
                    None => return Err(CallError::Undeliverable { queue: queue.to_owned(), reply_text }),
                },
            }
        }
    }

    /// Waits for the result of a request that is being published, or for a reason to publish it again.
    async fn outcome(
        &self,
        waiter: &mut Waiter,
        mut published: oneshot::Receiver<Published>,
        up: &Up,
        queue: &str,
        deadline: Instant,
    ) -> Result<Result<Value, Step>, CallError> {
        let mut confirmed = false;
        loop {
            tokio::select! {
                biased;
                news = waiter.next() => return match news {
                    News::Done(result) => Ok(Ok(result)),
                    News::Failed(failure) => Err(CallError::Remote(failure)),
                    // After a restart of the broker its clients come back one by one.
                    News::Returned { .. } if up.unsettled_until.is_some_and(|until| Instant::now() < until) => {
                        Ok(Err(Step::Again(RETRY_PAUSE)))
                    }
                    News::Returned { reply_text } => Ok(Err(Step::Elsewhere { reply_text })),
                },
                outcome = &mut published, if !confirmed => match outcome {
                    Ok(Published::Confirmed) => confirmed = true,
                    Ok(Published::Nacked | Published::Lost) | Err(_) => return Ok(Err(Step::Again(RETRY_PAUSE))),
                },
                () = sleep_until(deadline) => return Err(if confirmed {
                    CallError::NoReply { queue: queue.to_owned() }
                } else {
                    CallError::NotTaken(self.0.blocked.borrow().clone())
                }),
            }
        }
    }

    /// Publishes in a task of its own: the broker's confirmation may carry the request of another call that came
    /// back, so each has to be waited for, also when its call is over.
    fn publish(
        &self,
        up: &Up,
        key: ShortString,
        body: &Rc<[u8]>,
        deadline: Instant,
    ) -> oneshot::Receiver<Published> {
        let (sender, receiver) = oneshot::channel();
        let (inner, publisher, body) = (Rc::clone(&self.0), up.publisher.clone(), Rc::clone(body));
        let expires_in = deadline.saturating_duration_since(Instant::now());
        spawn_local(async move {
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
        receiver
    }

    /// Waits for a channel younger than generation `broken`.
    async fn up(&self, broken: u64, deadline: Instant) -> Result<Up, CallError> {
        let mut state = self.0.state.subscribe();
        loop {
            let why = match &*state.borrow_and_update() {
                State::Up(up) if up.generation > broken => return Ok(up.clone()),
                State::Up(_) => "the channel was closed".into(),
                State::Down { why, refused: true } => return Err(CallError::Refused(why.to_string())),
                State::Down { why, refused: false } => Rc::clone(why),
            };
            if timeout_at(deadline, state.changed()).await.is_err() {
                return Err(CallError::Unreachable(why.to_string()));
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
