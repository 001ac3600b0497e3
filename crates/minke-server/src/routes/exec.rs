//! Execs.

use http::StatusCode;
use minke_api::adapt::Adapt as _;
use minke_api::exec::{ExecCreateRequest, ExecStartRequest};
use minke_api::run::RunMode;
use minke_model::Result;

use crate::hijack::{self, ClientSide};
use crate::request::Request;
use crate::response::{self, Response};

pub async fn create(mut request: Request) -> Result<Response> {
    let body: ExecCreateRequest = request.json().await?;
    match hijack::run_mode(&request) {
        None => created(&request.engine.exec_create(&request.parameter, body)?),
        Some(RunMode::Detach) => created(&request.engine.exec_run_detached(&request.parameter, body).await?),
        Some(RunMode::Attach) => {
            let (made, session) = request.engine.exec_run(&request.parameter, body)?;
            hijack::answer_run(ClientSide::of(request), &made, session)
        }
    }
}

fn created(made: &impl serde::Serialize) -> Result<Response> {
    let mut answer = response::json(made);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub async fn start(mut request: Request) -> Result<Response> {
    let body: ExecStartRequest = request.json().await?;
    if body.detach {
        request.engine.exec_start_detached(&request.parameter, &body).await?;
        return Ok(response::empty(StatusCode::OK));
    }
    let exit_frames = hijack::wants_exit_frames(&request.headers);
    let session = request.engine.exec_start(&request.parameter, &body, exit_frames)?;
    hijack::answer(ClientSide::of(request), session)
}

pub async fn resize(request: &Request) -> Result<Response> {
    request.engine.exec_resize(&request.parameter, &request.query()?).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn inspect(request: &Request) -> Result<Response> {
    let mut exec = request.engine.exec_inspect(&request.parameter).await?;
    exec.adapt(request.version);
    Ok(response::json(&exec))
}
