//! The seam to the control thread: what a session may ask, and how it is answered.
//!
//! Name look-ups, disks, SQL and AMQP block, and workers never do: a session asks through an
//! [`Output::Ask`](super::Output::Ask), and the answer comes back as an [`Input`].

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::recording::RecordStream;
use super::{Input, Side};
use crate::console::{ConnectInfo, TokenHash};
use crate::proto::bytes::Chunk;
use crate::proto::http::{FileMeta, WebPath};

/// What a session asks of the control thread. A session has at most one question open.
#[derive(Debug)]
pub enum Question {
    /// May this token be used? Answered by [`Input::Authorized`] or [`Failure::Authorize`](super::Failure).
    Authorize {
        /// The token's hash
        hash: TokenHash,
        /// The session's number, under which it is logged
        session: u64,
        /// Where the tenant is, for the bounds that count by source
        tenant: IpAddr,
    },
    /// The addresses of a compute node. Answered by [`Input::Resolved`] or [`Failure::Resolve`](super::Failure).
    Resolve {
        /// Name or address literal
        host: String,
        /// TCP port
        port: u16,
    },
    /// Opens a file below the web root. Answered by [`Input::File`].
    OpenFile {
        /// Which file
        path: WebPath,
        /// Whether a precompressed neighbour (`name.gz`) may be served instead
        accepts_gzip: bool,
        /// Whether the first bytes are wanted too (not for HEAD)
        wants_bytes: bool,
    },
    /// The next piece of an open file. Answered by [`FileEvent::Piece`].
    ReadFile {
        /// From [`FileEvent::Opened`]
        file: FileHandle,
        /// Where the piece starts
        offset: u64,
    },
}

/// What the control thread says of a web file.
#[derive(Debug)]
pub enum FileEvent {
    /// It is there.
    Opened {
        /// To ask for further pieces with
        file: FileHandle,
        /// What the response head is made of. Boxed: every input would be as large.
        meta: Box<FileMeta>,
        /// The first bytes, all of them when the file fits; empty when they were not wanted
        first: Chunk,
    },
    /// The next bytes; empty when the file became shorter than its head said.
    Piece(Chunk),
    /// It is a directory, asked for without its trailing slash.
    Directory,
    /// There is no such file, or it may not be served.
    Missing,
    /// Reading failed.
    Failed,
}

/// An open file, meaningful to the control thread alone. Dropping it closes the file.
#[derive(Clone)]
pub struct FileHandle(Arc<dyn Any + Send + Sync>);

impl FileHandle {
    /// Wraps what the control thread needs to go on reading.
    pub fn new(file: impl Any + Send + Sync) -> Self {
        Self(Arc::new(file))
    }

    /// The wrapped value, if it is a `T`.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileHandle")
    }
}

/// Addresses of a compute node, best first, never empty by construction of the control thread's answer.
pub type Addresses = Vec<SocketAddr>;

/// Why a token was not accepted. The tenant never learns which of these it was.
#[derive(Debug, Error)]
pub enum AuthorizeError {
    /// Unknown or expired token, deleted instance, or a port that is another instance's by now.
    /// Nova's text (`nova/exception.py`, `InvalidToken`).
    #[error("The token '***' is invalid or has expired")]
    TokenInvalid,
    /// The instance has no host (being built, or shelved). Nova's text
    /// (`nova/console/websocketproxy.py` through `nova/compute/rpcapi.py`, `_compute_host`).
    #[error("Unable to find host for Instance {instance_uuid}")]
    InstanceWithoutHost {
        /// Which instance
        instance_uuid: String,
    },
    /// The port check could not be made.
    #[error("the console port could not be checked: {0}")]
    PortCheck(String),
    /// As many sessions are open as may be.
    #[error("too many consoles are open {0}")]
    TooMany(Crowd),
    /// The database could not answer. The text never holds the connection URL.
    #[error("the token could not be looked up: {0}")]
    Database(String),
}

/// Of which there are as many as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Consoles of this process
    Process,
    /// Consoles of one source
    Source,
    /// Consoles of one instance
    Instance,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "in this process (consoles_max)",
            Self::Source => "from this source (consoles_per_source_max)",
            Self::Instance => "of this instance (consoles_per_instance_max)",
        })
    }
}

