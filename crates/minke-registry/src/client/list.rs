//! Lists that come in pages: a repository's tags, a registry's repositories.

use hyper::Method;
use minke_model::Digest;
use minke_model::image::{Descriptor, Index};
use serde::Deserialize;

use super::Result;
use super::auth::Who;
use super::error::{Error, ErrorKind};
use super::place::Place;
use super::repository::{Registry, Repository, TagOrDigest};
use super::send::Call;
use super::settings::Credentials;
use super::url::Url;

/// The length of a page that is asked for.
const PAGE: &str = "1000";
/// The most entries that are taken in all.
const MAX_ENTRIES: usize = 1_000_000;

impl Repository {
    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let mut tour = self.registry.tour(&self.domain, true)?;
        loop {
            let place = tour.place();
            let first = place.url(&format!("{}/tags/list", self.path)).with("n", PAGE);
            match self.registry.pages(&place, &self.who("pull"), first, |page| page.tags).await {
                Ok(tags) => {
                    tour.settle();
                    return Ok(tags);
                }
                Err(error) => tour
                    .next(error)
                    .await
                    .map_err(|error| error.of_pull(&self.familiar_name, &self.familiar_name))?,
            }
        }
    }
}

impl Repository {
    /// What is said about a manifest: signatures, lists of parts and the like, of one type where one is given. Asks the
    /// registry's own list, or the tag that stands in for one where it has none (`sha256-...`).
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        let mut tour = self.registry.tour(&self.domain, true)?;
        let found = loop {
            let place = tour.place();
            let mut url = place.url(&format!("{}/referrers/{subject}", self.path));
            if let Some(kind) = artifact_type {
                url = url.with("artifactType", kind);
            }
            match self.referrers_at(&place, url).await {
                Ok(found) => {
                    tour.settle();
                    break found;
                }
                Err(error) if error.status() == Some(404) && !place.mirror => {
                    tour.settle();
                    break self.tagged_referrers(subject).await?;
                }
                Err(error) => tour.next(error).await?,
            }
        };
        let of_type =
            |row: &Descriptor| artifact_type.is_none() || row.artifact_type.as_deref() == artifact_type;
        Ok(found.into_iter().filter(of_type).collect())
    }

    async fn referrers_at(&self, place: &Place, first: Url) -> Result<Vec<Descriptor>> {
        let limits = self.registry.client.settings().limits.clone();
        let (mut all, mut next) = (Vec::new(), Some(first));
        for _ in 0..limits.pages {
            let Some(url) = next.take() else { return Ok(all) };
            let answer = self.send(place, "pull", Call::new(Method::GET, url.clone())).await?;
            let link = answer.header("link").and_then(next_link).and_then(|link| answer.url.join(link));
            let body = answer.body.whole(limits.manifest_bytes).await?;
            let index: Index = serde_json::from_slice(&body)
                .map_err(|error| Error::invalid(format!("invalid list: {error}")).with_source(error))?;
            all.extend(index.manifests);
            next = link.filter(|next| next.origin == url.origin && *next != url);
        }
        Err(Error::new(ErrorKind::TooLarge, "the registry's list has too many pages"))
    }

    async fn tagged_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let tag = subject.as_str().replace(':', "-");
        match self.manifest(&TagOrDigest::Tag(tag)).await {
            Ok(manifest) => {
                let index: Index = serde_json::from_slice(&manifest.bytes)
                    .map_err(|error| Error::invalid(format!("invalid list: {error}")).with_source(error))?;
                Ok(index.manifests)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Registry {
    /// All repositories of a registry, if it lists them.
    pub async fn catalog(&self, domain: &str, credentials: &Credentials) -> Result<Vec<String>> {
        let who = Who { credentials: credentials.clone(), scopes: vec!["registry:catalog:*".to_owned()] };
        let mut tour = self.tour(domain, false)?;
        loop {
            let place = tour.place();
            let first = place.url("_catalog").with("n", PAGE);
            match self.pages(&place, &who, first, |page| page.repositories).await {
                Ok(names) => {
                    tour.settle();
                    return Ok(names);
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    async fn pages(
        &self,
        place: &Place,
        who: &Who,
        first: Url,
        of_page: fn(Page) -> Option<Vec<String>>,
    ) -> Result<Vec<String>> {
        let limits = self.client.settings().limits.clone();
        let (mut all, mut next) = (Vec::new(), Some(first));
        for _ in 0..limits.pages {
            let Some(url) = next.take() else { return Ok(all) };
            let answer = self.client.send(place, who, Call::new(Method::GET, url.clone())).await?;
            let link = answer.header("link").and_then(next_link).map(str::to_owned);
            let from = answer.url.clone();
            let body = answer.body.whole(limits.document_bytes).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| Error::invalid(format!("invalid list: {error}")).with_source(error))?;
            all.extend(of_page(page).unwrap_or_default());
            if all.len() > MAX_ENTRIES {
                return Err(Error::new(ErrorKind::TooLarge, "the registry's list is too long"));
            }
            next = link
                .and_then(|link| from.join(&link))
                .filter(|next| next.origin == url.origin && *next != url);
        }
        Err(Error::new(ErrorKind::TooLarge, "the registry's list has too many pages"))
    }
}

#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// The address with `rel="next"` of a Link header (RFC 8288).
pub(crate) fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        assert_eq!(
            next_link("</v2/a/tags/list?last=b&n=2>; rel=\"next\""),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_link("</x>; rel=prev, </y>;title=a;rel=next"), Some("/y"));
        assert_eq!(next_link("</x>; rel=\"last\""), None);
        assert_eq!(next_link("nonsense"), None);
    }
}
