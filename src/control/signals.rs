//! The process' signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Handlers for every signal that an operator, a unit file or a supervisor sends. Once installed, none of
/// them ends the process by itself: Python's proxies die from SIGHUP, although unit files do send it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Needs a runtime's context.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Calls `on_stop` for each SIGTERM, SIGINT and SIGQUIT, for ever.
    pub(super) async fn serve(mut self, mut on_stop: Box<dyn FnMut() + Send>) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reload is not supported yet");
                    continue;
                }
                _ = self.user1.recv() => continue,
                _ = self.user2.recv() => {
                    info!("SIGUSR2: the state report is not supported yet");
                    continue;
                }
            };
            info!("{name}: stopping");
            on_stop();
        }
    }
}
