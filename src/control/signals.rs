//! The process' signals.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SIGTERM and SIGINT: end, after `drain_timeout`; a second time at once
    Stop,
    /// SIGQUIT: end when the last session has
    Drain,
    /// SIGHUP: read the configuration again, and open the log files anew
    Reload,
    /// SIGUSR1: open the log files anew
    Reopen,
    /// SIGUSR2: write a state report
    Report,
}

/// Holds those signals back in this thread, and in threads that it starts meanwhile, until dropped. One that comes
/// between the first listening socket and the handlers would end the process as if nobody had wanted to handle it.
#[derive(Debug)]
pub struct HeldSignals(SigSet);

impl HeldSignals {
    /// Before any other thread is started: one that does not hold them gets them.
    ///
    /// # Errors
    ///
    /// What pthread_sigmask(3) says.
    pub fn hold() -> io::Result<Self> {
        let signals: SigSet = [
            Number::SIGTERM,
            Number::SIGINT,
            Number::SIGQUIT,
            Number::SIGHUP,
            Number::SIGUSR1,
            Number::SIGUSR2,
        ]
        .into_iter()
        .collect();
        signals.thread_block()?;
        Ok(Self(signals))
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // It fails for a bad argument only, and this one was good before.
        let _ = self.0.thread_unblock();
    }
}

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

    /// Calls `on_signal` for each signal, for ever.
    pub(super) async fn serve(mut self, mut on_signal: Box<dyn FnMut(Command) + Send>) {
        loop {
            let (name, command) = tokio::select! {
                _ = self.terminate.recv() => ("SIGTERM", Command::Stop),
                _ = self.interrupt.recv() => ("SIGINT", Command::Stop),
                _ = self.quit.recv() => ("SIGQUIT", Command::Drain),
                _ = self.hangup.recv() => ("SIGHUP", Command::Reload),
                _ = self.user1.recv() => ("SIGUSR1", Command::Reopen),
                _ = self.user2.recv() => ("SIGUSR2", Command::Report),
            };
            info!("{name} received");
            on_signal(command);
        }
    }
}
