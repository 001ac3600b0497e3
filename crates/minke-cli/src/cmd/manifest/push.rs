//! `manifest push`: takes a list to its registry, with the manifests that are not there yet.

use clap::Args;
use minke_model::image::media_type;
use minke_model::{Error, Reference};
use minke_registry::client::{MountAnswer, Repository, TagOrDigest};

use super::entry::{Entry, index_of};
use super::store::Lists;
use super::{missing, name};
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::registries;
use crate::session::Session;

/// Flags of `manifest push`.
#[derive(Args, Clone, Debug)]
pub struct Push {
    /// The registry needs no checked certificate, nor TLS
    #[arg(long)]
    insecure: bool,
    /// Forget the list once it is there
    #[arg(long, short = 'p')]
    purge: bool,
}

impl Verb for Push {
    const SUMMARY: &'static str = "Take a list of manifests to its registry";
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let list = name(&arguments[0])?;
        let lists = Lists::of(&session.config);
        let entries = lists.all(&list)?;
        if entries.is_empty() {
            return Err(missing(&list.canonical()).into());
        }
        let sources = sources(&list, &entries)?;
        let insecure = if self.insecure { vec![&list] } else { Vec::new() };
        let registry = registries::client(&insecure)?;
        let repository = registries::repository(&registry, &session.config, &list)?;
        for (entry, source) in entries.iter().zip(&sources) {
            if source.path() != list.path() {
                mount(&repository, source, entry).await?;
            }
            let digest = &entry.descriptor.digest;
            let by_digest = TagOrDigest::Digest(digest.clone());
            repository.put_manifest(&by_digest, &entry.descriptor.media_type, entry.bytes()?.into()).await?;
            let pushed = list.clone().with_digest(digest.clone());
            session.print(format!("Pushed ref {} with digest: {digest}\n", pushed.canonical()))?;
        }
        let (kind, bytes) = index_of(&entries)?;
        let digest = repository.put_manifest(&TagOrDigest::from(&list), kind, bytes.into()).await?;
        if self.purge {
            lists.remove(&list)?;
        }
        session.print(format!("{digest}\n"))?;
        Ok(exit::SUCCESS)
    }
}

/// Where each manifest is now: at the list's own registry, and for a platform.
fn sources(list: &Reference, entries: &[Entry]) -> Result<Vec<Reference>, Error> {
    let check = |entry: &Entry| {
        let source = Reference::parse(&entry.reference)?;
        if source.domain() != list.domain() {
            return Err(Error::invalid(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                source.domain(),
                list.domain()
            )));
        }
        let platform = entry.descriptor.platform.as_ref();
        match platform.is_some_and(|known| !known.os.is_empty() && !known.architecture.is_empty()) {
            true => Ok(source),
            false => Err(Error::invalid(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                entry.reference
            ))),
        }
    };
    entries.iter().map(check).collect()
}

/// Has the repository take over what a manifest names.
async fn mount(repository: &Repository, source: &Reference, entry: &Entry) -> Result<(), Error> {
    let manifest = entry.manifest()?;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if media_type::is_foreign(&blob.media_type) || repository.has_blob(&blob.digest).await? {
            continue;
        }
        if repository.mount(&blob.digest, source.path()).await? == MountAnswer::NotMounted {
            return Err(Error::system(format!(
                "the registry does not let {} take {} over from {}",
                repository.path(),
                blob.digest,
                source.path()
            )));
        }
    }
    Ok(())
}