/// What a token leads to, and the session's place among those that may be open at a time.
#[derive(Debug)]
pub struct Admitted {
    info: ConnectInfo,
    place: Place,
}

impl Admitted {
    /// Keeps `place` for as long as this lives.
    #[must_use]
    pub fn with_place(info: ConnectInfo, place: Place) -> Box<Self> {
        Box::new(Self { info, place })
    }

    /// Where nobody counts.
    #[must_use]
    pub fn boxed(info: ConnectInfo) -> Box<Self> {
        Self::with_place(info, Place::default())
    }

    /// The place alone, when all else has been noted.
    #[must_use]
    pub fn into_place(self) -> Place {
        self.place
    }
}

impl Deref for Admitted {
    type Target = ConnectInfo;

    fn deref(&self) -> &ConnectInfo {
        &self.info
    }
}

/// One session's share of the bounds on sessions. Whoever keeps count gives it a value to drop.
#[derive(Default)]
pub struct Place(Option<Box<dyn Any + Send>>);

impl Place {
    /// Drops `held` when the session is over.
    #[must_use]
    pub fn new(held: impl Any + Send) -> Self {
        Self(Some(Box::new(held)))
    }

    /// Whether there is something to drop.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Place" } else { "no place" })
    }
}

/// What a session tells the control thread, without waiting for an answer.
#[derive(Debug)]
pub enum Notice {
    /// A relay began.
    Relaying {
        /// The connection's number
        number: u64,
        /// The tenant's address
        peer: SocketAddr,
        /// Where it leads
        info: Box<Admitted>,
    },
    /// That relay ended.
    Ended {
        /// The connection's number
        number: u64,
    },
    /// Something for a recording.
    Record {
        /// Which recording
        stream: Arc<RecordStream>,
        /// What of it
        event: RecordEvent,
    },
}

/// The life of a recording.
pub enum RecordEvent {
    /// The file is to be made.
    Open,
    /// A data message, as websockify records it, or a piece of one.
    Message {
        /// Who sent it
        from: Side,
        /// As much as there is of it
        bytes: Vec<u8>,
        /// Whether further pieces follow
        more: bool,
    },
    /// Nothing more comes.
    End,
}

impl fmt::Debug for RecordEvent {
    /// Without the bytes, which hold what was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Message { from, bytes, more } => {
                write!(f, "Message({from}, {} bytes{})", bytes.len(), if *more { ", more" } else { "" })
            }
            Self::End => f.write_str("End"),
        }
    }
}

/// Where an answer goes. Called once, from any thread; never blocks.
pub type Reply = Box<dyn FnOnce(Input) + Send>;

/// The control thread as workers see it.
pub trait Authorizer: Send + Sync {
    /// Takes a question and returns at once; `reply` is called later with the answer.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] when too many questions wait already; `reply` is then not called.
    fn ask(&self, question: Question, reply: Reply) -> Result<(), Overloaded>;

    /// Takes a notice of something that happened at `now`, and returns at once. Nobody is told what became
    /// of it: a recording that cannot keep up loses messages and says so in the log.
    fn tell(&self, notice: Notice, now: Instant) {
        let _ = (notice, now);
    }
}

/// The workers as the control thread sees them.
pub trait Workers: Send + Sync {
    /// Ends those of the relays that are still there.
    fn kill(&self, numbers: Arc<[u64]>);

    /// Asks each worker for what its relays among `numbers` have carried, and returns how many workers were
    /// asked. Each of them calls `reply` once; a worker that is stuck does not.
    fn traffic(&self, numbers: Arc<[u64]>, reply: TrafficReply) -> usize;
}

/// Where a worker's answer to [`Workers::traffic`] goes. Never blocks.
pub type TrafficReply = Arc<dyn Fn(Vec<Traffic>) + Send + Sync>;

/// What a relay has carried so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The connection's number
    pub number: u64,
    /// Console bytes from the tenant
    pub from_tenant: u64,
    /// Console bytes from the compute node
    pub from_compute: u64,
}

/// Too many questions wait for the control thread (`control_queue_max`).
#[derive(Clone, Copy, Debug, Error)]
#[error("too many questions wait for the control thread")]
pub struct Overloaded;
