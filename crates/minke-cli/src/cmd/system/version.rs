//! `version`: prints what this program and the engine are.

use clap::Args;
use gotmpl::Value;
use minke_api::ApiVersion;
use minke_api::system::{ComponentVersion, SystemVersion};
use serde_json::json;

use crate::error::Outcome;
use crate::exit;
use crate::format::document::Document;
use crate::format::template::{Program, Subject};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// What was built: a revision where the build names one.
pub const BUILD: &str = match option_env!("MINKE_BUILD") {
    Some(revision) => revision,
    None => "unknown",
};

/// Flags of `version`.
#[derive(Args, Clone, Debug)]
pub struct Version {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
}

impl Verb for Version {
    const SUMMARY: &'static str = "Print the versions of this program and of the engine";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let server = match session.client().await {
            Ok(client) => Ok((client.version().unwrap_or(ApiVersion::MAX), client.system_version().await)),
            Err(failure) => Err(failure),
        };
        let (spoken, answer, failure) = match server {
            Ok((spoken, Ok(answer))) => (spoken, Some(answer), None),
            Ok((spoken, Err(error))) => (spoken, None, Some(error.into())),
            Err(failure) => (ApiVersion::MAX, None, Some(failure)),
        };
        let context =
            session.endpoint().map(|endpoint| endpoint.context).unwrap_or_else(|_| "default".into());
        let text = match self.format.as_str() {
            "" => render(spoken, &context, answer.as_ref()),
            "json" => render_template("{{json .}}", spoken, &context, answer.as_ref())?,
            template => render_template(template, spoken, &context, answer.as_ref())?,
        };
        session.print(text)?;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(exit::SUCCESS),
        }
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn render_template(
    template: &str,
    spoken: ApiVersion,
    context: &str,
    server: Option<&SystemVersion>,
) -> Result<String, minke_model::Error> {
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": spoken.to_string(),
        "DefaultAPIVersion": ApiVersion::MAX.to_string(),
        "GitCommit": BUILD,
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "BuildTime": "",
        "Context": context,
    });
    let server = server.map(|answer| serde_json::to_value(answer).unwrap_or_default());
    let body = serde_json::to_vec(&json!({"Client": client, "Server": server})).unwrap_or_default();
    let document = Document::parse(&body)?;
    debug_assert!(matches!(document.value, Value::Map(_)));
    Program::new(template, Subject::Object, "version").run(&document).map(|text| text + "\n")
}

fn render(spoken: ApiVersion, context: &str, server: Option<&SystemVersion>) -> String {
    let api = if spoken == ApiVersion::MAX {
        spoken.to_string()
    } else {
        format!("{spoken} (downgraded from {})", ApiVersion::MAX)
    };
    let mut text = format!(
        "Client:\n Version:           {}\n API version:       {api}\n Git commit:        {BUILD}\n OS/Arch:           linux/{}\n Context:           {context}\n",
        env!("CARGO_PKG_VERSION"),
        architecture()
    );
    let Some(server) = server else { return text };
    let platform =
        if server.platform.name.is_empty() { String::new() } else { format!(" {}", server.platform.name) };
    text.push_str(&format!("\nServer:{platform}\n"));
    for component in &server.components {
        render_component(component, server, &mut text);
    }
    text
}

fn render_component(component: &ComponentVersion, server: &SystemVersion, text: &mut String) {
    text.push_str(&format!(" {}:\n  {:<17}{}\n", component.name, "Version:", component.version));
    let detail = |name: &str| component.details.get(name).cloned().unwrap_or_default();
    if component.name != "Engine" {
        for (name, value) in &component.details {
            text.push_str(&format!("  {:<17}{value}\n", format!("{name}:")));
        }
        return;
    }
    let minimum = if server.min_api_version.is_empty() {
        detail("MinAPIVersion")
    } else {
        server.min_api_version.clone()
    };
    let rows = [
        ("API version:", format!("{} (minimum version {minimum})", detail("ApiVersion"))),
        ("Go version:", detail("GoVersion")),
        ("Git commit:", detail("GitCommit")),
        ("Built:", detail("BuildTime")),
        ("OS/Arch:", format!("{}/{}", detail("Os"), detail("Arch"))),
        ("Experimental:", detail("Experimental")),
    ];
    for (name, value) in
        rows.into_iter().filter(|(name, value)| !(value.is_empty() && *name == "Go version:"))
    {
        text.push_str(&format!("  {name:<17}{value}\n"));
    }
}
