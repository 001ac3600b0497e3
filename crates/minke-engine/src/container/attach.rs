//! Attaching a client to a container's streams: what is checked before the connection is taken over, and how the shim gets it.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use minke_api::stream::Frame;
use minke_model::{Context as _, Result};
use minke_spec::shim::{AttachRequest, Reply, Request};
use tokio::sync::oneshot;

use super::handle::{Command, Container, PendingAttach};
use crate::log::{Join, LogOptions, ReplayEnd};
use crate::shim::connection::ShimConnection;
use crate::{Attachment, LogStream};

/// Docker's detach keys: ctrl-p, ctrl-q.
const DETACH_KEYS: [u8; 2] = [16, 17];

/// The log that a client is shown before it is joined to the streams.
#[derive(Debug)]
pub struct Replay {
    /// The current file.
    pub path: PathBuf,
    /// The container has a terminal.
    pub tty: bool,
    /// What of it is shown.
    pub options: LogOptions,
}

/// Gives the client's socket to the container's shim, or keeps it for the container's start.
pub async fn connect(attachment: Attachment, socket: OwnedFd, prefix: Bytes) -> Result<()> {
    let Attachment { container, mut request, replay, replay_only, .. } = attachment;
    request.prefix = prefix.into();
    let Some(replay) = replay else {
        if replay_only {
            // Neither the log nor what comes: that is all there is.
            return Ok(());
        }
        return container.ask(|reply| Command::Attach(PendingAttach { request, socket }, reply)).await;
    };
    if replay_only {
        let log = crate::log::replay(replay.path, replay.tty, replay.options, async { ReplayEnd::Asked });
        return send_all(log, &socket).await;
    }
    let (sender, held) = oneshot::channel();
    let joined = hold(container.clone(), request.clone(), duplicate(&socket)?, sender);
    let end = async { joined.await.map_or(ReplayEnd::Now, ReplayEnd::Join) };
    let log = crate::log::replay(replay.path, replay.tty, replay.options, end);
    let sent = send_all(log, &socket).await;
    match held.await {
        Ok((shim, client)) => {
            // Also after a failure: the client gets at least what comes now.
            let released = shim.request(&Request::Release { client }, &[]).await;
            sent?;
            released.map(|_| ()).map_err(|error| error.into_error("attaching to the container"))
        }
        // It doesn't run, or its shim is of an older build: joined where the log ends by now.
        Err(_) => {
            sent?;
            container.ask(|reply| Command::Attach(PendingAttach { request, socket }, reply)).await
        }
    }
}

/// Joins the client to the streams of a container that runs, without anything being sent to it yet. Tells who is held, and where the
/// log is at that moment.
async fn hold(
    container: Arc<Container>,
    request: AttachRequest,
    socket: OwnedFd,
    held: oneshot::Sender<(ShimConnection, u32)>,
) -> Option<Join> {
    let shim = container.view().shim.clone()?;
    let (reply, descriptors) = shim.request(&Request::AttachHeld(request), &[&socket]).await.ok()?;
    let Reply::Held { client, log_bytes } = reply else { return None };
    let _ = held.send((shim, client));
    let file = descriptors.into_iter().next()?;
    Some(Join { file: file.into(), bytes: log_bytes })
}

/// Writes a log to a client.
async fn send_all(mut log: LogStream, socket: &OwnedFd) -> Result<()> {
    let mut stream =
        tokio::net::UnixStream::from_std(nonblocking(duplicate(socket)?)?).context("attaching")?;
    while let Some(chunk) = log.chunks.recv().await {
        let chunk = chunk.context("reading the container's log")?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &chunk).await.context("attaching")?;
    }
    Ok(())
}

fn duplicate(socket: &OwnedFd) -> Result<OwnedFd> {
    socket.try_clone().context("attaching")
}

fn nonblocking(socket: OwnedFd) -> Result<UnixStream> {
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true).context("attaching")?;
    Ok(stream)
}

/// Writes one message of the engine itself to a client, as a frame unless the stream is raw; then, for a client that wants
/// it, the exit code.
pub fn tell(socket: OwnedFd, framed: bool, text: &str, code: Option<i32>) -> std::io::Result<()> {
    let mut stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    if framed {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        stream.write_all(&Frame::Stdout.header(length))?;
    }
    stream.write_all(text.as_bytes())?;
    if let Some(code) = code {
        stream.write_all(&Frame::Exit.header(4))?;
        stream.write_all(&code.to_be_bytes())?;
    }
    Ok(())
}

/// The bytes that `keys` stands for; Docker's default where it is empty.
///
/// # Errors
/// Docker's words for a key that isn't one.
pub fn detach_keys(keys: &str) -> Result<Vec<u8>> {
    if keys.is_empty() {
        return Ok(DETACH_KEYS.to_vec());
    }
    keys.split(',')
        .map(|key| {
            let bad = || minke_model::Error::invalid(format!("Invalid detach keys ({keys}) provided"));
            if let [byte] = key.as_bytes() {
                return Ok(*byte);
            }
            let control = key.strip_prefix("ctrl-").ok_or_else(bad)?;
            match control.as_bytes() {
                [letter] if letter.is_ascii_lowercase() => Ok(letter - b'a' + 1),
                [b'@'] => Ok(0),
                [byte @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(byte - b'[' + 27),
                _ => Err(bad()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_read_as_docker_reads_them() {
        for (keys, expected) in [
            ("", Some(vec![16, 17])),
            ("a", Some(vec![b'a'])),
            ("ctrl-a,b", Some(vec![1, b'b'])),
            ("ctrl-@", Some(vec![0])),
            ("ctrl-_", Some(vec![31])),
            ("ctrl-A", None),
            ("nonsense", None),
        ] {
            assert_eq!(detach_keys(keys).ok(), expected, "{keys}");
        }
    }
}
