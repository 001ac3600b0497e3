//! `manifest inspect`: a manifest of a list that is being made, such a list, or what a registry has.

use clap::Args;
use minke_model::image::{Index, media_type};
use minke_model::{Context as _, Error, Reference};
use minke_registry::client::Registry;

use super::entry::{Brought, Entry, bring, indented, index_of};
use super::store::Lists;
use super::{missing, name};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::registries;
use crate::session::Session;

/// Flags of `manifest inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// The registry needs no checked certificate, nor TLS
    #[arg(long)]
    insecure: bool,
    /// Print layers and platforms too
    #[arg(long, short = 'v')]
    verbose: bool,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Print a manifest, or a list of them";
    const USAGE: &'static str = "[OPTIONS] [MANIFEST_LIST] MANIFEST";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let lists = Lists::of(&session.config);
        let (list, image) = match arguments.as_slice() {
            [list, image] => (Some(name(list)?), name(image)?),
            others => (None, name(&others[0])?),
        };
        let text = match list {
            Some(list) => {
                let entry = lists.find(&list, &image)?.ok_or_else(|| missing(&image.canonical()))?;
                self.image(&entry)?
            }
            None => match lists.all(&image)? {
                found if !found.is_empty() => self.list(&found)?,
                _ => self.remote(session, &image).await?,
            },
        };
        session.print(text)?;
        session.print("\n")?;
        Ok(exit::SUCCESS)
    }
}

impl Inspect {
    fn image(&self, entry: &Entry) -> Result<String, Error> {
        if self.verbose {
            return Ok(indented(&entry.render()?, "\t"));
        }
        let bytes = entry.bytes()?;
        Ok(indented(std::str::from_utf8(&bytes).context("the manifest cannot be read")?, "\t"))
    }

    fn list(&self, entries: &[Entry]) -> Result<String, Error> {
        if !self.verbose {
            return String::from_utf8(index_of(entries)?.1).context("the list cannot be read");
        }
        let rendered: Vec<String> = entries.iter().map(Entry::render).collect::<Result<_, _>>()?;
        Ok(indented(&format!("[{}]", rendered.join(",")), "\t"))
    }

    async fn remote(&self, session: &Session, image: &Reference) -> Result<String, Failure> {
        let insecure = if self.insecure { vec![image] } else { Vec::new() };
        let registry = registries::client(&insecure)?;
        match bring(&registry, session, image).await? {
            Brought::Image(entry) => Ok(self.image(&entry)?),
            Brought::Index(bytes) => {
                let entries = children(&registry, session, image, &bytes).await?;
                Ok(self.list(&entries)?)
            }
        }
    }
}

/// The images of an index; what is no image is left out, as Docker leaves it out.
async fn children(
    registry: &Registry,
    session: &Session,
    list: &Reference,
    bytes: &[u8],
) -> Result<Vec<Entry>, Error> {
    let index: Index = serde_json::from_slice(bytes).context("the index cannot be read")?;
    let mut entries = Vec::new();
    for child in index.manifests.iter().filter(|child| media_type::is_manifest(&child.media_type)) {
        let name = list.clone().with_digest(child.digest.clone());
        if let Brought::Image(mut entry) = bring(registry, session, &name).await? {
            entry.reference = format!("{}@{}", list.canonical(), child.digest);
            entry.descriptor.platform = child.platform.clone().or(entry.descriptor.platform);
            entries.push(*entry);
        }
    }
    Ok(entries)
}
