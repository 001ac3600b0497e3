//! Networks.

use http::StatusCode;
use minke_api::adapt::Adapt as _;
use minke_model::Result;

use crate::request::Request;
use crate::response::{self, Response};

pub fn list(request: &Request) -> Result<Response> {
    let mut found = request.engine.network_list(&request.query()?)?;
    found.adapt(request.version);
    Ok(response::json(&found))
}

pub async fn create(mut request: Request) -> Result<Response> {
    let body = request.json().await?;
    let mut answer = response::json(&request.engine.network_create(body).await?);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub fn inspect(request: &Request) -> Result<Response> {
    let mut found = request.engine.network_inspect(&request.parameter, &request.query()?)?;
    found.adapt(request.version);
    Ok(response::json(&found))
}

pub async fn connect(mut request: Request) -> Result<Response> {
    let body = request.json().await?;
    request.engine.network_connect(&request.parameter, body).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn disconnect(mut request: Request) -> Result<Response> {
    let body = request.json().await?;
    request.engine.network_disconnect(&request.parameter, body).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn remove(request: &Request) -> Result<Response> {
    request.engine.network_remove(&request.parameter).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn prune(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.network_prune(&request.query()?).await?))
}
