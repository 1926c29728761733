//! The executor of the control thread.

use std::io;

use tokio::task::LocalSet;
use tracing::info;

/// A current-thread executor, with or without an io_uring behind it.
pub(super) enum Runtime {
    Uring(tokio_uring::Runtime),
    // The tasks are dropped first: they need the runtime's timers while they go.
    Plain(LocalSet, tokio::runtime::Runtime),
}

impl Runtime {
    /// Prefers io_uring. `tokio_uring::start` would panic where the kernel or a container denies it;
    /// `Runtime::new` says so.
    pub(super) fn new(prefer_uring: bool) -> io::Result<Self> {
        if prefer_uring {
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => {
                    info!("the control thread uses io_uring");
                    return Ok(Self::Uring(runtime));
                }
                Err(reason) => info!("the control thread uses epoll: io_uring is denied ({reason})"),
            }
        } else {
            info!("the control thread uses epoll");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self::Plain(LocalSet::new(), runtime))
    }

    pub(super) fn has_ring(&self) -> bool {
        matches!(self, Self::Uring(_))
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Uring(runtime) => runtime.block_on(future),
            Self::Plain(tasks, runtime) => tasks.block_on(runtime, future),
        }
    }
}
