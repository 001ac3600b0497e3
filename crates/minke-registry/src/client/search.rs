//! Search: Docker's own registry has an interface for it, which some others offer too; of the rest the catalog is gone through.

use hyper::Method;
use serde::Deserialize;

use super::auth::Who;
use super::error::Error;
use super::place::HUB;
use super::repository::Registry;
use super::send::Call;
use super::settings::Credentials;
use super::{ErrorKind, Result};

/// Where Docker's registry is searched.
const HUB_INDEX: &str = "index.docker.io";

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name, without the registry.
    pub name: String,
    /// What it says about itself.
    pub description: Option<String>,
    /// How many people like it.
    pub star_count: i64,
    /// Whether Docker looks after it.
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Option<Vec<Found>>,
}

impl Registry {
    /// Looks for repositories: `term`, or `host[:port]/term` at another registry than Docker's. At most `limit` are given.
    ///
    /// # Errors
    /// The registry refuses, or can neither be searched nor lists what it has.
    pub async fn search(&self, term: &str, limit: usize, credentials: &Credentials) -> Result<Vec<Found>> {
        let (domain, term) = split(term);
        let searched = self.search_at(domain, term, limit, credentials).await;
        match searched {
            Err(error) if domain != HUB_INDEX && lacks_search(&error) => {
                let names = self.catalog(domain, credentials).await?;
                let fits = names.into_iter().filter(|name| name.contains(term));
                Ok(fits.take(limit).map(|name| Found { name, ..Found::default() }).collect())
            }
            mut searched => {
                if let Ok(found) = &mut searched {
                    found.truncate(limit);
                }
                searched
            }
        }
    }

    async fn search_at(
        &self,
        domain: &str,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Found>> {
        let who = Who { credentials: credentials.clone(), scopes: Vec::new() };
        let limits = self.client.settings().limits.clone();
        let mut tour = self.tour(domain, false)?;
        loop {
            let place = tour.place();
            let mut url = place.url("");
            url.target = format!("{}/v1/search", place.base.target.trim_end_matches('/'));
            let url = url.with("q", term).with("n", &limit.to_string());
            match self.client.send(&place, &who, Call::new(Method::GET, url)).await {
                Ok(answer) => {
                    tour.settle();
                    let body = answer.body.whole(limits.document_bytes).await?;
                    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
                        Error::invalid(format!("invalid list of repositories: {error}")).with_source(error)
                    })?;
                    return Ok(answer.results.unwrap_or_default());
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }
}

/// Whether a registry has answered that it has no such interface, or with a page for people.
fn lacks_search(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 404 | 405 | 501)) || error.kind() == ErrorKind::Invalid
}

/// The registry and the rest, as in names of images.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => match host {
            HUB | HUB_INDEX => (HUB_INDEX, without_library(rest)),
            host => (host, rest),
        },
        _ => (HUB_INDEX, without_library(term)),
    }
}

/// What Docker's own images are called by.
fn without_library(term: &str) -> &str {
    term.strip_prefix("library/").unwrap_or(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_says_where_to_look() {
        assert_eq!(split("busybox"), ("index.docker.io", "busybox"));
        assert_eq!(split("library/busybox"), ("index.docker.io", "busybox"));
        assert_eq!(split("me/busybox"), ("index.docker.io", "me/busybox"));
        assert_eq!(split("docker.io/me/busybox"), ("index.docker.io", "me/busybox"));
        assert_eq!(split("localhost:5000/b"), ("localhost:5000", "b"));
        assert_eq!(split("r.example/a/b"), ("r.example", "a/b"));
    }
}
