//! `cp`: copies files between a container and this host, or an archive of them through standard input or output.

mod archive;
mod paths;
mod unpack;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use clap::Args;
use minke_api::container::{ArchivePutQuery, GO_DEVICE, GO_DIRECTORY, GO_SYMLINK};
use minke_client::Upload;
use minke_model::Error;
use paths::{Target, join, plan, rebase_name, resolve_local, split};
use tokio::sync::mpsc;

use crate::attached;
use crate::cmd::container::create::reason;
use crate::cmd::image;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::stdio::Sink;
use crate::terminal;

/// Parts of an archive that wait for the disk.
const PARTS: usize = 8;

/// Flags of `cp`.
#[derive(Args, Clone, Debug)]
pub struct Copy {
    /// Keep the owner of what is copied
    #[arg(long, short = 'a')]
    archive: bool,
    /// Copy what a link at the end of the source leads to, not the link
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Say nothing of what was copied, as without a terminal
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Copy {
    const SUMMARY: &'static str = "Copy files between a container and this host";
    const USAGE: &'static str =
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tdocker cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let [source, target] = [&arguments[0], &arguments[1]];
        let plain = |words: &str| Err(Failure::Plain(words.into()));
        if source.is_empty() {
            return plain("source can not be empty");
        }
        if target.is_empty() {
            return plain("destination can not be empty");
        }
        match (split(source), split(target)) {
            ((None, _), (None, _)) => plain("must specify at least one container source"),
            ((Some(_), _), (Some(_), _)) => plain("copying between containers is not supported"),
            ((Some(container), path), (None, local)) => self.copy_out(session, container, path, local).await,
            ((None, local), (Some(container), path)) => self.copy_in(session, container, local, path).await,
        }
    }
}

impl Copy {
    fn says(&self) -> bool {
        !self.quiet && terminal::output_is_terminal()
    }

    async fn copy_out(&self, session: &Session, container: &str, path: &str, local: &str) -> Outcome {
        let target = if local == "-" { local.to_owned() } else { resolve_local(local)? };
        check_output(&target)?;
        let client = session.client().await?;
        let (mut source, mut rebased) = (path.to_owned(), None);
        if self.follow_link
            && let Ok(stat) = client.container_path_stat(container, &source).await
            && stat.mode & GO_SYMLINK != 0
        {
            let link = in_container(&source, &stat.link_target);
            (source, rebased) = rebase_name(&source, &link);
        }
        let (stat, mut chunks) = client.container_archive(container, &source).await?;
        if target == "-" {
            while let Some(bytes) = chunks.next().await? {
                if attached::write(Sink::Stdout, bytes).await.is_err() {
                    return Ok(exit::of_signal(13));
                }
            }
            return Ok(exit::SUCCESS);
        }
        let from = paths::Source { path: source, is_directory: stat.mode & GO_DIRECTORY != 0, rebased };
        let job = unpack::Job {
            plan: plan(&from, &paths::local_target(&target)?)?,
            rename: from.rename(),
            own: self.archive,
        };
        let (sender, receiver) = mpsc::channel::<Bytes>(PARTS);
        let unpacking = tokio::task::spawn_blocking(move || unpack::run(receiver, &job));
        let mut copied = 0;
        let mut broken = None;
        loop {
            match chunks.next().await {
                Ok(Some(bytes)) => {
                    copied += bytes.len();
                    if sender.send(bytes).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        drop(sender);
        let unpacked =
            unpacking.await.map_err(|error| Error::system("unpacking the archive").with_source(error))?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        unpacked?;
        self.say(session, copied as u64, &target);
        Ok(exit::SUCCESS)
    }

    async fn copy_in(&self, session: &Session, container: &str, local: &str, path: &str) -> Outcome {
        let source = if local == "-" { local.to_owned() } else { resolve_local(local)? };
        let client = session.client().await?;
        let mut target = Target { path: path.to_owned(), exists: false, is_directory: false };
        let mut stat = client.container_path_stat(container, path).await;
        if let Ok(found) = &stat
            && found.mode & GO_SYMLINK != 0
        {
            target.path = in_container(path, &found.link_target);
            stat = client.container_path_stat(container, &target.path).await;
        }
        if let Ok(found) = &stat {
            if found.mode & GO_DEVICE != 0 {
                return Err(Failure::Plain(format!(
                    "destination \"{container}:{path}\" must be a directory or a regular file: got a device"
                )));
            }
            (target.exists, target.is_directory) = (true, found.mode & GO_DIRECTORY != 0);
        }
        let query = |path: String| ArchivePutQuery {
            path,
            no_overwrite_dir_non_dir: true,
            copy_uid_gid: self.archive,
        };
        if source == "-" {
            if !target.is_directory {
                // A container that is not there is said to be so.
                if let Err(error) = stat
                    && error.message().contains("No such container")
                {
                    return Err(error.into());
                }
                return Err(Failure::Plain(format!(
                    "destination \"{container}:{path}\" must be a directory"
                )));
            }
            let upload = image::upload("-").await?;
            client.container_archive_put(container, &query(target.path), upload).await?;
            return Ok(exit::SUCCESS);
        }
        let from = paths::local_source(&source, self.follow_link)?;
        let planned = plan(&from, &target)?;
        let shown = target.path.clone();
        let (upload, counted) = archive::upload(&from, planned.rename.clone())?;
        client.container_archive_put(container, &query(planned.directory), upload).await?;
        self.say(
            session,
            counted.load(std::sync::atomic::Ordering::Relaxed),
            &format!("{container}:{shown}"),
        );
        Ok(exit::SUCCESS)
    }

    fn say(&self, session: &Session, bytes: u64, place: &str) {
        if self.says() {
            let size = minke_model::size::render_decimal(bytes as f64);
            session.complain(format_args!("Successfully copied {size} to {place}"));
        }
    }
}

/// Where a link in a container leads that stands at `path`.
fn in_container(path: &str, link: &str) -> String {
    if link.starts_with('/') { link.to_owned() } else { join(paths::split_entry(path).0.as_str(), link) }
}

/// Refuses a place on this host that can't take what comes, before anything is asked for.
fn check_output(path: &str) -> Result<(), Failure> {
    if path == "-" {
        return Ok(());
    }
    let directory = Path::new(path).components().as_path().parent();
    if let Some(directory) = directory.filter(|directory| !directory.as_os_str().is_empty())
        && !directory.exists()
    {
        return Err(Failure::Plain(format!(
            "invalid output path: directory {:?} does not exist",
            directory.display().to_string()
        )));
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() || found.is_file() => Ok(()),
        Ok(_) => Err(Failure::Plain(format!(
            "invalid output path: {path:?} must be a directory or a regular file: got a device"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::Plain(format!("stat {path}: {}", reason(&error)))),
    }
}

type UploadCount = (Upload, std::sync::Arc<std::sync::atomic::AtomicU64>);
