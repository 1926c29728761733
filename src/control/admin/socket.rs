//! The unix socket's file.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The program's user and its group: operators are made members of it.
const MODE: u32 = 0o660;

/// The file of a socket that we listen on. Dropping it removes the file, unless it is another's by then.
pub(in crate::control) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Listens at `path`. The file of a process that is gone is replaced; that of a live one is `AddrInUse`.
///
/// # Errors
///
/// Somebody listens there, or the directory is missing or not ours to write.
pub(super) fn bind(path: PathBuf) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(&path) {
        Ok(meta) if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
        }
        Ok(_) if UnixStream::connect(&path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        _ => {}
    }
    // Made aside and moved into its place: nobody connects before the mode is right.
    let aside = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    let _ = fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside)?;
    let placed = fs::set_permissions(&aside, PermissionsExt::from_mode(MODE))
        .and_then(|()| identity(&aside))
        .and_then(|identity| fs::rename(&aside, &path).map(|()| identity));
    match placed {
        Ok(identity) => Ok((listener, SocketFile { path, identity })),
        Err(reason) => {
            let _ = fs::remove_file(&aside);
            Err(reason)
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_runtime(test: impl FnOnce(PathBuf)) {
        let path = std::env::temp_dir().join(format!("consolegate-admin-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(path) });
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        in_runtime(|path| {
            let (first, first_file) = bind(path.clone()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
            assert_eq!(bind(path.clone()).err().unwrap().kind(), io::ErrorKind::AddrInUse);
            drop(first);
            let (_second, second_file) = bind(path.clone()).unwrap();
            drop(first_file);
            assert!(path.exists(), "the file is the second's by now");
            drop(second_file);
            assert!(!path.exists());
            fs::write(&path, "a file").unwrap();
            assert!(bind(path.clone()).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
            fs::remove_file(path).unwrap();
        });
    }
}
