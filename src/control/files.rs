//! Web files: found below the web root at each request, read piece by piece.
//!
//! A [`WebPath`] cannot leave the root by its text; symbolic links are followed, because distributions
//! link the parts of noVNC together. The root is walked anew each time, so that a package upgrade that
//! replaces it by rename is noticed.
//!
//! Opening needs several calls on one name (open, stat, the neighbour, the first bytes), which one trip to
//! a blocking thread makes together. Reading on, the long part of a large file, goes through the ring
//! where there is one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tracing::warn;

use crate::proto::bytes::Chunk;
use crate::proto::http::{FileMeta, WebPath, media_type};
use crate::session::{FileEvent, FileHandle};

/// What a directory is served as, in this order (`http/server.py`, `SimpleHTTPRequestHandler.send_head`).
const INDEX_NAMES: [&str; 2] = ["index.html", "index.htm"];

/// What is asked of [`Files::open`].
pub(super) struct Wanted {
    pub(super) path: WebPath,
    pub(super) accepts_gzip: bool,
    pub(super) wants_bytes: bool,
}

/// The web root.
#[derive(Clone)]
pub(super) struct Files {
    root: Option<Arc<Path>>,
    piece_bytes_max: usize,
    has_ring: bool,
}

/// What a [`FileHandle`] of ours holds. Dropping the last clone closes the file.
struct OpenFile(Arc<File>);

impl Files {
    pub(super) fn new(root: Option<PathBuf>, piece_bytes_max: usize, has_ring: bool) -> Self {
        Self { root: root.map(Arc::from), piece_bytes_max, has_ring }
    }

    pub(super) async fn open(&self, wanted: Wanted) -> FileEvent {
        let Some(root) = self.root.clone() else { return FileEvent::Missing };
        let piece_bytes_max = self.piece_bytes_max;
        answered(blocking(move || open(&root, &wanted, piece_bytes_max)).await)
    }

    pub(super) async fn read(&self, handle: &FileHandle, offset: u64) -> FileEvent {
        let Some(OpenFile(file)) = handle.get() else { return FileEvent::Failed };
        let (file, len) = (Arc::clone(file), self.piece_bytes_max);
        let piece = if self.has_ring {
            read_in_ring(&file, offset, len).await
        } else {
            blocking(move || read_piece(&file, offset, len)).await
        };
        piece.map_or_else(failed, FileEvent::Piece)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

/// The ring takes ownership of the descriptor for the time of the read, so it is given one of its own.
async fn read_in_ring(file: &File, offset: u64, len: usize) -> io::Result<Chunk> {
    let file = tokio_uring::fs::File::from_std(file.try_clone()?);
    let (read, buffer) = file.read_at(Vec::with_capacity(len), offset).await;
    let read = read?.min(buffer.len());
    file.close().await?;
    Ok(Chunk::copied_from(&buffer[..read]))
}

fn answered(opened: io::Result<FileEvent>) -> FileEvent {
    match opened {
        Ok(event) => event,
        // Python's server says 404 to whatever open() says; what is our own trouble is 500 here.
        Err(reason) => match reason.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO) | None => failed(reason),
            Some(_) => FileEvent::Missing,
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends here")]
fn failed(reason: io::Error) -> FileEvent {
    warn!("a web file could not be read: {reason}");
    FileEvent::Failed
}

/// Finds the file and reads its first piece. Blocks.
fn open(root: &Path, wanted: &Wanted, piece_bytes_max: usize) -> io::Result<FileEvent> {
    let relative = wanted.path.as_path();
    // What WebPath promises, checked once more where it counts.
    if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
        return Ok(FileEvent::Missing);
    }
    let path = root.join(relative);
    let found = open_readable(&path)?;
    match (found.is_directory, wanted.path.is_directory_form()) {
        (true, true) => {
            for name in INDEX_NAMES {
                let path = path.join(name);
                match open_readable(&path) {
                    Ok(index) if index.is_regular => return serve(&path, index, wanted, piece_bytes_max),
                    _ => {}
                }
            }
            Ok(FileEvent::Missing)
        }
        (true, false) => Ok(FileEvent::Directory),
        (false, false) if found.is_regular => serve(&path, found, wanted, piece_bytes_max),
        (false, _) => Ok(FileEvent::Missing),
    }
}

fn serve(path: &Path, plain: Found, wanted: &Wanted, piece_bytes_max: usize) -> io::Result<FileEvent> {
    let compressed = if wanted.accepts_gzip { newer_neighbour(path, &plain) } else { None };
    let gzip = compressed.is_some();
    let found = compressed.unwrap_or(plain);
    let first = if wanted.wants_bytes {
        let len = usize::try_from(found.len).unwrap_or(usize::MAX).min(piece_bytes_max);
        read_piece(&found.file, 0, len)?
    } else {
        Chunk::default()
    };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let meta = FileMeta {
        len: found.len,
        modified_unix_ns: found.modified_unix_ns,
        gzip,
        media_type: media_type(name),
    };
    Ok(FileEvent::Opened {
        file: FileHandle::new(OpenFile(Arc::new(found.file))),
        meta: Box::new(meta),
        first,
    })
}

/// `name.gz`, unless the file was changed since it was compressed.
fn newer_neighbour(path: &Path, plain: &Found) -> Option<Found> {
    let mut name = OsString::from(path.file_name()?);
    if name.as_encoded_bytes().ends_with(b".gz") {
        return None;
    }
    name.push(".gz");
    open_readable(&path.with_file_name(name))
        .ok()
        .filter(|found| found.is_regular && found.modified_unix_ns >= plain.modified_unix_ns)
}

/// Something that could be opened. Only regular files are ever read.
struct Found {
    file: File,
    len: u64,
    modified_unix_ns: i128,
    is_directory: bool,
    is_regular: bool,
}

fn open_readable(path: &Path) -> io::Result<Found> {
    // Opening a FIFO would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        // A ring gives up on a non-blocking file where it would otherwise wait for the disk.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    }
    Ok(Found {
        len: meta.len(),
        modified_unix_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        is_directory: meta.is_dir(),
        is_regular: meta.is_file(),
        file,
    })
}

/// Up to `len` bytes from `offset`; fewer only at the end of the file. Blocks.
fn read_piece(file: &File, offset: u64, len: usize) -> io::Result<Chunk> {
    let mut chunk = Chunk::with_capacity(len);
    while chunk.len() < len {
        let at = offset.saturating_add(chunk.len() as u64);
        match file.read_at(chunk.spare_mut(), at) {
            Ok(0) => break,
            Ok(read) => chunk.commit(read),
            Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
            Err(reason) => return Err(reason),
        }
    }
    Ok(chunk)
}
