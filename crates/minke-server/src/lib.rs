//! HTTP in front of the engine: listeners, TLS, the routes of the Engine API, hijacked connections, and the one place
//! where a kind of error becomes a status ([`error`]).
//!
//! It decides nothing about containers: a route reads the request, calls one method of the engine, writes the answer.
//!
//! ```text
//! listener -> connection (hyper) -> router (path, version) -> routes/<noun> -> engine
//!                                                                 `-> hijack: the raw socket goes to the engine
//! ```
#![forbid(unsafe_code)]

mod body;
mod connection;
pub mod daemon;
mod error;
mod handoff;
mod hijack;
mod listener;
mod metrics;
mod request;
mod response;
mod rest;
mod router;
mod routes;
mod swarm;
mod tls;
mod websocket;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use minke_engine::Engine;
use minke_model::Result;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use listener::Listener;
pub use tls::TlsSettings;

/// How long requests under way may take after the shutdown began.
const DRAIN: Duration = Duration::from_millis(500);

/// Serves the Engine API on all `listeners` until `shutdown` is ready; then accepts no more, lets short requests end,
/// and drops the rest. Connections that were handed to a shim go on.
pub async fn serve(
    engine: impl Into<Arc<Engine>>,
    listeners: Vec<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let app = Arc::new(routes::App::new(engine.into()));
    let ending = CancellationToken::new();
    let dropped = CancellationToken::new();
    let tasks = TaskTracker::new();
    let rest = rest::Rest::default();
    tasks.spawn(rest.clone().when_quiet(ending.clone(), minke_sys::heap::give_back));
    for listener in listeners {
        let service = routes::AppService(app.clone());
        let scope = connection::Scope {
            ending: ending.clone(),
            dropped: dropped.clone(),
            tasks: tasks.clone(),
            rest: rest.clone(),
        };
        tasks.spawn(connection::accept_all(listener, service, scope));
    }
    shutdown.await;
    ending.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        dropped.cancel();
        tasks.wait().await;
    }
    Ok(())
}
