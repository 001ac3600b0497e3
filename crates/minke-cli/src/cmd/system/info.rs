//! `info`: prints the engine's state and what it offers.

use clap::Args;
use minke_api::system::SystemInfo;
use minke_model::size;

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::format::document::Document;
use crate::format::template::{Program, Subject};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `info`.
#[derive(Args, Clone, Debug)]
pub struct Info {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
}

impl Verb for Info {
    const SUMMARY: &'static str = "Print the engine's state and what it offers";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let template = match self.format.as_str() {
            "" => return self.text(session).await,
            "json" => "{{json .}}",
            other => other,
        };
        let raw = session.client().await?.system_info_raw().await?;
        let program = Program::new(template, Subject::Typed("system.dockerInfo"), "");
        let text = program.run(&Document::parse(&raw)?);
        session.print(format!("{}\n", text.as_deref().unwrap_or_default()))?;
        text?;
        Ok(exit::SUCCESS)
    }
}

impl Info {
    async fn text(&self, session: &Session) -> Outcome {
        let context = session.endpoint()?.context;
        let client = format!(
            "Client:\n Version:    {}\n Context:    {context}\n Debug Mode: {}\n\nServer:\n",
            env!("CARGO_PKG_VERSION"),
            session.globals.debug
        );
        let answer = match session.client().await {
            Ok(engine) => engine.system_info().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(info) => {
                session.print(format!("{client}{}\n", render(&info)))?;
                for warning in info.warnings.iter().flatten() {
                    session.complain(warning);
                }
                Ok(exit::SUCCESS)
            }
            Err(failure) => {
                session.print(client)?;
                Err(failure)
            }
        }
    }
}

/// Lines of an indented list of names and values.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!(" {name}: {value}\n"));
    }

    fn add_known(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.add(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.push_str(&format!(" {name}:\n"));
            for value in values {
                self.0.push_str(&format!("  {value}\n"));
            }
        }
    }
}

fn render(info: &SystemInfo) -> String {
    let mut lines = Lines::default();
    lines.add("Containers", info.containers);
    for (name, count) in [
        ("Running", info.containers_running),
        ("Paused", info.containers_paused),
        ("Stopped", info.containers_stopped),
    ] {
        lines.add(&format!(" {name}"), count);
    }
    lines.add("Images", info.images);
    lines.add_known("Server Version", &info.server_version);
    lines.add_known("Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        lines.add(&format!(" {name}"), value);
    }
    lines.add_known("Logging Driver", &info.logging_driver);
    lines.add_known("Cgroup Driver", &info.cgroup_driver);
    lines.add_known("Cgroup Version", &info.cgroup_version);
    render_plugins(info, &mut lines);
    lines.add(
        "Swarm",
        if info.swarm.local_node_state.is_empty() { "inactive" } else { &info.swarm.local_node_state },
    );
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    lines.add_known("Runtimes", &runtimes.join(" "));
    lines.add_known("Default Runtime", &info.default_runtime);
    lines.add_known("Init Binary", &info.init_binary);
    for (name, commit) in
        [("containerd", &info.containerd_commit), ("runc", &info.runc_commit), ("init", &info.init_commit)]
    {
        lines.add_known(&format!("{name} version"), &commit.id);
    }
    render_security(info, &mut lines);
    lines.add_known("Kernel Version", &info.kernel_version);
    lines.add_known("Operating System", &info.operating_system);
    lines.add_known("OSType", &info.os_type);
    lines.add_known("Architecture", &info.architecture);
    lines.add("CPUs", info.n_cpu);
    lines.add("Total Memory", size::render_binary(info.mem_total as f64));
    lines.add_known("Name", &info.name);
    lines.add_known("ID", &info.id);
    lines.add("Docker Root Dir", &info.docker_root_dir);
    lines.add("Debug Mode", info.debug);
    if info.debug {
        lines.add(" File Descriptors", info.n_fd);
        lines.add(" Goroutines", info.n_goroutines);
        lines.add(" System Time", &info.system_time);
        lines.add(" EventsListeners", info.n_events_listener);
    }
    lines.add_known("HTTP Proxy", &info.http_proxy);
    lines.add_known("HTTPS Proxy", &info.https_proxy);
    lines.add_known("No Proxy", &info.no_proxy);
    lines.list("Labels", &info.labels);
    lines.add("Experimental", info.experimental_build);
    lines.list("Insecure Registries", &info.registry_config.insecure_registry_cidrs);
    lines.list("Registry Mirrors", &info.registry_config.mirrors);
    lines.add("Live Restore Enabled", info.live_restore_enabled);
    lines.0
}

fn render_plugins(info: &SystemInfo, lines: &mut Lines) {
    lines.0.push_str(" Plugins:\n");
    lines.add(" Volume", info.plugins.volume.join(" "));
    lines.add(" Network", info.plugins.network.join(" "));
    if let Some(authorization) = info.plugins.authorization.as_ref().filter(|plugins| !plugins.is_empty()) {
        lines.add(" Authorization", authorization.join(" "));
    }
    lines.add(" Log", info.plugins.log.join(" "));
}

/// `name=seccomp,profile=default` becomes a name and a line per further field.
fn render_security(info: &SystemInfo, lines: &mut Lines) {
    if info.security_options.is_empty() {
        return;
    }
    lines.0.push_str(" Security Options:\n");
    for option in &info.security_options {
        for field in option.split(',') {
            match field.split_once('=') {
                Some(("name", name)) => lines.0.push_str(&format!("  {name}\n")),
                Some(("profile", profile)) => lines.0.push_str(&format!("   Profile: {profile}\n")),
                Some((key, value)) => lines.0.push_str(&format!("   {key}: {value}\n")),
                None => lines.0.push_str(&format!("  {field}\n")),
            }
        }
    }
}
