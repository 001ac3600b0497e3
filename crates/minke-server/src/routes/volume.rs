//! Volumes.

use http::StatusCode;
use minke_api::ApiVersion;
use minke_model::Result;

use crate::request::Request;
use crate::response::{self, Response};

/// The first version in which a prune leaves volumes alone that somebody has given a name.
const PRUNES_ANONYMOUS_ONLY: ApiVersion = ApiVersion::new(1, 42);

pub fn list(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.volume_list(&request.query()?)?))
}

pub async fn create(mut request: Request) -> Result<Response> {
    let body = request.json().await?;
    let mut answer = response::json(&request.engine.volume_create(body).await?);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub async fn prune(request: &Request) -> Result<Response> {
    let anonymous_only = request.version >= PRUNES_ANONYMOUS_ONLY;
    Ok(response::json(&request.engine.volume_prune(&request.query()?, anonymous_only).await?))
}

pub fn inspect(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.volume_inspect(&request.parameter)?))
}

pub fn update(request: &Request) -> Result<Response> {
    request.engine.volume_update(&request.parameter, &request.query()?)?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn remove(request: &Request) -> Result<Response> {
    request.engine.volume_remove(&request.parameter, &request.query()?).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
