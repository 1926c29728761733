//! Who waits for which reply. One table for the process: it outlives connections.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::envelope::{RemoteFailure, Reply, Says};

/// Calls in flight. The control thread's queue (`control_queue_max`) is shorter by default.
const CALLS_MAX: usize = 10_000;
/// Messages that a broker may have delivered twice (`oslo_messaging/_drivers/amqp.py`, `_MessageIdsCache`).
const SEEN_MAX: usize = 16;
/// News a waiter has not looked at yet: a return for each publish, keep-alives, and the reply.
const NEWS_MAX: usize = 8;

/// What a waiter learns of its call.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// The broker has no queue for the request (basic.return).
    Returned {
        /// The broker's words
        reply_text: String,
    },
    /// The server is at work.
    Alive,
    /// The result.
    Done(Value),
    /// The server's exception.
    Failed(RemoteFailure),
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its waiter has it.
    Delivered,
    /// The same message came before.
    Duplicate,
    /// Nobody waits for it (any more).
    Unknown,
}

/// The table.
#[derive(Clone, Default)]
pub(super) struct Waiters(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    calls: HashMap<String, Entry>,
    seen: VecDeque<String>,
}

struct Entry {
    news: Sender<News>,
    /// From a reply that was not the last one
    result: Option<Value>,
}

/// A place in the table; dropping it gives it up.
pub(super) struct Waiter {
    waiters: Waiters,
    msg_id: String,
    news: Receiver<News>,
}

impl Waiters {
    /// Registers a call, before its request is published. None when there are too many.
    pub(super) fn register(&self, msg_id: &str) -> Option<Waiter> {
        let calls = &mut self.0.borrow_mut().calls;
        // An id that waits already would share its answer.
        if calls.len() >= CALLS_MAX || calls.contains_key(msg_id) {
            return None;
        }
        let (sender, news) = channel(NEWS_MAX);
        calls.insert(msg_id.to_owned(), Entry { news: sender, result: None });
        Some(Waiter { waiters: self.clone(), msg_id: msg_id.to_owned(), news })
    }

    /// Takes a reply to its waiter.
    pub(super) fn deliver(&self, reply: Reply) -> Fate {
        let mut table = self.0.borrow_mut();
        if let Some(id) = reply.unique_id {
            if table.seen.contains(&id) {
                return Fate::Duplicate;
            }
            if table.seen.len() == SEEN_MAX {
                table.seen.pop_front();
            }
            table.seen.push_back(id);
        }
        let Some(entry) = table.calls.get_mut(&reply.msg_id) else { return Fate::Unknown };
        match reply.says {
            Says::NotYet { result } => entry.tell(|entry| {
                entry.result = result.or(entry.result.take());
                News::Alive
            }),
            Says::Done(Value::Null) => {
                entry.tell(|entry| News::Done(entry.result.take().unwrap_or(Value::Null)))
            }
            Says::Done(result) => entry.tell(|_| News::Done(result)),
            Says::Failed(failure) => entry.tell(|_| News::Failed(failure)),
        }
        Fate::Delivered
    }

    /// Tells a waiter that its request came back.
    pub(super) fn returned(&self, msg_id: &str, reply_text: String) {
        if let Some(entry) = self.0.borrow_mut().calls.get_mut(msg_id) {
            entry.tell(|_| News::Returned { reply_text });
        }
    }
}

impl Entry {
    /// A waiter that does not look loses news, and times out. What says nothing more must not take the place of
    /// what does.
    fn tell(&mut self, news: impl FnOnce(&mut Self) -> News) {
        let news = news(self);
        if news != News::Alive || self.news.capacity() > NEWS_MAX / 2 {
            let _ = self.news.try_send(news);
        }
    }
}

impl Waiter {
    /// The next news.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // The sender is in the table for as long as this is.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.0.borrow_mut().calls.remove(&self.msg_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(msg_id: &str, unique_id: &str, says: Says) -> Reply {
        Reply { msg_id: msg_id.to_owned(), unique_id: Some(unique_id.to_owned()), says }
    }

    fn done(value: bool) -> Says {
        Says::Done(Value::Bool(value))
    }

    fn news(waiter: &mut Waiter) -> Vec<News> {
        std::iter::from_fn(|| waiter.news.try_recv().ok()).collect()
    }

    #[test]
    fn each_reply_goes_to_its_own_waiter() {
        let waiters = Waiters::default();
        let mut one = waiters.register("1").unwrap();
        let mut two = waiters.register("2").unwrap();
        assert_eq!(waiters.deliver(reply("2", "a", done(false))), Fate::Delivered);
        assert_eq!(waiters.deliver(reply("1", "b", done(true))), Fate::Delivered);
        assert_eq!(waiters.deliver(reply("3", "c", done(true))), Fate::Unknown);
        assert_eq!(news(&mut one), [News::Done(Value::Bool(true))]);
        assert_eq!(news(&mut two), [News::Done(Value::Bool(false))]);
    }

    #[test]
    fn a_message_that_comes_twice_counts_once_within_the_last_16() {
        let waiters = Waiters::default();
        let mut waiter = waiters.register("1").unwrap();
        assert_eq!(waiters.deliver(reply("1", "a", Says::NotYet { result: None })), Fate::Delivered);
        assert_eq!(waiters.deliver(reply("1", "a", done(true))), Fate::Duplicate);
        for number in 0..SEEN_MAX {
            waiters.deliver(reply("other", &number.to_string(), done(true)));
        }
        assert_eq!(waiters.deliver(reply("1", "a", done(true))), Fate::Delivered);
        assert_eq!(news(&mut waiter), [News::Alive, News::Done(Value::Bool(true))]);
    }

    #[test]
    fn a_result_before_the_end_is_kept_for_it() {
        let waiters = Waiters::default();
        let mut waiter = waiters.register("1").unwrap();
        waiters.deliver(reply("1", "a", Says::NotYet { result: Some(Value::Bool(true)) }));
        waiters.deliver(reply("1", "b", Says::NotYet { result: None }));
        assert_eq!(news(&mut waiter), [News::Alive, News::Alive]);
        waiters.deliver(reply("1", "c", Says::Done(Value::Null)));
        assert_eq!(news(&mut waiter), [News::Done(Value::Bool(true))]);
    }

    #[test]
    fn who_left_is_unknown_and_its_place_is_free() {
        let waiters = Waiters::default();
        let waiter = waiters.register("1").unwrap();
        assert!(waiters.register("1").is_none(), "an id is one call's");
        drop(waiter);
        assert_eq!(waiters.deliver(reply("1", "a", done(true))), Fate::Unknown);
        waiters.returned("1", "NO_ROUTE".to_owned());
        assert!(waiters.0.borrow().calls.is_empty());
        assert!(waiters.register("1").is_some());
    }

    #[test]
    fn calls_are_bounded() {
        let waiters = Waiters::default();
        let all: Vec<_> =
            (0..CALLS_MAX).map(|number| waiters.register(&number.to_string()).unwrap()).collect();
        assert!(waiters.register("more").is_none());
        drop(all);
        assert!(waiters.register("more").is_some());
    }
}
