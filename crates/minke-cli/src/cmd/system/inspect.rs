//! `inspect`: describes objects of any kind, trying one kind after the other; how a description is printed is shared with
//! `container inspect` and `image inspect`.

use bytes::Bytes;
use clap::Args;
use minke_api::container::ContainerInspectQuery;
use minke_api::image::ImageInspectQuery;
use minke_model::{Error, ErrorKind};

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::format::document::{Document, indent};
use crate::format::template::{Program, Subject};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
    /// Print the size of a container's files
    #[arg(long, short = 's')]
    size: bool,
    /// Look only for objects of this kind: container, image, network or volume
    #[arg(long = "type", value_name = "string", default_value = "")]
    kind: String,
}

/// What was found under a name, in the engine's JSON.
pub struct Shown(pub Result<Bytes, Error>);

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe containers, images and other objects";
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        match self.kind.as_str() {
            "" | "container" | "image" | "network" | "volume" => {}
            kind @ ("config" | "node" | "plugin" | "secret" | "service" | "task") => {
                return Err(Failure::Plain(format!(
                    "objects of the kind {kind} are not offered by this version of minke"
                )));
            }
            other => {
                return Err(Failure::Plain(format!(
                    "unknown type: \"{other}\": must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
                )));
            }
        }
        session.client().await?;
        let mut found = Vec::new();
        for name in &arguments {
            found.push(Shown(self.find(name, session).await));
        }
        show(session, &self.format, found)
    }
}

impl Inspect {
    async fn find(&self, name: &str, session: &Session) -> Result<Bytes, Error> {
        let client = session.engine();
        let query = ContainerInspectQuery { size: self.size };
        match self.kind.as_str() {
            "container" => return client.container_inspect_raw(name, &query).await,
            "image" => return client.image_inspect_raw(name, &ImageInspectQuery::default()).await,
            "network" => return client.network_inspect_raw(name, &Default::default()).await,
            "volume" => return client.volume_inspect_raw(name).await,
            _ => {}
        }
        match client.container_inspect_raw(name, &query).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        match client.image_inspect_raw(name, &ImageInspectQuery::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        match client.network_inspect_raw(name, &Default::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        match client.volume_inspect_raw(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::not_found(format!("Error: No such object: {name}")))
            }
            other => other,
        }
    }
}

/// Prints descriptions, then what was not found; fails where anything was not.
pub fn show(session: &Session, format: &str, found: Vec<Shown>) -> Outcome {
    let (known, missing): (Vec<_>, Vec<_>) = found.into_iter().partition(|shown| shown.0.is_ok());
    let bodies: Vec<Bytes> = known.into_iter().filter_map(|shown| shown.0.ok()).collect();
    let text = match format {
        "" | "json" => render_json(&bodies, format.is_empty()),
        template => {
            let program = Program::new(template, Subject::Object, "");
            if let Err(error) = program.check() {
                session.complain(error);
                return Err(Failure::Code(exit::BAD_TEMPLATE));
            }
            let (text, outcome) = render_template(&bodies, &program);
            session.print(if text.is_empty() { "\n".to_string() } else { text })?;
            outcome?;
            Vec::new()
        }
    };
    session.print(text)?;
    for shown in &missing {
        if let Err(error) = &shown.0 {
            session.complain(error);
        }
    }
    Ok(if missing.is_empty() { exit::SUCCESS } else { exit::FAILURE })
}

fn render_json(bodies: &[Bytes], pretty: bool) -> Vec<u8> {
    let mut all = vec![b'['];
    for (index, body) in bodies.iter().enumerate() {
        if index > 0 {
            all.push(b',');
        }
        all.extend_from_slice(body.trim_ascii());
    }
    all.push(b']');
    let mut text = if pretty { indent(&all) } else { all };
    text.push(b'\n');
    text
}

/// The lines up to the first that fails, and why it does.
fn render_template(bodies: &[Bytes], program: &Program) -> (String, Result<(), Error>) {
    let mut text = String::new();
    for body in bodies {
        match Document::parse(body).and_then(|document| program.run(&document)) {
            Ok(line) => text.push_str(&format!("{line}\n")),
            Err(error) => return (text, Err(error)),
        }
    }
    (text, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_printed_as_one_list() {
        let bodies = [Bytes::from_static(b"{\"Id\":\"a\"}\n"), Bytes::from_static(b"{\"Id\":\"b\"}")];
        assert_eq!(render_json(&bodies, false), b"[{\"Id\":\"a\"},{\"Id\":\"b\"}]\n");
        assert_eq!(render_json(&[], true), b"[]\n");
        assert_eq!(render_template(&bodies, &Program::new("{{.Id}}", Subject::Object, "")).0, "a\nb\n");
    }
}
