//! `version`: prints what this program and the engine are.

use clap::Args;
use minke_api::ApiVersion;
use minke_api::system::{ComponentVersion, SystemVersion};
use serde::Serialize;

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
            "" => Ok(render(spoken, &context, answer.as_ref())),
            "json" => render_template("{{json .}}", spoken, &context, answer.as_ref()),
            template => render_template(template, spoken, &context, answer.as_ref()),
        };
        match text {
            Ok(text) => session.print(text)?,
            Err(error) => {
                session.print("\n")?;
                return Err(error.into());
            }
        }
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
    let both = Both {
        client: ClientVersion {
            version: env!("CARGO_PKG_VERSION"),
            api_version: spoken.to_string(),
            default_api_version: ApiVersion::MAX.to_string(),
            git_commit: BUILD,
            go_version: "",
            os: "linux",
            arch: architecture(),
            build_time: "",
            context,
        },
        server,
    };
    let document = Document::parse(&serde_json::to_vec(&both).unwrap_or_default())?;
    // In Docker's own type these two are not named as in the JSON.
    let template =
        template.replace(".APIVersion", ".ApiVersion").replace(".DefaultApiVersion", ".DefaultAPIVersion");
    Program::new(&template, Subject::Typed("system.versionInfo"), "version")
        .run(&document)
        .map(|text| text + "\n")
}

/// What a template sees, in the order in which `json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Both<'a> {
    client: ClientVersion<'a>,
    server: Option<&'a SystemVersion>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ClientVersion<'a> {
    version: &'a str,
    api_version: String,
    #[serde(rename = "DefaultAPIVersion")]
    default_api_version: String,
    git_commit: &'a str,
    go_version: &'a str,
    os: &'a str,
    arch: &'a str,
    build_time: &'a str,
    context: &'a str,
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
