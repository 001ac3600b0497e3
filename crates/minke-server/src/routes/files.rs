//! A container's files: archives in and out, changes, and images made of them.

use http::{HeaderValue, StatusCode};
use minke_api::container::{ContainerConfig, PATH_STAT_HEADER, PathStat};
use minke_model::Result;

use crate::body::Body;
use crate::request::{Request, reader};
use crate::response::{self, Response};

const TAR: &str = "application/x-tar";

fn with_stat(mut answer: Response, stat: &PathStat) -> Response {
    if let Ok(value) = HeaderValue::try_from(stat.to_header()) {
        answer.headers_mut().insert(PATH_STAT_HEADER, value);
    }
    answer
}

pub async fn stat(request: &Request) -> Result<Response> {
    let stat = request.engine.container_path_stat(&request.parameter, &request.query()?).await?;
    Ok(with_stat(response::empty(StatusCode::OK), &stat))
}

pub async fn get(request: &Request) -> Result<Response> {
    let (stat, archive) = request.engine.container_archive(&request.parameter, &request.query()?).await?;
    Ok(with_stat(response::of_type(TAR, Body::Channel(archive)), &stat))
}

pub async fn put(request: Request) -> Result<Response> {
    let query = request.query()?;
    request.engine.container_archive_put(&request.parameter, &query, reader(request.body)).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn changes(request: &Request) -> Result<Response> {
    // No changes at all are null, as Docker writes them.
    let changes = request.engine.container_changes(&request.parameter).await?;
    Ok(response::json(&(!changes.is_empty()).then_some(changes)))
}

pub async fn export(request: &Request) -> Result<Response> {
    let archive = request.engine.container_export(&request.parameter).await?;
    Ok(response::of_type("application/octet-stream", Body::Channel(archive)))
}

pub async fn commit(mut request: Request) -> Result<Response> {
    let query = request.query()?;
    let config: Option<ContainerConfig> = match request.json().await {
        // No body is no configuration.
        Err(error) if error.message().contains("got EOF") => None,
        config => config?,
    };
    let made = request.engine.container_commit(&query, config).await?;
    let mut answer = response::json(&made);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}
