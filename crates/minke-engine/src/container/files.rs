//! `cp`, `diff` and `export`: a container's files as archives and as a list of changes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use minke_api::Time;
use minke_api::container::{ArchivePutQuery, ArchiveQuery, FilesystemChange, PathStat, go_mode};
use minke_model::{Context as _, Error, Result};
use minke_store::{ChangeKind, Extract, ExtractError, FileStat, Limits, Tree};
use minke_sys::Errno;
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::SyncIoBridge;

use super::{root, user};
use crate::{Engine, ProgressStream};

/// How long a client may go on sending what is refused.
const REST_PATIENCE: Duration = Duration::from_secs(5);
/// Chunks of an archive that wait for the client.
const CHUNKS: usize = 4;

impl Engine {
    /// `HEAD /containers/{id}/archive`.
    pub async fn container_path_stat(&self, reference: &str, query: &ArchiveQuery) -> Result<PathStat> {
        let container = self.shared.containers.resolve(reference)?;
        let (view, access) = root::open(&container).await?;
        let (shared, path) = (self.shared.clone(), query.path.clone());
        let work = move || root::with_tree(&shared, &view.record, &access, &path, |tree| tree.stat(&path));
        let found = tokio::task::spawn_blocking(work).await.context("looking at a container's file")??;
        found.map(path_stat).map_err(|errno| not_found(errno, &query.path, reference))
    }

    /// `GET /containers/{id}/archive`: what the path names, and the archive.
    pub async fn container_archive(
        &self,
        reference: &str,
        query: &ArchiveQuery,
    ) -> Result<(PathStat, ProgressStream)> {
        let container = self.shared.containers.resolve(reference)?;
        let (view, access) = root::open(&container).await?;
        let record = view.record.clone();
        let (told, stat) = oneshot::channel();
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (shared, path) = (self.shared.clone(), query.path.clone());
        tokio::task::spawn_blocking(move || {
            let mut told = Some(told);
            let tell = |told: &mut Option<oneshot::Sender<_>>, found| {
                let _ = told.take().map(|told| told.send(found));
            };
            let worked = root::with_tree(&shared, &view.record, &access, &path, |tree| {
                let mut found = match tree.stat(&path) {
                    Ok(found) => Some(found),
                    Err(errno) => return tell(&mut told, Ok(Err(errno))),
                };
                // Told with the first piece: what vanishes before is an error with words, and not an archive that breaks off.
                let packed = tree.pack(&path, &mut |chunk| {
                    if let Some(found) = found.take() {
                        tell(&mut told, Ok(Ok(found)));
                    }
                    deliver(&sender, chunk)
                });
                match (packed, found) {
                    (Ok(()), None) => {}
                    (Ok(()), Some(found)) => tell(&mut told, Ok(Ok(found))),
                    (Err(error), Some(_)) => tell(&mut told, Err(error)),
                    (Err(error), None) => break_off(&sender, &error),
                }
            });
            if let Err(error) = worked {
                tell(&mut told, Err(error));
            }
        });
        let found = stat.await.map_err(|_| Error::system("looking at a container's file"))??;
        let stat = found.map_err(|errno| not_found(errno, &query.path, reference))?;
        self.shared.tell(&record, "archive-path", &[]);
        Ok((path_stat(stat), receiver))
    }

