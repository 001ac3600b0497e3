//! Containers.

use http::StatusCode;
use minke_api::adapt::Adapt as _;
use minke_api::container::{
    AttachQuery, ContainerConfig, ContainerCreateRequest, FlatContainerCreateRequest, HostConfig, WaitQuery,
};
use minke_api::run::RunMode;
use minke_api::stream::{MULTIPLEXED_STREAM, RAW_STREAM};
use minke_api::{ApiVersion, json};
use minke_model::{Error, Result};
use tokio::sync::mpsc;

use crate::body::Body;
use crate::hijack::{self, ClientSide};
use crate::request::Request;
use crate::response::{self, Response};
use crate::websocket;

/// The first version that tells framed from raw logs by the content type.
const TELLS_FRAMED: ApiVersion = ApiVersion::new(1, 42);

/// The first version that reads the host's part of a container's settings from its own object only.
const NESTS_HOST_CONFIG: ApiVersion = ApiVersion::new(1, 42);

fn done() -> Result<Response> {
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list(request: &Request) -> Result<Response> {
    let body = request.engine.container_list_json(&request.query()?, request.version).await?;
    Ok(response::of_type("application/json", Body::from(body)))
}

pub async fn create(mut request: Request) -> Result<Response> {
    let query = request.query()?;
    let body = match request.version < NESTS_HOST_CONFIG {
        true => request.json::<FlatContainerCreateRequest>().await?.0,
        false => request.json::<ContainerCreateRequest>().await?,
    };
    if body.config == ContainerConfig::default() {
        return Err(Error::invalid("Config cannot be empty in order to create a container"));
    }
    match hijack::run_mode(&request) {
        None => created(&request.engine.container_create(&query, body).await?),
        Some(RunMode::Detach) => created(&request.engine.container_run_detached(&query, body).await?),
        Some(RunMode::Attach) => {
            let session = request.engine.container_run(&query, &request.query()?, body).await?;
            let made = session.answer.clone();
            hijack::answer_run(ClientSide::of(request), &made, session)
        }
    }
}

fn created(made: &impl serde::Serialize) -> Result<Response> {
    let mut answer = response::json(made);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub async fn inspect(request: &Request) -> Result<Response> {
    let mut container = request.engine.container_inspect(&request.parameter, &request.query()?).await?;
    container.adapt(request.version);
    Ok(response::json(&container))
}

pub fn logs(request: &Request) -> Result<Response> {
    // Libraries (docker-py, bollard, ...) give their caller each frame as a line. The command lines take frames apart, and
    // are faster with few.
    let frame_per_line = !hijack::is_command_line(&request.headers);
    let logs = request.engine.container_logs(&request.parameter, &request.query()?, frame_per_line)?;
    let framed = !logs.tty && request.version >= TELLS_FRAMED;
    Ok(response::of_type(if framed { MULTIPLEXED_STREAM } else { RAW_STREAM }, Body::Channel(logs.chunks)))
}

pub async fn resize(request: &Request) -> Result<Response> {
    request.engine.container_resize(&request.parameter, &request.query()?).await?;
    Ok(response::empty(StatusCode::OK))
}

/// The most bytes that a start's body may have: those of a JSON value that says nothing.
const EMPTY_BODY: u64 = 7;

pub async fn start(request: &Request) -> Result<Response> {
    let body = http_body::Body::size_hint(&request.body).exact();
    if body.is_none_or(|bytes| bytes > EMPTY_BODY) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    request.handoffs.settled(&request.parameter).await;
    request.engine.container_start(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn stop(request: &Request) -> Result<Response> {
    request.engine.container_stop(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn restart(request: &Request) -> Result<Response> {
    request.engine.container_restart(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn kill(request: &Request) -> Result<Response> {
    request.engine.container_kill(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn pause(request: &Request) -> Result<Response> {
    request.engine.container_pause(&request.parameter).await?;
    done()
}

pub async fn unpause(request: &Request) -> Result<Response> {
    request.engine.container_unpause(&request.parameter).await?;
    done()
}

pub async fn rename(request: &Request) -> Result<Response> {
    request.engine.container_rename(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn stats(request: &Request) -> Result<Response> {
    let mut samples = request.engine.container_stats(&request.parameter, &request.query()?).await?;
    let version = request.version;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let sample = tokio::select! {
                sample = samples.recv() => sample,
                () = sender.closed() => return,
            };
            let Some(mut sample) = sample else { return };
            sample.adapt(version);
            let mut line = serde_json::to_vec(&sample).unwrap_or_default();
            line.push(b'\n');
            if sender.send(Ok(line.into())).await.is_err() {
                return;
            }
        }
    });
    Ok(response::of_type("application/json", Body::Channel(receiver)))
}

pub async fn top(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.container_top(&request.parameter, &request.query()?).await?))
}

pub async fn update(mut request: Request) -> Result<Response> {
    // Limits and the restart policy are fields of it.
    let change: HostConfig = request.json().await?;
    Ok(response::json(&request.engine.container_update(&request.parameter, change).await?))
}

pub fn attach(request: Request) -> Result<Response> {
    let query: AttachQuery = request.query()?;
    let exit_frames = hijack::wants_exit_frames(&request.headers);
    let attachment = request.engine.container_attach(&request.parameter, &query, exit_frames)?;
    hijack::answer(ClientSide::of(request), attachment)
}

/// The first version that lets a websocket choose its streams.
const CHOOSES_STREAMS: ApiVersion = ApiVersion::new(1, 42);

pub fn attach_websocket(request: Request) -> Result<Response> {
    let mut query: AttachQuery = request.query()?;
    if request.version < CHOOSES_STREAMS {
        (query.stdin, query.stdout, query.stderr) = (true, true, true);
    }
    let attachment = request.engine.container_attach(&request.parameter, &query, false)?;
    websocket::answer(ClientSide::of(request), attachment.unframed())
}

pub fn wait(request: &Request) -> Result<Response> {
    let outcome = request.engine.container_wait(&request.parameter, &request.query::<WaitQuery>()?)?;
    Ok(response::json_later(async { json::encode(&outcome.await) }))
}

pub async fn remove(request: &Request) -> Result<Response> {
    request.engine.container_remove(&request.parameter, &request.query()?).await?;
    done()
}

pub async fn prune(request: &Request) -> Result<Response> {
    Ok(response::json(&request.engine.container_prune(&request.query()?).await?))
}
