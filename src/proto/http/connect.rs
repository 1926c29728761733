//! The CONNECT preamble: asked of the compute side when the token has an `internal_access_path`.
//!
//! Nova sends one request line without headers and wants `200` somewhere in the status line
//! (`nova/console/websocketproxy.py`, `new_websocket_client`). What follows the head is the console's
//! first bytes already.

use thiserror::Error;

/// Longest head of the answer in bytes, as in Nova.
pub const ANSWER_BYTES_MAX: usize = 4096;

/// Why the preamble failed. No text of the answer is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The token's path cannot be put into a request line.
    #[error("internal_access_path was empty or held a space or a control byte")]
    Path,
    /// The status line had no `200`.
    #[error("compute refused CONNECT")]
    Refused,
    /// No end of the head within [`ANSWER_BYTES_MAX`].
    #[error("compute answered CONNECT with a head over {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The compute side closed before its head ended.
    #[error("compute closed the connection during CONNECT")]
    Ended,
}

/// The request for `internal_access_path`.
///
/// # Errors
/// [`ConnectError::Path`], so that a path from the database cannot add lines of its own.
pub fn request(internal_access_path: &str) -> Result<Vec<u8>, ConnectError> {
    let path = internal_access_path.as_bytes();
    if path.is_empty() || path.iter().any(|&byte| byte == b' ' || byte.is_ascii_control()) {
        return Err(ConnectError::Path);
    }
    Ok([b"CONNECT ".as_slice(), path, b" HTTP/1.1\r\n\r\n"].concat())
}

/// Reads the answer to [`request`].
#[derive(Debug, Default)]
pub struct ConnectPreamble {
    len: usize,
    // How much of "\r\n\r\n" the last bytes match, and of "200" while the status line lasts.
    end_matched: usize,
    ok_matched: usize,
    status_line_ended: bool,
    ok_seen: bool,
}

impl ConnectPreamble {
    /// A machine that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes from the compute side. `Ok(None)` means that all of `bytes` belongs to the
    /// head and the head goes on. `Ok(Some(len))` means that CONNECT succeeded and the head ended with
    /// the first `len` of `bytes`: drop those, the rest is the console's.
    ///
    /// # Errors
    /// [`ConnectError::Refused`] or [`ConnectError::TooLong`]; the connection is of no use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, ConnectError> {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.len >= ANSWER_BYTES_MAX {
                return Err(ConnectError::TooLong);
            }
            self.len += 1;
            self.step(byte);
            if self.end_matched == 4 {
                return if self.ok_seen { Ok(Some(index + 1)) } else { Err(ConnectError::Refused) };
            }
        }
        if self.len >= ANSWER_BYTES_MAX { Err(ConnectError::TooLong) } else { Ok(None) }
    }

    /// What it means when the compute side closes before [`ConnectPreamble::feed`] was satisfied.
    #[must_use]
    pub fn ended(&self) -> ConnectError {
        ConnectError::Ended
    }

    fn step(&mut self, byte: u8) {
        self.end_matched = match (self.end_matched, byte) {
            (0 | 2, b'\r') | (1 | 3, b'\n') => self.end_matched + 1,
            (_, b'\r') => 1,
            _ => 0,
        };
        self.status_line_ended |= self.end_matched == 2;
        if !self.status_line_ended {
            self.ok_matched = match (self.ok_matched, byte) {
                (1 | 2, b'0') => self.ok_matched + 1,
                (_, b'2') => 1,
                _ => 0,
            };
            self.ok_seen |= self.ok_matched == 3;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_one_line_and_the_path_cannot_add_another() {
        assert_eq!(
            request("/console?ref=OpaqueRef:1234").unwrap(),
            b"CONNECT /console?ref=OpaqueRef:1234 HTTP/1.1\r\n\r\n"
        );
        for path in ["", "/a b", "/a\r\nHost: evil", "/a\0", "/a\t", "/a\x7f"] {
            assert_eq!(request(path), Err(ConnectError::Path), "{path:?}");
        }
    }

    #[test]
    fn bytes_behind_the_head_survive_every_split() {
        let answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nRFB 003.008\n";
        let head_len = answer.len() - 12;
        for split in 0..answer.len() {
            let mut preamble = ConnectPreamble::new();
            let first = preamble.feed(&answer[..split]).unwrap();
            let dropped = first.unwrap_or_else(|| split + preamble.feed(&answer[split..]).unwrap().unwrap());
            assert_eq!(&answer[dropped..], b"RFB 003.008\n", "split at {split}");
            assert_eq!(dropped, head_len);
        }
    }

    #[test]
    fn only_the_status_line_counts_for_success() {
        for (answer, expected) in [
            ("HTTP/1.0 200 Connection established\r\n\r\n", Ok(Some(39))),
            ("2200 fine\r\n\r\n", Ok(Some(13))),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 200\r\n\r\n", Err(ConnectError::Refused)),
            ("HTTP/1.1 20\r\n0: x\r\n\r\n", Err(ConnectError::Refused)),
            ("\r\n200\r\n\r\n", Err(ConnectError::Refused)),
            ("HTTP/1.1 200 OK\r\n\r", Ok(None)),
            ("HTTP/1.1 200 OK\n\n", Ok(None)),
        ] {
            assert_eq!(ConnectPreamble::new().feed(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_given_up() {
        let mut preamble = ConnectPreamble::new();
        assert_eq!(preamble.feed(&[b'a'; ANSWER_BYTES_MAX - 1]), Ok(None));
        assert_eq!(preamble.feed(b"a"), Err(ConnectError::TooLong));
        assert_eq!(preamble.ended(), ConnectError::Ended);
        let mut longest = vec![b' '; ANSWER_BYTES_MAX];
        longest[..3].copy_from_slice(b"200");
        longest[ANSWER_BYTES_MAX - 4..].copy_from_slice(b"\r\n\r\n");
        assert_eq!(ConnectPreamble::new().feed(&longest), Ok(Some(ANSWER_BYTES_MAX)));
    }
}
