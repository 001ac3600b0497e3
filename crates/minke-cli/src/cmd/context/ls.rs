//! `context ls`: lists contexts.

use clap::Args;
use gotmpl::Value;
use minke_client::context::DEFAULT;

use super::DEFAULT_DESCRIPTION;
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::text::ellipsis;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const ERROR_CHARS: usize = 45;

const KIND: Kind = Kind {
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    quiet: "{{.Name}}",
    go_type: "*formatter.clientContextContext",
    headings: &[
        ("Name", "NAME"),
        ("Current", ""),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
};

/// Flags of `context ls`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print names only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for List {
    const SUMMARY: &'static str = "List contexts";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let in_use = super::current(session);
        let mut contexts: Vec<[String; 4]> = super::store(session)
            .list()?
            .into_iter()
            .map(|context| {
                [context.name.clone(), context.description().into(), context.host().into(), String::new()]
            })
            .collect();
        let default = super::default_context(session);
        contexts.push([DEFAULT.into(), DEFAULT_DESCRIPTION.into(), default.host().into(), String::new()]);
        if !contexts.iter().any(|[name, ..]| *name == in_use) {
            let error =
                super::find(session, &in_use).err().map(|error| error.to_string()).unwrap_or_default();
            contexts.push([in_use.clone(), String::new(), String::new(), error]);
        }
        contexts.sort();
        let format = Format::choose(&KIND, &self.format, "", self.quiet);
        let rows = contexts.into_iter().map(|context| describe(context, &in_use)).collect();
        session.print(format.render(&KIND, rows)?)?;
        if let Some(variable) = super::overriding_variable(session) {
            session.complain(format_args!(
                "Warning: {variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset {variable} environment variable."
            ));
        }
        Ok(exit::SUCCESS)
    }
}

fn describe([name, description, host, error]: [String; 4], in_use: &str) -> Row {
    let current = name == in_use;
    let mut fields = row([
        ("Name", name),
        ("Description", description),
        ("DockerEndpoint", host),
        ("Error", ellipsis(&error, ERROR_CHARS)),
    ]);
    fields.insert("Current".into(), Value::Bool(current));
    fields
}
