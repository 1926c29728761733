//! A few connections that all sessions share.
//!
//! Ours rather than sqlx's, for three reasons. Its pool reports only that no connection was to be had in
//! time, never why. A look-up that is given up half-way drops its connection here instead of handing it to
//! the next one with an answer still on its way. And an outage is a state of the whole pool: see [`Outage`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::link::{Link, is_lost};
use super::outage::{Outage, Turn};
use super::statements::{Shape, Statements};
use super::target::{Dialect, Target};
use super::{Rows, SqlError};
use crate::console::TokenHash;

/// What a pool is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// One look-up, waiting and connecting included
    pub(super) wait: Duration,
    /// How long after the first failure a look-up waits for a better answer
    pub(super) patience: Duration,
    /// Longest pause between attempts
    pub(super) retry_interval: Duration,
    /// Age of a connection that is replaced
    pub(super) recycle: Option<Duration>,
    pub(super) connections: usize,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    target: Target,
    bounds: Bounds,
    statements: Statements,
    places: Semaphore,
    /// The most recently used one last
    idle: Mutex<Vec<Idle>>,
    outage: Outage,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    made: Instant,
    used: Instant,
    /// Unknown before the first look-up
    shape: Option<Shape>,
}

impl Pool {
    pub(super) fn new(target: Target, bounds: Bounds, tls_port: bool) -> Self {
        let dialect = target.dialect();
        Self {
            target: target.within(bounds.wait),
            bounds,
            statements: Statements::new(dialect, tls_port),
            places: Semaphore::new(bounds.connections.min(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
            outage: Outage::new(bounds.patience, bounds.retry_interval),
        }
    }

    /// Looks `hash` up, within the bounds. Whoever had to wait for a connection asks `meanwhile` first, which may
    /// know the answer by then.
    pub(super) async fn rows(
        &self,
        hash: &TokenHash,
        now: i64,
        meanwhile: impl Fn() -> Option<Rows>,
    ) -> Result<Rows, SqlError> {
        let deadline = Instant::now() + self.bounds.wait;
        loop {
            // Only who has a place looks whether it is worth to try: those who waited for one see what the
            // one before them found.
            let Ok(place) = timeout_at(deadline, self.places.acquire()).await else {
                return Err(self.outage.cause().unwrap_or(SqlError::Busy(self.bounds.wait)));
            };
            if let Some(rows) = meanwhile() {
                return Ok(rows);
            }
            match self.outage.turn(Instant::now(), deadline) {
                Turn::Try => {}
                Turn::GiveUp(cause) => return Err(cause),
                Turn::Wait(until) => {
                    drop(place);
                    self.outage.wait(until).await;
                    continue;
                }
            }
            let (idle, is_reused) = match self.take_idle().await {
                Some(idle) => (idle, true),
                None => match self.connect(deadline).await {
                    Ok(idle) => (idle, false),
                    Err(cause) if self.is_worth_a_retry(&cause) => continue,
                    Err(cause) => return Err(cause),
                },
            };
            match self.ask(idle, hash, now, deadline).await {
                Ok(rows) => return Ok(rows),
                // The server may have closed it while nobody looked.
                Err(SqlError::Lost(_)) if is_reused => self.forget_idle(),
                Err(cause @ (SqlError::Lost(_) | SqlError::Silent(_))) => {
                    self.forget_idle();
                    if !self.is_worth_a_retry(&cause) {
                        return Err(cause);
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// The look-up, on one connection, which goes back if it still is one.
    async fn ask(
        &self,
        mut idle: Idle,
        hash: &TokenHash,
        now: i64,
        deadline: Instant,
    ) -> Result<Rows, SqlError> {
        let limit = self.query_limit();
        let end = deadline.min(Instant::now() + limit);
        // Given up in the middle, the connection is dropped with the future that owns it.
        let asked = timeout_at(end, self.statements.run(&mut idle.link, &mut idle.shape, hash, now)).await;
        let result = match asked {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(reason)) if is_lost(&reason) => return Err(SqlError::Lost(reason.to_string())),
            Ok(Err(reason)) => Err(SqlError::Query(reason.to_string())),
            Err(_) => return Err(SqlError::Silent(limit)),
        };
        self.outage.worked(Instant::now());
        idle.used = Instant::now();
        self.lock_idle().push(idle);
        result
    }

    /// Files need no half: their locks have a limit of their own.
    fn query_limit(&self) -> Duration {
        let default = match self.target.dialect() {
            Dialect::Sqlite => self.bounds.wait,
            // Time for another attempt is left.
            Dialect::MySql | Dialect::Postgres => self.bounds.wait / 2,
        };
        self.target.query_limit.unwrap_or(default).min(self.bounds.wait)
    }

    async fn connect(&self, deadline: Instant) -> Result<Idle, SqlError> {
        let limit = self.target.connect_limit.min(self.bounds.wait / 2);
        match timeout_at(deadline.min(Instant::now() + limit), self.target.connect()).await {
            Ok(Ok(link)) => Ok(Idle { link, made: Instant::now(), used: Instant::now(), shape: None }),
            Ok(Err(cause)) => Err(cause),
            Err(_) => Err(SqlError::Connect(format!("no answer within {} ms", limit.as_millis()))),
        }
    }

    /// An idle connection that still is one.
    async fn take_idle(&self) -> Option<Idle> {
        loop {
            let mut idle = self.lock_idle().pop()?;
            if self.bounds.recycle.is_some_and(|age| idle.made.elapsed() >= age) {
                idle.link.close().await;
            } else if idle.link.is_healthy(idle.used.elapsed()).await {
                return Some(idle);
            }
        }
    }

    fn forget_idle(&self) {
        self.lock_idle().clear();
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure. A file is not waited for: whether it is there is known at once, every time.
    fn is_worth_a_retry(&self, cause: &SqlError) -> bool {
        if self.target.dialect() == Dialect::Sqlite {
            return false;
        }
        self.outage.failed(Instant::now(), cause);
        cause.is_passing()
    }
}
