//! The routes: from an operation of the table to the engine and back. A file per noun.

mod container;
mod exec;
mod files;
mod image;
mod network;
mod registry;
mod system;
mod volume;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use minke_api::{Operation, Query};
use minke_engine::Engine;
use minke_model::{Error, Result};

use crate::error;
use crate::handoff::Handoffs;
use crate::request::Request;
use crate::response::{self, CommonHeaders, Response};
use crate::router::{Route, route};
use crate::swarm;

/// What all requests share.
pub struct App {
    engine: Arc<Engine>,
    handoffs: Arc<Handoffs>,
    headers: CommonHeaders,
}

impl App {
    /// Serves `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        let headers = CommonHeaders::new(&engine.version().version);
        Self { engine, handoffs: Arc::default(), headers }
    }

    /// Answers a request; whatever happens, there is an answer.
    async fn answer(&self, request: http::Request<Incoming>) -> Response {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut answer = without_panic(self.find_and_run(request)).await.unwrap_or_else(|error| {
            tracing::debug!(%method, path, "{error}");
            error::answer(&error)
        });
        tracing::debug!(%method, path, status = answer.status().as_u16());
        self.headers.add(&mut answer);
        answer
    }

    async fn find_and_run(&self, mut request: http::Request<Incoming>) -> Result<Response> {
        match route(request.method(), request.uri().path())? {
            Route::Nothing => match swarm::refusal(request.method(), request.uri().path()) {
                Some(error) => Err(error),
                None => Ok(error::no_such_page()),
            },
            Route::Options => Ok(response::empty(StatusCode::OK)),
            Route::Redirect(path) => Ok(redirect(&path)),
            Route::To { operation, version, parameter } => {
                let query = Query::parse(request.uri().query().unwrap_or_default())?;
                let upgrade = request.extensions_mut().remove();
                let (parts, body) = request.into_parts();
                let engine = self.engine.clone();
                let (headers, handoffs) = (parts.headers, self.handoffs.clone());
                let request = Request {
                    engine,
                    handoffs,
                    operation,
                    version,
                    parameter,
                    query,
                    headers,
                    body,
                    upgrade,
                };
                if matches!(parts.method, Method::GET | Method::HEAD) {
                    return dispatch(request).await;
                }
                // What changes something runs to its end, also when the client goes away.
                let work = tokio::spawn(without_panic(dispatch(request)));
                work.await.map_err(|error| Error::system("the engine is ending").with_source(error))?
            }
        }
    }
}

/// Runs a request's work; a panic in it is logged and becomes an error like any other.
async fn without_panic(work: impl Future<Output = Result<Response>>) -> Result<Response> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        tracing::error!("panic: {}", text.unwrap_or("without a text"));
        Err(Error::system("internal error: the engine broke one of its own rules; its log says which"))
    })
}

fn redirect(path: &str) -> Response {
    let mut answer = response::empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::try_from(path) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

/// Runs the operation. Every row of the table is here.
async fn dispatch(request: Request) -> Result<Response> {
    match request.operation {
        Operation::SystemPing | Operation::SystemPingHead => Ok(system::ping(&request)),
        Operation::SystemVersion => Ok(system::version(&request)),
        Operation::SystemInfo => system::info(&request).await,
        Operation::SystemEvents => system::events(&request),
        Operation::SystemDataUsage => system::disk_usage(&request).await,
        Operation::SystemAuth => registry::auth(request).await,
        Operation::ImageSearch => registry::search(&request).await,
        Operation::DistributionInspect => registry::inspect(&request).await,
        Operation::BuildPrune => system::prune_build_cache(&request),
        Operation::ContainerList => container::list(&request).await,
        Operation::ContainerCreate => Box::pin(container::create(request)).await,
        Operation::ContainerInspect => container::inspect(&request).await,
        Operation::ContainerLogs => container::logs(&request),
        Operation::ContainerResize => container::resize(&request).await,
        Operation::ContainerStart => container::start(&request).await,
        Operation::ContainerStop => container::stop(&request).await,
        Operation::ContainerRestart => container::restart(&request).await,
        Operation::ContainerKill => container::kill(&request).await,
        Operation::ContainerPause => container::pause(&request).await,
        Operation::ContainerUnpause => container::unpause(&request).await,
        Operation::ContainerRename => container::rename(&request).await,
        Operation::ContainerStats => container::stats(&request).await,
        Operation::ContainerTop => container::top(&request).await,
        Operation::ContainerUpdate => container::update(request).await,
        Operation::ContainerAttach => container::attach(request),
        Operation::ContainerAttachWebsocket => container::attach_websocket(request),
        Operation::ContainerWait => container::wait(&request),
        Operation::ContainerPrune => container::prune(&request).await,
        Operation::ContainerDelete => container::remove(&request).await,
        Operation::ContainerArchiveInfo => files::stat(&request).await,
        Operation::ContainerArchive => files::get(&request).await,
        Operation::PutContainerArchive => files::put(request).await,
        Operation::ContainerChanges => files::changes(&request).await,
        Operation::ContainerExport => files::export(&request).await,
        Operation::ContainerExec => exec::create(request).await,
        Operation::ExecStart => exec::start(request).await,
        Operation::ExecResize => exec::resize(&request).await,
        Operation::ExecInspect => exec::inspect(&request).await,
        Operation::ImageList => image::list(&request).await,
        Operation::ImageCreate => image::create(request).await,
        Operation::ImageLoad => image::load(request).await,
        Operation::ImageGetAll | Operation::ImageGet => image::save(&request).await,
        Operation::ImageInspect => image::inspect(&request).await,
        Operation::ImageHistory => image::history(&request).await,
        Operation::ImagePush => image::push(&request).await,
        Operation::ImageTag => image::tag(&request).await,
        Operation::ImagePrune => image::prune(&request).await,
        Operation::ImageDelete => image::remove(&request).await,
        Operation::NetworkList => network::list(&request),
        Operation::NetworkCreate => network::create(request).await,
        Operation::NetworkPrune => network::prune(&request).await,
        Operation::NetworkConnect => network::connect(request).await,
        Operation::NetworkDisconnect => network::disconnect(request).await,
        Operation::NetworkInspect => network::inspect(&request),
        Operation::NetworkDelete => network::remove(&request).await,
        Operation::VolumeList => volume::list(&request),
        Operation::VolumeCreate => volume::create(request).await,
        Operation::VolumePrune => volume::prune(&request).await,
        Operation::VolumeInspect => volume::inspect(&request),
        Operation::VolumeUpdate => volume::update(&request),
        Operation::VolumeDelete => volume::remove(&request).await,
        Operation::ImageCommit => files::commit(request).await,
    }
}

/// [`App`] as hyper's service.
#[derive(Clone)]
pub struct AppService(pub Arc<App>);

impl Service<http::Request<Incoming>> for AppService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let app = self.0.clone();
        Box::pin(async move { Ok(app.answer(request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let work = async { panic!("no") };
        let error = without_panic(work).await.err().unwrap();
        assert_eq!(error::answer(&error).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
