//! [`WebPath`]: a request path that is safe to look up inside the web root.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::query::split_escape;
use super::status::Status;

/// Why a path names nothing that we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// 400
    #[error("tenant asked for a path that does not begin with a slash")]
    NotAbsolute,
    /// 400; a browser reads it as another host (CVE-2021-3654)
    #[error("tenant asked for a path that begins with two slashes")]
    DoubleSlash,
    /// 400
    #[error("tenant asked for a path with a malformed percent escape")]
    Escape,
    /// 400
    #[error("tenant asked for a path with a control byte")]
    ControlByte,
    /// 400; a slash to some browsers
    #[error("tenant asked for a path with a backslash")]
    Backslash,
    /// 404; `.`, `..`, and names such as `.git`: web roots are often clones
    #[error("tenant asked for a path with a component that begins with a dot")]
    Dot,
}

impl PathError {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Dot => Status::NOT_FOUND,
            _ => Status::BAD_REQUEST,
        }
    }
}

/// A path below the web root: decoded, relative, without any component that begins with a dot.
///
/// It cannot leave the root by its text. Symbolic links inside the root are followed all the same:
/// distributions link the parts of noVNC together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPath {
    // INVARIANT: components joined by single slashes; none empty, none with a leading dot, a control
    // byte or a backslash.
    relative: PathBuf,
    directory_form: bool,
}

impl WebPath {
    /// Checks `path`, the path of a request as sent, without its query. It is decoded exactly once;
    /// a `%2F` separates components like a `/`.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(path: &[u8]) -> Result<Self, PathError> {
        let decoded = decode(path)?;
        let Some(below_root) = decoded.strip_prefix(b"/") else { return Err(PathError::NotAbsolute) };
        if below_root.starts_with(b"/") {
            return Err(PathError::DoubleSlash);
        }
        let mut relative = Vec::with_capacity(below_root.len());
        for component in below_root.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            if component.starts_with(b".") {
                return Err(PathError::Dot);
            }
            if !relative.is_empty() {
                relative.push(b'/');
            }
            relative.extend_from_slice(component);
        }
        let relative = OsString::from_vec(relative).into();
        Ok(Self { relative, directory_form: decoded.ends_with(b"/") })
    }

    /// The path relative to the web root; empty for the root itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.relative
    }

    /// The names on the way, none for the root itself.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes().split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// Whether the request's path ended with a slash: then it names a directory, and a file of that name
    /// is not meant.
    #[must_use]
    pub fn is_directory_form(&self) -> bool {
        self.directory_form
    }

    /// The content type that the name calls for.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        super::media_type(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.relative.as_os_str().as_bytes()
    }
}

/// Decodes the escapes of `path` and refuses bytes that no file of ours has in its name.
fn decode(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (byte, behind) = match first {
            b'%' => split_escape(rest).ok_or(PathError::Escape)?,
            _ => (*first, after),
        };
        match byte {
            0x00..=0x1f | 0x7f => return Err(PathError::ControlByte),
            b'\\' => return Err(PathError::Backslash),
            _ => decoded.push(byte),
        }
        rest = behind;
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<String, PathError> {
        WebPath::parse(path.as_bytes()).map(|path| path.as_path().to_str().unwrap().to_owned())
    }

    #[test]
    fn ordinary_paths_become_relative() {
        for (path, expected) in [
            ("/", ""),
            ("/vnc_lite.html", "vnc_lite.html"),
            ("/app/images/", "app/images"),
            ("/app//ui.js", "app/ui.js"),
            ("/app%2Fui.js", "app/ui.js"),
            ("/a%20b+c", "a b+c"),
            ("/a..b/c.", "a..b/c."),
            ("/%252e%252e/a", "%2e%2e/a"),
        ] {
            assert_eq!(parse(path).as_deref(), Ok(expected), "{path}");
        }
        let path = WebPath::parse(b"/app/ui.js").unwrap();
        assert_eq!(path.components().collect::<Vec<_>>(), [b"app".as_slice(), b"ui.js"]);
        assert_eq!(path.media_type(), "text/javascript; charset=utf-8");
        assert!(!path.is_directory_form());
        assert!(WebPath::parse(b"/app%2f").unwrap().is_directory_form());
        assert_eq!(WebPath::parse(b"/").unwrap().components().count(), 0);
    }

    #[test]
    fn what_could_leave_the_root_or_show_hidden_files_is_refused() {
        for (path, expected) in [
            ("", PathError::NotAbsolute),
            ("vnc.html", PathError::NotAbsolute),
            ("//evil.example/%2F..", PathError::DoubleSlash),
            ("/%2Fetc/passwd", PathError::DoubleSlash),
            ("%2f/etc/passwd", PathError::DoubleSlash),
            ("/../etc/passwd", PathError::Dot),
            ("/app/../vnc.html", PathError::Dot),
            ("/%2e%2E/etc/passwd", PathError::Dot),
            ("/app/..%2f..%2fetc", PathError::Dot),
            ("/.git/config", PathError::Dot),
            ("/app/%2Egit/config", PathError::Dot),
            ("/app%2f.git", PathError::Dot),
            ("/./vnc.html", PathError::Dot),
            ("/app\\..\\..\\etc", PathError::Backslash),
            ("/%5cevil.example", PathError::Backslash),
            ("/vnc.html%00.png", PathError::ControlByte),
            ("/a%0d%0ab", PathError::ControlByte),
            ("/a%7f", PathError::ControlByte),
            ("/a%2", PathError::Escape),
            ("/a%zz", PathError::Escape),
        ] {
            assert_eq!(parse(path), Err(expected), "{path}");
        }
        assert_eq!(
            (PathError::Dot.status(), PathError::Escape.status()),
            (Status::NOT_FOUND, Status::BAD_REQUEST)
        );
    }
}
