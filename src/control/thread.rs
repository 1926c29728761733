//! The thread itself: its start, its queue and its end.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::admin::{self, AdminSettings, Office};
use super::answer::Answer;
use super::certs::Certificates;
use super::consoleauth::{ConsoleAuth, PortCheck};
use super::desk::{Asked, Desk};
use super::directory::Directory;
use super::files::Files;
use super::recorder::{Recorder, RecorderQueue};
use super::runtime::Runtime;
use super::signals::{Command, Signals};
use super::sql::{CellDatabase, DatabaseSettings};
use super::unix_now;
use crate::session::limits::size;
use crate::session::{Authorizer, Limits, Notice, Overloaded, Question, Reply, Workers};

/// What the operator decided, checked, as the control thread sees it.
pub struct ControlSettings {
    /// The database of the cell; without a connection every token is refused
    pub database: DatabaseSettings,
    /// Where a relative SQLite path starts: the directory the program was started in
    pub directory: PathBuf,
    /// `[consolegate] port_check`
    pub port_check: PortCheck,
    /// The web root, absolute; none for a program without web files
    pub web_root: Option<PathBuf>,
    /// Certificates to be looked at for changes
    pub certificates: Vec<Certificates>,
    /// `record`: where sessions are recorded, absolute
    pub record: Option<PathBuf>,
    /// The admin listener
    pub admin: AdminSettings,
    /// The workers, once there are any
    pub workers: Arc<dyn Workers>,
    /// Every bound
    pub limits: Limits,
    /// Whether a ring may be used. Not with `sandbox = required`: this ring cannot be restricted by opcode.
    pub prefer_uring: bool,
    /// Called on the control thread for each signal; must not block
    pub on_signal: Box<dyn FnMut(Command) + Send>,
}

/// The running control thread. Dropping it ends the thread without waiting for it.
pub struct Control {
    authorizer: Arc<Asker>,
    recorder: Option<Recorder>,
    finished: Receiver<()>,
    /// None once joined
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the thread and its signal handlers. Nothing else is contacted yet.
    ///
    /// # Errors
    ///
    /// When the thread, its executor or a signal handler could not be set up.
    pub fn start(settings: ControlSettings) -> io::Result<Self> {
        let places = size(settings.limits.control_queue_max);
        let record = settings.record.clone();
        let recorder = record.map(|path| Recorder::start(path, &settings.limits)).transpose()?;
        let (sender, queue) = unbounded_channel();
        let (ready_sender, ready) = sync_channel(1);
        let (finished_sender, finished) = sync_channel(1);
        let directory = Arc::<Directory>::default();
        let shown = Arc::clone(&directory);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            run(settings, queue, shown, &ready_sender);
            // Nobody may be waiting for it.
            let _ = finished_sender.try_send(());
        })?;
        ready.recv().unwrap_or_else(|_| Err(io::Error::other("the control thread ended at once")))?;
        let recordings = recorder.as_ref().map(Recorder::queue);
        let authorizer = Arc::new(Asker { recordings, ..Asker::new(sender, places, directory) });
        Ok(Self { authorizer, recorder, finished, thread: Some(thread) })
    }

    /// What workers ask through.
    #[must_use]
    pub fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::<Asker>::clone(&self.authorizer)
    }

    /// Ends the thread: open questions are answered with failures, later ones are refused. Returns at once.
    pub fn shutdown(&self) {
        // When nobody receives, it has ended already.
        let _ = self.authorizer.sender.send(Message::Stop);
    }

    /// [`Control::shutdown`], then waits for the end of the thread, at most `limit`. Returns whether it has
    /// ended: a name look-up that hangs in the system's resolver cannot be cancelled.
    pub fn join(mut self, limit: Duration) -> bool {
        self.shutdown();
        if let Some(recorder) = self.recorder.take()
            && !recorder.finish(limit)
        {
            warn!("recordings are not complete: the disk does not answer");
        }
        if self.finished.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        // How it ended was said by its panic message, if there was one.
        let _ = self.thread.take().map(JoinHandle::join);
        true
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

enum Message {
    Asked(Asked),
    Stop,
}

/// The workers' end of the queue.
struct Asker {
    sender: UnboundedSender<Message>,
    /// One place per question that is not answered yet, so the queue is bounded by them.
    places: Arc<Semaphore>,
    /// The same for web files, which anybody may ask for: a slow disk or a flood of requests for pages must
    /// not take the consoles' places.
    file_places: Arc<Semaphore>,
    directory: Arc<Directory>,
    recordings: Option<RecorderQueue>,
}

impl Asker {
    fn new(sender: UnboundedSender<Message>, places: usize, directory: Arc<Directory>) -> Self {
        let semaphore = || Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self { sender, places: semaphore(), file_places: semaphore(), directory, recordings: None }
    }
}

impl Authorizer for Asker {
    fn ask(&self, question: Question, reply: Reply) -> Result<(), Overloaded> {
        let places = match question {
            Question::Authorize { .. } | Question::Resolve { .. } => &self.places,
            Question::OpenFile { .. } | Question::ReadFile { .. } => &self.file_places,
        };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| Overloaded)?;
        let answer = Answer::to(&question, reply, place);
        let asked = Asked { question, answer, at: Instant::now() };
        self.sender.send(Message::Asked(asked)).map_err(|refused| {
            if let Message::Asked(asked) = refused.0 {
                asked.answer.withdraw();
            }
            Overloaded
        })
    }

    fn tell(&self, notice: Notice, now: Instant) {
        match notice {
            Notice::Record { stream, event } => {
                if let Some(recordings) = &self.recordings {
                    recordings.take(stream, event, now);
                }
            }
            Notice::Relaying { .. } | Notice::Ended { .. } => {
                self.directory.take(notice, unix_now());
            }
        }
    }
}