    /// `PUT /containers/{id}/archive`.
    pub async fn container_archive_put(
        &self,
        reference: &str,
        query: &ArchivePutQuery,
        body: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<()> {
        let opened = match self.shared.containers.resolve(reference) {
            Ok(container) => root::open(&container).await,
            Err(error) => Err(error),
        };
        let (view, access) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                read_out(body).await;
                return Err(error);
            }
        };
        let record = view.record.clone();
        let (shared, query) = (self.shared.clone(), query.clone());
        let runtime = tokio::runtime::Handle::current();
        let name = reference.to_owned();
        let work = move || {
            let mut archive = SyncIoBridge::new_with_handle(body, runtime);
            let written = root::with_tree(&shared, &view.record, &access, &query.path, |tree| {
                check_writable(tree, &query.path, &name)?;
                let owner = match query.copy_uid_gid && !view.record.config.user.is_empty() {
                    true => Some(owner_of(tree, &view.record.config.user)?),
                    false => None,
                };
                let limits = Limits::default();
                let keep_kind = query.no_overwrite_dir_non_dir;
                tree.extract(&Extract { path: &query.path, keep_kind, owner, limits: &limits }, &mut archive)
                    .map_err(|error| refusal(error, &query.path, &name))
            });
            (written.flatten(), archive.into_inner())
        };
        let (written, rest) =
            tokio::task::spawn_blocking(work).await.context("writing a container's files")?;
        // An archive may end before the request does.
        read_out(rest).await;
        written?;
        self.shared.tell(&record, "extract-to-dir", &[]);
        Ok(())
    }

    /// `GET /containers/{id}/export`.
    pub async fn container_export(&self, reference: &str) -> Result<ProgressStream> {
        let container = self.shared.containers.resolve(reference)?;
        let (view, access) = root::open(&container).await?;
        let ids = self.shared.remap_of(&view.record).map(|remap| remap.map().clone());
        let alone = Tree::new(root::alone(&self.shared, &view.record, &access).await?).with_ids(ids);
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (shared, record) = (self.shared.clone(), view.record.clone());
        tokio::task::spawn_blocking(move || {
            if send(&sender, |sink| alone.pack_all(sink)) {
                shared.tell(&record, "export", &[]);
            }
            drop((alone, access));
        });
        Ok(receiver)
    }

    /// `GET /containers/{id}/changes`.
    pub async fn container_changes(&self, reference: &str) -> Result<Vec<FilesystemChange>> {
        let id = self.shared.containers.resolve(reference)?.id.clone();
        let store = self.shared.store.clone();
        let walk = move || store.file_changes(&id);
        let changes = tokio::task::spawn_blocking(walk).await.context("looking for changes")??;
        Ok(changes
            .into_iter()
            .map(|(path, kind)| FilesystemChange {
                path: format!("/{}", String::from_utf8_lossy(&path)),
                kind: match kind {
                    ChangeKind::Modified => 0,
                    ChangeKind::Added => 1,
                    ChangeKind::Deleted => 2,
                },
            })
            .collect())
    }
}

/// Sends an archive as it is made; a failure breaks it off, so that nobody takes it for whole. Whether all was sent.
fn send(
    sender: &mpsc::Sender<io::Result<Bytes>>,
    pack: impl FnOnce(&mut minke_store::ChunkSink<'_>) -> Result<()>,
) -> bool {
    let packed = pack(&mut |chunk| deliver(sender, chunk));
    if let Err(error) = &packed {
        break_off(sender, error);
    }
    packed.is_ok()
}

fn deliver(sender: &mpsc::Sender<io::Result<Bytes>>, chunk: Vec<u8>) -> io::Result<()> {
    sender.blocking_send(Ok(Bytes::from(chunk))).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn break_off(sender: &mpsc::Sender<io::Result<Bytes>>, error: &Error) {
    tracing::debug!(%error, "an archive was broken off");
    let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
}

fn path_stat(stat: FileStat) -> PathStat {
    let nanos = i128::from(stat.mtime.0) * 1_000_000_000 + i128::from(stat.mtime.1);
    PathStat {
        name: stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: Time::from_nanos(nanos),
        link_target: stat.link_target,
    }
}

/// Docker's words for a path that leads nowhere.
fn not_found(errno: Errno, path: &str, container: &str) -> Error {
    match errno {
        Errno::NOENT => Error::not_found(format!("Could not find the file {path} in container {container}")),
        errno => Error::system(format!("lstat {path}: {}", super::devices::words(&io::Error::from(errno)))),
    }
}

fn refusal(error: ExtractError, path: &str, container: &str) -> Error {
    match error {
        ExtractError::Path(errno) => not_found(errno, path, container),
        ExtractError::NoDirectory => Error::invalid("extraction point is not a directory"),
        ExtractError::Archive(error) => error,
    }
}

/// Listens to the client to its end: one that still sends when it is answered hears a broken connection instead.
async fn read_out(mut rest: impl AsyncRead + Unpin) {
    let _ = tokio::time::timeout(REST_PATIENCE, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// Refuses what can't be written to before the archive is read.
fn check_writable(tree: &Tree, path: &str, container: &str) -> Result<()> {
    match tree.is_read_only(path) {
        Ok(false) => Ok(()),
        Ok(true) if tree.is_on_other_mount(path).unwrap_or(false) => {
            Err(Error::new(minke_model::ErrorKind::Forbidden, "mounted volume is marked read-only"))
        }
        Ok(true) => {
            Err(Error::new(minke_model::ErrorKind::Forbidden, "container rootfs is marked read-only"))
        }
        Err(errno) => Err(not_found(errno, path, container)),
    }
}

/// Whom the container's own user stands for.
fn owner_of(tree: &Tree, name: &str) -> Result<(u32, u32)> {
    let user = user::resolve(name, &[], tree.root())?;
    Ok((user.uid, user.gid))
}
