//! The duty to answer a question, as a value that cannot be forgotten.

use tokio::sync::OwnedSemaphorePermit;

use crate::session::{AuthorizeError, Failure, FileEvent, Input, Question, Reply};

/// Answers exactly once: with what [`Answer::give`] is given, or, when dropped before (a panic, a
/// time-out, the end of the thread), with the failure that belongs to the question.
pub(super) struct Answer {
    reply: Option<Reply>,
    kind: Kind,
    /// The question's place in the queue: free again once it is answered.
    _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
enum Kind {
    Authorize,
    Resolve,
    File,
}

impl Answer {
    pub(super) fn to(question: &Question, reply: Reply, place: OwnedSemaphorePermit) -> Self {
        let kind = match question {
            Question::Authorize { .. } => Kind::Authorize,
            Question::Resolve { .. } => Kind::Resolve,
            Question::OpenFile { .. } | Question::ReadFile { .. } => Kind::File,
        };
        Self { reply: Some(reply), kind, _place: place }
    }

    pub(super) fn give(mut self, input: Input) {
        if let Some(reply) = self.reply.take() {
            reply(input);
        }
    }

    /// Answers with the question's own failure.
    pub(super) fn fail(self, reason: &str) {
        let input = self.kind.failure(reason);
        self.give(input);
    }

    /// Lifts the duty: the asker was told otherwise.
    pub(super) fn withdraw(mut self) {
        self.reply = None;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply(self.kind.failure("the control thread gave the question up"));
        }
    }
}

impl Kind {
    fn failure(self, reason: &str) -> Input {
        match self {
            Self::Authorize => Input::Failed(Failure::Authorize(AuthorizeError::Database(reason.to_owned()))),
            Self::Resolve => Input::Failed(Failure::Resolve(reason.to_owned())),
            Self::File => Input::File(FileEvent::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::console::TokenHash;

    fn answer() -> (Answer, Receiver<String>, Arc<Semaphore>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let queue = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&queue).try_acquire_owned().unwrap();
        let reply = move |input: Input| sender.lock().unwrap().send(format!("{input:?}")).unwrap();
        let question =
            Question::Authorize { hash: TokenHash([0; 32]), session: 1, tenant: Ipv4Addr::LOCALHOST.into() };
        (Answer::to(&question, Box::new(reply), place), receiver, queue)
    }

    #[test]
    fn a_dropped_answer_fails_the_question_once() {
        let (answer, replies, queue) = answer();
        assert_eq!(queue.available_permits(), 0);
        drop(answer);
        assert!(replies.recv().unwrap().contains("gave the question up"));
        assert!(replies.recv().is_err(), "answered twice");
        assert_eq!(queue.available_permits(), 1);
    }

    #[test]
    fn a_given_answer_is_the_only_one() {
        let (answer, replies, _queue) = answer();
        answer.give(Input::Deadline);
        assert_eq!(replies.iter().collect::<Vec<_>>(), ["Deadline"]);
    }

    #[test]
    fn a_panic_answers() {
        let (answer, replies, _queue) = answer();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _answer = answer;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(replies.iter().count(), 1);
    }

    #[test]
    fn a_withdrawn_answer_is_silent() {
        let (answer, replies, _queue) = answer();
        answer.withdraw();
        assert_eq!(replies.iter().count(), 0);
    }
}
