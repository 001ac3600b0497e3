//! Bodies of answers: nothing, bytes, or a channel whose sender waits for the client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of an answer.
pub enum Body {
    /// Nothing, or nothing any more.
    Empty,
    /// All of it at once.
    Full(Bytes),
    /// What a sender sends; an error breaks the connection off.
    Channel(mpsc::Receiver<io::Result<Bytes>>),
    /// One piece, when it is ready; the headers go out before.
    Later(Pin<Box<dyn Future<Output = Bytes> + Send>>),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes.into()) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Channel(receiver) => {
                Poll::Ready(ready!(receiver.poll_recv(cx)).map(|piece| piece.map(Frame::data)))
            }
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Later(future) => {
                let bytes = ready!(future.as_mut().poll(cx));
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Channel(_) | Self::Later(_) => SizeHint::default(),
        }
    }
}
