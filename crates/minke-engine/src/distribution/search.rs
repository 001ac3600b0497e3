//! `GET /images/search`.

use minke_api::registry::{AuthConfig, ImageSearchQuery, SearchResult};
use minke_model::{Context as _, Error, Result};

use super::access::credentials;
use crate::Engine;

/// How many results are given where nobody says it.
const LIMIT: i64 = 25;
/// The most that may be asked for.
const MAX_LIMIT: i64 = 100;

impl Engine {
    /// Searches a registry: Docker's own, or the one that the term names.
    ///
    /// # Errors
    /// A limit out of range, a filter that is none, what the registry refuses.
    pub async fn image_search(
        &self,
        query: &ImageSearchQuery,
        auth: AuthConfig,
    ) -> Result<Vec<SearchResult>> {
        let filters = &query.filters;
        filters.check(&["is-automated", "is-official", "stars"])?;
        let limit = if query.limit == 0 { LIMIT } else { query.limit };
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid(format!("limit {limit} is outside the range of [1, {MAX_LIMIT}]")));
        }
        if filters.boolean("is-automated")?.unwrap_or(false) {
            // Nobody builds there any more.
            return Ok(Vec::new());
        }
        let official = filters.boolean("is-official")?;
        let mut stars = 0;
        for text in filters.values("stars") {
            let number: i64 =
                text.parse().with_context(|| format!("invalid filter 'stars={text}'")).map_err(|error| {
                    Error::invalid(format!(
                        "invalid filter 'stars={text}': {}",
                        minke_api::query::number_message(text)
                    ))
                    .with_source(error)
                })?;
            stars = stars.max(number);
        }
        let (limit, credentials) = (usize::try_from(limit).unwrap_or_default(), credentials(auth));
        let found = self.shared.distribution.registry.search(&query.term, limit, &credentials);
        let found = found.await?.into_iter().map(|found| SearchResult {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            is_automated: false,
            description: found.description.unwrap_or_default(),
        });
        let fits = |found: &SearchResult| {
            official.is_none_or(|official| official == found.is_official) && found.star_count >= stars
        };
        Ok(found.filter(fits).collect())
    }
}
