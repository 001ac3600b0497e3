//! `image copy`: an image from one registry to another, or to another name, without an engine: as it is, with the same digests.
//! Within a registry its blobs are taken over, else they are streamed; nothing is kept on this side.

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::{self, TryStreamExt as _};
use minke_model::image::{ANNOTATION_REFERENCE_TYPE, Descriptor, Index, Manifest, media_type};
use minke_model::{Context as _, Digest, Error, Platform, Reference, Result};
use minke_registry::client::{
    self, BlobStream, Chunks, MountAnswer, Repository, TagOrDigest, UploadSource, choose_manifest,
};

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::registries;
use crate::session::Session;

/// Blobs that are on their way at once.
const AT_ONCE: usize = 4;
/// Indexes that may stand within indexes.
const MAX_NESTING: usize = 4;

/// Flags of `image copy`.
#[derive(Args, Clone, Debug)]
pub struct Copy {
    /// The registries need no checked certificate, nor TLS
    #[arg(long)]
    insecure: bool,
    /// Copy only the image for this platform, without the index above it: linux/arm64
    #[arg(long, value_name = "string", default_value = "")]
    platform: String,
    /// Print only the digest
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Copy {
    const SUMMARY: &'static str = "Copy an image from registry to registry";
    const USAGE: &'static str = "[OPTIONS] SOURCE[:TAG|@DIGEST] TARGET[:TAG]";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let source = Reference::parse(&arguments[0])?.with_default_tag();
        let target = Reference::parse(&arguments[1])?;
        if target.digest().is_some() {
            return Err(Error::invalid("an image is copied to a tag, not to a digest").into());
        }
        let target = target.with_default_tag();
        let platform = match self.platform.as_str() {
            "" => None,
            text => Some(Platform::parse(text)?),
        };
        let insecure = if self.insecure { vec![&source, &target] } else { Vec::new() };
        let registry = registries::client(&insecure)?;
        let from = registries::repository(&registry, &session.config, &source)?;
        let to = registries::repository(&registry, &session.config, &target)?;
        let journey = Journey {
            from,
            to,
            mounts_from: (source.domain() == target.domain()).then(|| source.path().to_owned()),
            session,
            quiet: self.quiet,
        };
        let mut top = journey.from.manifest(&TagOrDigest::from(&source)).await.map_err(Error::from)?;
        if let Some(platform) = &platform {
            top = journey.of_platform(top, platform).await?;
        }
        journey.contents(&top, 0).await?;
        let tag = TagOrDigest::from(&target);
        let digest = journey.put(&tag, &top).await?;
        match self.quiet {
            true => session.print(format!("{digest}\n"))?,
            false => session.print(format!("{tag}: digest: {digest} size: {}\n", top.bytes.len()))?,
        }
        Ok(exit::SUCCESS)
    }
}

struct Journey<'a> {
    from: Repository,
    to: Repository,
    /// The source's path, where both are at one registry.
    mounts_from: Option<String>,
    session: &'a Session,
    quiet: bool,
}

impl Journey<'_> {
    /// The manifest of one platform.
    async fn of_platform(&self, top: client::Manifest, platform: &Platform) -> Result<client::Manifest> {
        let mut here = top;
        for _ in 0..MAX_NESTING {
            if !media_type::is_index(&here.media_type) {
                return Ok(here);
            }
            let index = read::<Index>(&here)?;
            let child = choose_manifest(&index, platform).ok_or_else(|| {
                Error::not_found(format!("no matching manifest for {platform} in the manifest list entries"))
            })?;
            here = self.from.manifest(&TagOrDigest::Digest(child.digest.clone())).await?;
        }
        Err(Error::invalid("the indexes of the image are nested too deeply"))
    }

    /// Copies what a document names: blobs, and the manifests of an index.
    async fn contents(&self, document: &client::Manifest, depth: usize) -> Result<()> {
        if media_type::is_manifest(&document.media_type) {
            return self.blobs(&read::<Manifest>(document)?).await;
        }
        if depth >= MAX_NESTING {
            return Err(Error::invalid("the indexes of the image are nested too deeply"));
        }
        for child in read::<Index>(document)?.manifests {
            let by_digest = TagOrDigest::Digest(child.digest.clone());
            let found = match self.from.manifest(&by_digest).await {
                // Statements about images may be left out where they have been; images may not.
                Err(_) if child.annotations.contains_key(ANNOTATION_REFERENCE_TYPE) => continue,
                found => found?,
            };
            Box::pin(self.contents(&found, depth + 1)).await?;
            self.put(&by_digest, &found).await?;
        }
        Ok(())
    }

    async fn put(&self, name: &TagOrDigest, document: &client::Manifest) -> Result<Digest> {
        Ok(self.to.put_manifest(name, &document.media_type, document.bytes.clone()).await?)
    }

    async fn blobs(&self, manifest: &Manifest) -> Result<()> {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !blobs.iter().any(|other| other.digest == blob.digest) {
                blobs.push(blob);
            }
        }
        stream::iter(blobs.into_iter().map(|blob| self.blob(blob)))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<()> {
        let said = match () {
            () if media_type::is_foreign(&blob.media_type) => "Skipped foreign layer".to_owned(),
            () if self.to.has_blob(&blob.digest).await? => "Layer already exists".to_owned(),
            () => match self.mounted(blob).await? {
                Some(from) => format!("Mounted from {from}"),
                None => {
                    let stream = self.from.layer(blob, 0).await?.verified();
                    let sent = self.to.upload(UploadSource::Stream(chunks(stream)), |_| {}).await?;
                    if sent != blob.digest {
                        return Err(Error::system(format!("{} was copied as {sent}", blob.digest)));
                    }
                    "Copied".to_owned()
                }
            },
        };
        if !self.quiet {
            // Whoever no longer listens will hear of it at the end.
            let _ = self.session.print(format!("{}: {said}\n", blob.digest.short()));
        }
        Ok(())
    }

    async fn mounted(&self, blob: &Descriptor) -> Result<Option<&str>> {
        let Some(from) = &self.mounts_from else { return Ok(None) };
        let answer = self.to.mount(&blob.digest, from).await?;
        Ok((answer == MountAnswer::Mounted).then_some(from.as_str()))
    }
}

fn read<T: serde::de::DeserializeOwned>(document: &client::Manifest) -> Result<T> {
    serde_json::from_slice(&document.bytes).context("the manifest cannot be read")
}

/// A blob's bytes as an upload takes them.
fn chunks(blob: BlobStream) -> Chunks {
    let chunks = stream::try_unfold(blob, |mut blob| async move {
        let part = blob.next().await.map_err(std::io::Error::other)?;
        Ok(part.map(|bytes| (bytes, blob)))
    });
    chunks.boxed()
}
