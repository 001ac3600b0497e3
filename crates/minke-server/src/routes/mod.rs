//! The routes: from an operation of the table to the engine and back. A file per noun.

mod container;
mod exec;
mod image;
mod system;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use minke_api::{Operation, Query};
use minke_engine::Engine;
use minke_model::{Error, Result};

use crate::error;
use crate::request::Request;
use crate::response::{self, CommonHeaders, Response};
use crate::router::{Route, route};

/// What all requests share.
pub struct App {
    engine: Arc<Engine>,
    headers: CommonHeaders,
}

impl App {
    /// Serves `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        let headers = CommonHeaders::new(&engine.version().version);
        Self { engine, headers }
    }

    /// Answers a request; whatever happens, there is an answer.
    async fn answer(&self, request: http::Request<Incoming>) -> Response {
        let line = (request.method().clone(), request.uri().path().to_owned());
        let answered = AssertUnwindSafe(self.find_and_run(request)).catch_unwind().await;
        let mut answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error::answer(&error),
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(panic.downcast_ref::<&str>().copied());
                tracing::error!(method = %line.0, path = line.1, "panic: {}", what.unwrap_or("?"));
                error::answer(&Error::system(
                    "internal error: the request broke the engine's own rules; see its log",
                ))
            }
        };
        tracing::debug!(method = %line.0, path = line.1, status = answer.status().as_u16());
        self.headers.add(&mut answer);
        answer
    }

    async fn find_and_run(&self, mut request: http::Request<Incoming>) -> Result<Response> {
        match route(request.method(), request.uri().path())? {
            Route::Nothing => Ok(error::no_such_page()),
            Route::Options => Ok(response::empty(StatusCode::OK)),
            Route::Redirect(path) => Ok(redirect(&path)),
            Route::To { operation, version, parameter } => {
                let query = Query::parse(request.uri().query().unwrap_or_default())?;
                let upgrade = request.extensions_mut().remove();
                let (parts, body) = request.into_parts();
                let engine = self.engine.clone();
                let request = Request {
                    engine,
                    operation,
                    version,
                    parameter,
                    query,
                    headers: parts.headers,
                    body,
                    upgrade,
                };
                dispatch(request).await
            }
        }
    }
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
        Operation::ContainerList => container::list(&request),
        Operation::ContainerCreate => Box::pin(container::create(request)).await,
        Operation::ContainerInspect => container::inspect(&request),
        Operation::ContainerLogs => container::logs(&request),
        Operation::ContainerResize => container::resize(&request).await,
        Operation::ContainerStart => container::start(&request).await,
        Operation::ContainerStop => container::stop(&request).await,
        Operation::ContainerRestart => container::restart(&request).await,
        Operation::ContainerKill => container::kill(&request).await,
        Operation::ContainerRename => container::rename(&request).await,
        Operation::ContainerAttach => container::attach(request),
        Operation::ContainerWait => container::wait(&request),
        Operation::ContainerDelete => container::remove(&request).await,
        Operation::ContainerExec => exec::create(request).await,
        Operation::ExecStart => exec::start(request).await,
        Operation::ExecResize => exec::resize(&request).await,
        Operation::ExecInspect => exec::inspect(&request),
        Operation::ImageList => image::list(&request).await,
        Operation::ImageCreate => image::create(request).await,
        Operation::ImageLoad => image::load(request).await,
        Operation::ImageGetAll | Operation::ImageGet => image::save(&request).await,
        Operation::ImageInspect => image::inspect(&request).await,
        Operation::ImageHistory => image::history(&request).await,
        Operation::ImageTag => image::tag(&request).await,
        Operation::ImageDelete => image::remove(&request).await,
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
