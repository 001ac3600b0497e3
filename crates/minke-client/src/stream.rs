//! The byte streams below and above HTTP: the socket itself, and what is left of it after an upgrade, with the bytes that
//! the HTTP library had already read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::frame::{FrameReader, Framing};

/// A connection to an engine.
pub enum Stream {
    /// By a socket in the file system.
    Unix(UnixStream),
    /// By TCP.
    Tcp(TcpStream),
    /// By TCP with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The connection of an attach or an exec after the engine's 101: output to read, input to write.
pub struct Hijacked {
    /// What the container prints.
    pub reader: HijackedReader,
    /// What the container reads.
    pub writer: HijackedWriter,
}

/// The output side, cut into frames.
pub type HijackedReader = FrameReader<ReadHalf<Stream>>;

/// The input side.
pub struct HijackedWriter(WriteHalf<Stream>);

impl Hijacked {
    pub(crate) fn new(stream: Stream, already_read: Bytes, framing: Framing) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: FrameReader::new(reader, already_read, framing), writer: HijackedWriter(writer) }
    }

    /// Reads on until the engine has nothing more to say: by [`minke_api::run`] everybody can see the end then.
    pub async fn ended(&mut self) {
        while let Ok(Some(_)) = self.reader.next().await {}
    }

    /// Whether the exit code comes on this connection.
    pub fn reports_exit(&self) -> bool {
        self.reader.framing() == Framing::WithExit
    }
}

impl HijackedWriter {
    /// Sends all of `bytes` to the container's input.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Says that no more input comes; output goes on.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
