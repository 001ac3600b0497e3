//! Images.

use http::StatusCode;
use minke_api::Operation;
use minke_api::adapt::Adapt as _;
use minke_api::image::{ImageCreateQuery, ImageSaveQuery};
use minke_api::registry::{AUTH_HEADER, AuthConfig};
use minke_model::Result;

use crate::body::Body;
use crate::request::{Request, reader};
use crate::response::{self, Response};

pub async fn list(request: &Request) -> Result<Response> {
    let mut images = request.engine.image_list(&request.query()?).await?;
    images.adapt(request.version);
    Ok(response::json(&images))
}

pub async fn inspect(request: &Request) -> Result<Response> {
    let mut image = request.engine.image_inspect(&request.parameter, &request.query()?).await?;
    image.adapt(request.version);
    Ok(response::json(&image))
}

pub async fn history(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.image_history(&request.parameter, &request.query()?).await?))
}

pub async fn create(request: Request) -> Result<Response> {
    let query: ImageCreateQuery = request.query()?;
    if !query.from_image.is_empty() {
        // As Docker has it: who asks with credentials that can't be read asks without.
        let auth = AuthConfig::from_header(request.header(AUTH_HEADER)).unwrap_or_default();
        let progress = request.engine.image_pull(&query, auth).await?;
        return Ok(response::of_type("application/json", Body::Channel(progress)));
    }
    let progress = request.engine.image_create(&query, reader(request.body)).await?;
    Ok(response::of_type("application/json", Body::Channel(progress)))
}

pub async fn load(request: Request) -> Result<Response> {
    let query = request.query()?;
    let progress = request.engine.image_load(&query, reader(request.body)).await?;
    Ok(response::of_type("application/json", Body::Channel(progress)))
}

pub async fn save(request: &Request) -> Result<Response> {
    let mut query: ImageSaveQuery = request.query()?;
    if request.operation == Operation::ImageGet {
        query.names = vec![request.parameter.clone()];
    }
    let archive = request.engine.image_save(&query).await?;
    Ok(response::of_type("application/x-tar", Body::Channel(archive)))
}

pub async fn push(request: &Request) -> Result<Response> {
    let auth = AuthConfig::from_header(request.header(AUTH_HEADER))?;
    let progress = request.engine.image_push(&request.parameter, &request.query()?, auth).await?;
    Ok(response::of_type("application/json", Body::Channel(progress)))
}

pub async fn tag(request: &Request) -> Result<Response> {
    request.engine.image_tag(&request.parameter, &request.query()?).await?;
    Ok(response::empty(StatusCode::CREATED))
}

pub async fn remove(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.image_delete(&request.parameter, &request.query()?).await?))
}

pub async fn prune(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.image_prune(&request.query()?).await?))
}
