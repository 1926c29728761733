//! Turns each question into a task, with a bound on how many of a kind run and for how long.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::Instrument;

use super::answer::Answer;
use super::consoleauth::ConsoleAuth;
use super::files::{Files, Wanted};
use super::places::Places;
use super::resolve;
use crate::console::TokenHash;
use crate::session::limits::{duration, size};
use crate::session::{
    Admitted, AuthorizeError, Failure, FileEvent, FileHandle, Input, LOG_TARGET, Limits, Question,
};

/// Names asked for at a time: each one holds a thread for as long as the resolver takes.
const NAME_LOOKUPS_MAX: usize = 16;

/// Files opened or read at a time: each one may hold a thread while a disk is slow.
const FILE_READS_MAX: usize = 16;

/// A question, and when it was asked: waiting for its turn counts.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) answer: Answer,
    pub(super) at: Instant,
}

/// Whoever is asked.
pub(super) struct Desk {
    consoleauth: ConsoleAuth,
    places: Places,
    files: Files,
    limits: Limits,
    // A blocking call cannot be cancelled: its permit goes with it into its thread, so that calls nobody
    // waits for any more still count.
    name_lookups: Arc<Semaphore>,
    file_reads: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(consoleauth: ConsoleAuth, files: Files, limits: Limits) -> Self {
        Self {
            consoleauth,
            places: Places::new(&limits),
            files,
            limits,
            name_lookups: Arc::new(Semaphore::new(NAME_LOOKUPS_MAX)),
            file_reads: Arc::new(Semaphore::new(FILE_READS_MAX)),
        }
    }

    /// Answers one question, in time.
    pub(super) async fn serve(self: Rc<Self>, asked: Asked) {
        let Asked { question, answer, at } = asked;
        let limit_ms = match &question {
            Question::Authorize { .. } => self.limits.authorize_timeout_ms,
            Question::Resolve { .. } => self.limits.connect_timeout_ms,
            Question::OpenFile { .. } | Question::ReadFile { .. } => self.limits.response_timeout_ms,
        };
        let deadline = tokio::time::Instant::from_std(at) + duration(limit_ms);
        match timeout_at(deadline, self.answer_to(question, deadline)).await {
            Ok(input) => answer.give(input),
            Err(_) => answer.fail(&format!("no answer within {limit_ms} ms")),
        }
    }

    /// Ends what is kept open for answers.
    pub(super) async fn close(&self) {
        self.consoleauth.close().await;
    }

    async fn answer_to(&self, question: Question, deadline: tokio::time::Instant) -> Input {
        match question {
            Question::Authorize { hash, session, tenant } => {
                // What is logged on the way to the answer is the session's.
                let session = tracing::error_span!(target: LOG_TARGET, "session", request = session);
                self.authorize(&hash, tenant, deadline).instrument(session).await
            }
            Question::Resolve { host, port } => self.resolve(host, port).await,
            Question::OpenFile { path, accepts_gzip, wants_bytes } => {
                self.open_file(Wanted { path, accepts_gzip, wants_bytes }).await
            }
            Question::ReadFile { file, offset } => self.read_file(file, offset).await,
        }
    }

    async fn authorize(&self, hash: &TokenHash, tenant: IpAddr, deadline: tokio::time::Instant) -> Input {
        match self.admit(hash, tenant, deadline).await {
            Ok(admitted) => Input::Authorized(admitted),
            Err(reason) => Input::Failed(Failure::Authorize(reason)),
        }
    }

    async fn admit(
        &self,
        hash: &TokenHash,
        tenant: IpAddr,
        deadline: tokio::time::Instant,
    ) -> Result<Box<Admitted>, AuthorizeError> {
        let taken = self.places.take(tenant)?;
        let info = self.consoleauth.authorize(hash, deadline).await?;
        let place = self.places.settle(taken, &info.instance_uuid)?;
        Ok(Admitted::with_place(info, place))
    }

    /// Whoever decides over tokens.
    pub(super) fn consoleauth(&self) -> &ConsoleAuth {
        &self.consoleauth
    }

    async fn resolve(&self, host: String, port: u16) -> Input {
        let permit = Arc::clone(&self.name_lookups).acquire_owned().await;
        let addresses_max = size(self.limits.addresses_max);
        let looked_up = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            resolve::look_up(&host, port, addresses_max)
        });
        match looked_up.await {
            Ok(Ok(addresses)) => Input::Resolved(addresses),
            Ok(Err(reason)) => Input::Failed(Failure::Resolve(reason.to_string())),
            Err(stopped) => Input::Failed(Failure::Resolve(stopped.to_string())),
        }
    }

    async fn open_file(&self, wanted: Wanted) -> Input {
        let files = self.files.clone();
        self.read(async move { files.open(wanted).await }).await
    }

    async fn read_file(&self, file: FileHandle, offset: u64) -> Input {
        let files = self.files.clone();
        self.read(async move { files.read(&file, offset).await }).await
    }

    /// Runs `work` as a task of its own, which goes on when its question is given up.
    async fn read(&self, work: impl Future<Output = FileEvent> + 'static) -> Input {
        let permit = Arc::clone(&self.file_reads).acquire_owned().await;
        let task = tokio::task::spawn_local(async move {
            let _permit = permit;
            work.await
        });
        Input::File(task.await.unwrap_or(FileEvent::Failed))
    }
}
