//! Lists: tags and repositories in pages, and what is said about a manifest.

use hyper::StatusCode;
use hyper::header::HeaderName;
use minke_model::Digest;
use minke_model::image::media_type as kinds;
use serde_json::json;

use super::answer::{Answer, Refusal, Result, json_answer};
use super::route::Server;
use crate::client::encode;
use crate::query::Query;

impl Server {
    pub(crate) fn tags(&self, name: &str, query: &Query) -> Result<Answer> {
        let tags = self.storage.look(name, |holding| holding.tags.keys().cloned().collect::<Vec<_>>());
        let tags = tags.ok_or_else(Refusal::name_unknown)?;
        let (page, more) = page(&tags, query)?;
        let answer = json_answer(StatusCode::OK, &json!({"name": name, "tags": page}));
        Ok(linked(answer, &format!("/v2/{name}/tags/list"), page, more))
    }

    pub(crate) fn catalog(&self, query: &Query) -> Result<Answer> {
        let names = self.storage.names();
        let (page, more) = page(&names, query)?;
        let answer = json_answer(StatusCode::OK, &json!({"repositories": page}));
        Ok(linked(answer, "/v2/_catalog", page, more))
    }

    pub(crate) fn referrers(&self, name: &str, subject: &Digest, query: &Query) -> Result<Answer> {
        let wanted = query.get("artifactType");
        let found = self.storage.look(name, |holding| {
            let about = holding.manifests.iter().filter(|(_, entry)| entry.subject.as_ref() == Some(subject));
            let of_type =
                about.filter(|(_, entry)| wanted.is_none() || entry.artifact_type.as_deref() == wanted);
            let rows = of_type.map(|(digest, entry)| {
                let mut row = json!({"mediaType": entry.media_type, "digest": digest, "size": entry.size});
                if let Some(kind) = &entry.artifact_type {
                    row["artifactType"] = json!(kind);
                }
                if !entry.annotations.is_empty() {
                    row["annotations"] = json!(entry.annotations);
                }
                row
            });
            rows.collect::<Vec<_>>()
        });
        let index = json!({"schemaVersion": 2, "mediaType": kinds::OCI_INDEX, "manifests": found.unwrap_or_default()});
        let mut answer = json_answer(StatusCode::OK, &index);
        let headers = answer.headers_mut();
        headers.insert("content-type", kinds::OCI_INDEX.parse().expect("a type"));
        if wanted.is_some() {
            headers.insert(
                HeaderName::from_static("oci-filters-applied"),
                "artifactType".parse().expect("a value"),
            );
        }
        Ok(answer)
    }
}

/// The entries after `last`, at most `n`, and whether more follow.
fn page<'a>(sorted: &'a [String], query: &Query) -> Result<(&'a [String], bool)> {
    let invalid = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "PAGINATION_NUMBER_INVALID",
            "invalid number of results requested",
        )
    };
    let count = query.get("n").map(|text| text.parse::<usize>().map_err(|_| invalid())).transpose()?;
    let from = match query.get("last") {
        None => 0,
        Some(last) => sorted.partition_point(|entry| entry.as_str() <= last),
    };
    let rest = &sorted[from..];
    let count = count.unwrap_or(rest.len()).min(rest.len());
    Ok((&rest[..count], count < rest.len() && count > 0))
}

/// Adds where the next page is.
fn linked(mut answer: Answer, path: &str, page: &[String], more: bool) -> Answer {
    if let Some(last) = page.last().filter(|_| more) {
        let link = format!("<{path}?last={}&n={}>; rel=\"next\"", encode(last), page.len());
        answer.headers_mut().insert("link", link.parse().expect("a value"));
    }
    answer
}
