//! Attaching a client to a container's streams: what is checked before the connection is taken over, and how the shim gets it.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use minke_api::stream::Frame;
use minke_model::{Context as _, Result};

use super::handle::{Command, PendingAttach};
use crate::Attachment;

/// Docker's detach keys: ctrl-p, ctrl-q.
const DETACH_KEYS: [u8; 2] = [16, 17];

/// Gives the client's socket to the container's shim, or keeps it for the container's start.
pub async fn connect(attachment: Attachment, socket: OwnedFd, prefix: Bytes) -> Result<()> {
    let Attachment { container, mut request, replay, replay_only, .. } = attachment;
    let socket = match replay {
        Some(mut log) => {
            let mut stream = tokio::net::UnixStream::from_std(nonblocking(socket)?).context("attaching")?;
            while let Some(chunk) = log.chunks.recv().await {
                let chunk = chunk.context("reading the container's log")?;
                tokio::io::AsyncWriteExt::write_all(&mut stream, &chunk).await.context("attaching")?;
            }
            stream.into_std().context("attaching")?.into()
        }
        None => socket,
    };
    if replay_only {
        return Ok(());
    }
    request.prefix = prefix.into();
    container.ask(|reply| Command::Attach(PendingAttach { request, socket }, reply)).await
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
