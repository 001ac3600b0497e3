//! `GET /metrics` on an address of its own (`metrics-addr`): what the engine counts, as Prometheus reads it, under Docker's names.
//!
//! Nothing else is served there, and nothing can be changed: whoever reaches the address may only count.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use minke_api::system::SystemInfo;
use minke_engine::Engine;
use minke_model::Result;

use crate::body::Body;
use crate::connection::{Scope, accept_all};
use crate::error;
use crate::listener::Listener;
use crate::response::{self, Response};

/// The text format and its version.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves an engine's numbers until `scope` ends.
pub async fn serve(engine: Engine, listener: Listener, scope: Scope) {
    let engine = Arc::new(engine);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let engine = engine.clone();
        async move {
            let answer = answer(&engine, request.method(), request.uri().path()).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| error::answer(&error)))
        }
    });
    accept_all(listener, service, scope).await;
}

async fn answer(engine: &Engine, method: &Method, path: &str) -> Result<Response> {
    if path != "/metrics" || !matches!(*method, Method::GET | Method::HEAD) {
        return Ok(error::no_such_page());
    }
    let text = match *method {
        Method::HEAD => Body::Empty,
        _ => Body::from(render(&engine.info().await?, &engine.version().git_commit).into_bytes()),
    };
    let mut answer = response::of_type(TEXT, text);
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

/// The numbers, each with its meaning and its kind.
fn render(info: &SystemInfo, commit: &str) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(String, i64)]| {
        // Writing into a string can't fail.
        let _ = writeln!(text, "# HELP engine_daemon_{name} {help}\n# TYPE engine_daemon_{name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(text, "engine_daemon_{name}{labels} {value}");
        }
    };
    let state = |state: &str, count| (format!("{{state=\"{state}\"}}"), count);
    gauge(
        "container_states_containers",
        "The count of containers in various states",
        &[
            state("paused", info.containers_paused),
            state("running", info.containers_running),
            state("stopped", info.containers_stopped),
        ],
    );
    gauge(
        "engine_cpus_cpus",
        "The number of cpus that the host system of the engine has",
        &[(String::new(), info.n_cpu)],
    );
    let labels = [
        ("architecture", info.architecture.as_str()),
        ("commit", commit),
        ("daemon_id", &info.id),
        ("graphdriver", &info.driver),
        ("kernel", &info.kernel_version),
        ("os", &info.operating_system),
        ("os_type", &info.os_type),
        ("os_version", &info.os_version),
        ("version", &info.server_version),
    ];
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    gauge(
        "engine_info",
        "The information related to the engine and the OS it is running on",
        &[(format!("{{{}}}", labels.join(",")), 1)],
    );
    gauge(
        "engine_memory_bytes",
        "The number of bytes of memory that the host system of the engine has",
        &[(String::new(), info.mem_total)],
    );
    gauge(
        "events_subscribers_total",
        "The number of current subscribers to events",
        &[(String::new(), info.n_events_listener)],
    );
    gauge("images", "The number of images", &[(String::new(), info.images)]);
    text
}

/// A label's value as the format writes it.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let info = SystemInfo {
            containers_running: 2,
            n_cpu: 4,
            operating_system: "a \"b\"\\".into(),
            ..SystemInfo::default()
        };
        let text = render(&info, "c0ffee");
        for line in [
            "# TYPE engine_daemon_container_states_containers gauge",
            "engine_daemon_container_states_containers{state=\"running\"} 2",
            "engine_daemon_engine_cpus_cpus 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("commit=\"c0ffee\"") && text.contains("os=\"a \\\"b\\\"\\\\\""), "{text}");
    }
}
