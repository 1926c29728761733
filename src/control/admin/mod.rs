//! The admin listener: probes, metrics and the list of sessions, away from the console port.
//!
//! A unix socket, whose permissions say who may use it, and, if configured, a TCP address. Who comes by TCP
//! gets probes and metrics only: nothing there says who he is. One request per connection; connections, bytes
//! and time are bounded. What is asked for is told apart in `route`, health in `health`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::desk::Desk;
use super::directory::Directory;
use crate::proto::http::{HeadParser, response};
use crate::session::limits::{Limits, duration, size};
use crate::session::{LOG_TARGET, Workers};

mod health;
mod route;
mod socket;

use socket::SocketFile;

/// How long a listener rests when nothing can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long a peer may take to close behind its answer.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Bytes read at a time.
const READ_BYTES: usize = 4_096;

/// What the operator decided about the admin listener.
#[derive(Clone, Debug, Default)]
pub struct AdminSettings {
    /// `[consolegate] admin_socket`
    pub socket: Option<PathBuf>,
    /// Whether somebody asked for that path; the default one is only tried
    pub socket_wanted: bool,
    /// `[consolegate] admin_listen`
    pub listen: Option<SocketAddr>,
    /// `[consolegate] healthcheck_disable_file`
    pub disable_file: Option<PathBuf>,
    /// `[consolegate] strict_readiness`
    pub strict: bool,
}

/// What requests are answered from.
pub(super) struct Office {
    pub(super) settings: AdminSettings,
    pub(super) limits: Limits,
    pub(super) desk: Rc<Desk>,
    pub(super) directory: Arc<Directory>,
    pub(super) workers: Arc<dyn Workers>,
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the socket file, whose mode admits operators only
    Socket,
    /// By an address that anybody may reach
    Address,
}

/// Starts listening, as far as that is possible: a proxy without its admin listener still serves consoles.
/// The file of the socket goes with the returned value.
pub(super) async fn start(office: Rc<Office>) -> Option<SocketFile> {
    // Each listener has places of its own: whoever reaches the address must not keep operators out.
    let places = || Arc::new(Semaphore::new(size(office.limits.admin_connections_max)));
    if let Some(address) = office.settings.listen {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(target: LOG_TARGET, "  - Admin listener on {address}");
                tokio::task::spawn_local(serve_tcp(listener, Rc::clone(&office), places()));
            }
            Err(reason) => {
                error!(target: LOG_TARGET, "the admin listener cannot listen on {address}: {reason}")
            }
        }
    }
    let path = office.settings.socket.clone()?;
    let shown = path.display().to_string();
    match socket::bind(path) {
        Ok((listener, file)) => {
            info!(target: LOG_TARGET, "  - Admin listener on {shown}");
            tokio::task::spawn_local(serve_unix(listener, Rc::clone(&office), places()));
            Some(file)
        }
        Err(reason) if office.settings.socket_wanted || reason.kind() == io::ErrorKind::AddrInUse => {
            error!(target: LOG_TARGET, "the admin listener cannot listen on {shown}: {reason}");
            None
        }
        Err(reason) => {
            debug!(target: LOG_TARGET, "there is no admin listener on {shown}: {reason}");
            None
        }
    }
}

async fn serve_unix(listener: UnixListener, office: Rc<Office>, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Way::Socket, &office, place),
            Err(reason) => rest(&reason).await,
        }
    }
}

async fn serve_tcp(listener: TcpListener, office: Rc<Office>, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Way::Address, &office, place),
            Err(reason) => rest(&reason).await,
        }
    }
}

async fn rest(reason: &io::Error) {
    warn!(target: LOG_TARGET, "the admin listener accepts nothing for {ACCEPT_PAUSE:?}: {reason}");
    sleep(ACCEPT_PAUSE).await;
}

/// Answers one connection, as a task of its own.
fn serve<S>(stream: S, way: Way, office: &Rc<Office>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let office = Rc::clone(office);
    tokio::task::spawn_local(async move {
        let _place = place;
        let limit = duration(office.limits.admin_timeout_ms);
        // Whoever asks notices a missing answer himself.
        let _ = timeout(limit, converse(stream, way, &office)).await;
    });
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    way: Way,
    office: &Office,
) -> io::Result<()> {
    let (mut parser, mut head) = (HeadParser::new(), Vec::new());
    let answer = loop {
        let mut piece = [0; READ_BYTES];
        let len = stream.read(&mut piece).await?;
        if len == 0 {
            return Ok(());
        }
        head.extend_from_slice(&piece[..len]);
        match parser.parse(&head, &office.limits.head()) {
            Ok(None) => {}
            Ok(Some((request, _))) => break route::answer(office, way, &request, &head).await,
            Err(error) => break response::error_page(error.status(), &[], false, route::now()),
        }
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // Closing over unread input, such as a body that nobody asked for, would break the answer off.
    let drain = async { while matches!(stream.read(&mut [0; READ_BYTES]).await, Ok(1..)) {} };
    let _ = timeout(DRAIN_LIMIT, drain).await;
    Ok(())
}
