//! The PROXY protocol, versions 1 and 2: a load balancer in TCP mode says whom it speaks for.
//!
//! The header is the first thing on a connection, and a receiver must be told to expect it: it never guesses
//! (HAProxy's `doc/proxy-protocol.txt`, section 2). Who may send one is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::bytes::Reader;

/// Longest header of version 1, its line end included (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2 that is taken. Addresses need 36 bytes, 216 for Unix sockets; what stands
/// behind them (TLVs, such as a client certificate's name) is skipped.
const V2_BYTES_MAX: usize = 4_096;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes it takes in front of the stream
    pub len: usize,
    /// Whom the sender speaks for; none when it speaks for itself (a health check) or cannot say
    pub source: Option<SocketAddr>,
}

/// Why a header was refused. Nothing behind it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyHeaderError {
    /// The connection starts with something else.
    #[error("the proxy sent no PROXY header")]
    Missing,
    /// The header is broken.
    #[error("the proxy sent a broken PROXY header")]
    Malformed,
    /// A version that is not 1 or 2.
    #[error("the proxy sent a PROXY header of version {0}, only 1 and 2 are known")]
    Version(u8),
    /// It is longer than any header needs to be.
    #[error("the proxy sent a PROXY header of more than {V2_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a header from the start of a connection. `None` means that bytes are missing.
///
/// # Errors
///
/// [`ProxyHeaderError`], as soon as the bytes can be no header any more.
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if starts_alike(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if starts_alike(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

/// Whether `bytes` can be the start of something that starts with `expected`.
fn starts_alike(bytes: &[u8], expected: &[u8]) -> bool {
    let len = bytes.len().min(expected.len());
    bytes[..len] == expected[..len]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(ProxyHeaderError::Malformed) };
    };
    let line = std::str::from_utf8(&within[..end]).map_err(|_| ProxyHeaderError::Malformed)?;
    let source = parse_line(line).ok_or(ProxyHeaderError::Malformed)?;
    Ok(Some(ProxyHeader { len: end + 2, source }))
}

/// `PROXY TCP4 source destination source-port destination-port`. Outer `None`: it is broken.
fn parse_line(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let (_, family) = (words.next()?, words.next()?);
    if family == "UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF is found".
        return Some(None);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some(SocketAddr::new(source, source_port)))
}

/// Decimal digits without a sign or a leading zero.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok()).flatten()
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let mut reader = Reader::new(bytes);
    let Some([.., version_command, family, _, _]) = reader.take::<16>() else {
        // The version is refused as soon as it is seen.
        let version = bytes.get(V2_SIGNATURE.len()).map(|byte| byte >> 4);
        return version
            .filter(|version| *version != 2)
            .map_or(Ok(None), |v| Err(ProxyHeaderError::Version(v)));
    };
    let body_len = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version_command >> 4 != 2 {
        return Err(ProxyHeaderError::Version(version_command >> 4));
    }
    let len = 16 + body_len;
    if len > V2_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(body) = reader.take_slice(body_len) else { return Ok(None) };
    let source = match version_command & 0x0f {
        // LOCAL: a health check of the proxy's own; its addresses, if any, are to be discarded.
        0x0 => None,
        0x1 => source_of(family, body)?,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some(ProxyHeader { len, source }))
}

/// The source address of a PROXY command. Families that are no TCP over IP tell nothing.
fn source_of(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut body = Reader::new(body);
    let found = match family {
        0x11 => body
            .take::<8>()
            .zip(body.u16())
            .map(|([a, b, c, d, ..], port)| SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)),
        0x21 => {
            let (source, _destination) = (body.take::<16>(), body.take::<16>());
            source.zip(body.u16()).map(|(source, port)| SocketAddr::new(Ipv6Addr::from(source).into(), port))
        }
        _ => return Ok(None),
    };
    found.map(Some).ok_or(ProxyHeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    const V4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0x1f, 0x90, 0x17, 0xc0];

    /// Every header that is taken, with what it says.
    fn taken() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        v6.extend([0; 16]);
        v6.extend([0x1f, 0x90, 0x17, 0xc0]);
        let with_tlv = [V4, &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        vec![
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 8080 6080\r\n".to_vec(), address("203.0.113.9:8080")),
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 8080 6080\r\n".to_vec(), address("[2001:db8::9]:8080")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), None),
            (v2(0x21, 0x11, V4), address("203.0.113.9:8080")),
            (v2(0x21, 0x11, &with_tlv), address("203.0.113.9:8080")),
            (v2(0x21, 0x21, &v6), address("[2001:db8::9]:8080")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, V4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn headers_tell_whom_the_proxy_speaks_for() {
        for (header, source) in taken() {
            let with_more = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let expected = ProxyHeader { len: header.len(), source };
            assert_eq!(parse(&with_more), Ok(Some(expected)), "{header:?}");
        }
    }

    #[test]
    fn no_prefix_of_a_header_is_refused_or_taken() {
        for (header, _) in taken() {
            for len in 0..header.len() {
                assert_eq!(parse(&header[..len]), Ok(None), "{len} of {header:?}");
            }
        }
    }

    #[test]
    fn whatever_is_no_header_is_refused_at_once() {
        for (bytes, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), ProxyHeaderError::Missing),
            (b"PROXX".to_vec(), ProxyHeaderError::Missing),
            (b"\r\n\r\nX".to_vec(), ProxyHeaderError::Missing),
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 8080\r\n".to_vec(), ProxyHeaderError::Malformed),
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 8080 6080 1\r\n".to_vec(), ProxyHeaderError::Malformed),
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 +080 6080\r\n".to_vec(), ProxyHeaderError::Malformed),
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 6080\r\n".to_vec(), ProxyHeaderError::Malformed),
            (b"PROXY TCP6 203.0.113.9 192.0.2.1 8080 6080\r\n".to_vec(), ProxyHeaderError::Malformed),
            (b"PROXY UDP4 203.0.113.9 192.0.2.1 8080 6080\r\n".to_vec(), ProxyHeaderError::Malformed),
            ([b"PROXY ".as_slice(), &[b'x'; 101]].concat(), ProxyHeaderError::Malformed),
            (v2(0x31, 0x11, V4), ProxyHeaderError::Version(3)),
            (V2_SIGNATURE.iter().copied().chain([0x11]).collect(), ProxyHeaderError::Version(1)),
            (v2(0x22, 0x11, V4), ProxyHeaderError::Malformed),
            (v2(0x21, 0x11, &V4[..9]), ProxyHeaderError::Malformed),
            (v2(0x21, 0x00, &[0; V2_BYTES_MAX]), ProxyHeaderError::TooLong),
        ] {
            assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
        }
    }
}