fn run(
    settings: ControlSettings,
    queue: UnboundedReceiver<Message>,
    directory: Arc<Directory>,
    ready: &SyncSender<io::Result<()>>,
) {
    let started = Runtime::new(settings.prefer_uring)
        .and_then(|runtime| Ok((runtime.block_on(async { Signals::install() })?, runtime)));
    let (signals, runtime) = match started {
        Ok(started) => started,
        Err(reason) => {
            let _ = ready.send(Err(reason));
            return;
        }
    };
    let limits = settings.limits;
    let database = CellDatabase::new(&settings.database, &settings.directory, &limits);
    let files = Files::new(settings.web_root, size(limits.read_bytes), runtime.has_ring());
    let desk = Desk::new(ConsoleAuth::new(database, settings.port_check), files, limits);
    let _ = ready.send(Ok(()));
    runtime.block_on(async {
        tokio::task::spawn_local(signals.serve(settings.on_signal));
        for certificates in settings.certificates {
            tokio::task::spawn_local(certificates.watch());
        }
        let office = Rc::new(Office {
            settings: settings.admin,
            limits,
            desk: Rc::new(desk),
            directory,
            workers: settings.workers,
        });
        let _socket = admin::start(Rc::clone(&office)).await;
        serve(&office, queue).await;
        office.desk.close().await;
    });
    // Dropping the runtime drops the tasks, and each of them answers.
}

async fn serve(office: &Office, mut queue: UnboundedReceiver<Message>) {
    while let Some(message) = queue.recv().await {
        match message {
            Message::Asked(asked) => {
                tokio::task::spawn_local(Rc::clone(&office.desk).serve(asked));
            }
            Message::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::console::TokenHash;
    use crate::proto::http::WebPath;

    #[test]
    fn requests_for_pages_leave_consoles_their_places() {
        // Nobody takes the questions, as if the disk hung.
        let (sender, _queue) = unbounded_channel();
        let asker = Asker::new(sender, 2, Arc::default());
        let page = || Question::OpenFile {
            path: WebPath::parse(b"/vnc.html").unwrap(),
            accepts_gzip: false,
            wants_bytes: true,
        };
        let ask = |question| asker.ask(question, Box::new(|_| {})).is_ok();
        assert_eq!([ask(page()), ask(page()), ask(page())], [true, true, false]);
        let token = || Question::Authorize {
            hash: TokenHash([0; 32]),
            session: 1,
            tenant: Ipv4Addr::LOCALHOST.into(),
        };
        assert_eq!([ask(token()), ask(token()), ask(token())], [true, true, false]);
    }
}
