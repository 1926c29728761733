//! The byte stream under lapin: TCP, perhaps TLS, and the [`Gate`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::gate::Gate;

/// A connection to a broker.
pub(super) struct Stream {
    inner: Inner,
    gate: Gate,
    /// Until the broker has opened the connection
    opening: Option<Pin<Box<Sleep>>>,
}

enum Inner {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

impl Stream {
    /// In the clear.
    pub(super) fn plain(tcp: TcpStream, gate: Gate, open_within: Duration) -> Self {
        Self::new(Inner::Plain(Tcp(tcp)), gate, open_within)
    }

    /// After a TLS handshake.
    pub(super) async fn tls(
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        gate: Gate,
        open_within: Duration,
    ) -> io::Result<Self> {
        let tls = TlsConnector::from(config).connect(name, Tcp(tcp)).await?;
        Ok(Self::new(Inner::Tls(Box::new(tls)), gate, open_within))
    }

    fn new(inner: Inner, gate: Gate, open_within: Duration) -> Self {
        Self { inner, gate, opening: Some(Box::pin(tokio::time::sleep(open_within))) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        let Poll::Ready(read) = polled else {
            if let Some(opening) = &mut this.opening {
                ready!(opening.as_mut().poll(cx));
                let text = "the broker accepted the connection and then said nothing";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            return Poll::Pending;
        };
        let read = read?;
        if let Some(bytes) = buf.get_mut(..read) {
            this.gate.pass(bytes)?;
        }
        if this.gate.is_open() {
            this.opening = None;
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_close(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_close(cx),
        }
    }
}

/// tokio's socket with the traits that lapin and its TLS want.
struct Tcp(TcpStream);

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
