//! Registries: logins, and what they have.

use minke_api::registry::{AUTH_HEADER, AuthConfig};
use minke_model::Result;

use crate::request::Request;
use crate::response::{self, Response};

pub async fn auth(mut request: Request) -> Result<Response> {
    let auth: AuthConfig = request.json().await?;
    Ok(response::json(&request.engine.system_auth(auth).await?))
}

pub async fn search(request: &Request) -> Result<Response> {
    let auth = AuthConfig::from_header(request.header(AUTH_HEADER)).unwrap_or_default();
    Ok(response::json(&request.engine.image_search(&request.query()?, auth).await?))
}

pub async fn inspect(request: &Request) -> Result<Response> {
    let auth = AuthConfig::from_header(request.header(AUTH_HEADER)).unwrap_or_default();
    Ok(response::json(&request.engine.distribution_inspect(&request.parameter, auth).await?))
}
