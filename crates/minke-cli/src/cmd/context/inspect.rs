//! `context inspect`: describes contexts.

use std::collections::BTreeMap;

use bytes::Bytes;
use clap::Args;
use minke_client::context::{DEFAULT, StoredContext};
use minke_model::{Context as _, Error};
use serde::Serialize;

use crate::cmd::system::inspect::{Shown, show};
use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `context inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Template, or json
    #[arg(long, short = 'f', value_name = "string", default_value = "")]
    format: String,
}

#[derive(Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    context: &'a StoredContext,
    #[serde(rename = "TLSMaterial")]
    tls: BTreeMap<String, Vec<String>>,
    #[serde(rename = "Storage")]
    storage: Storage,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Storage {
    metadata_path: String,
    #[serde(rename = "TLSPath")]
    tls_path: String,
}

impl Verb for Inspect {
    const SUMMARY: &'static str = "Describe contexts";
    const USAGE: &'static str = "[OPTIONS] [CONTEXT] [CONTEXT...]";
    const ARITY: Arity = Arity::AtLeast(0);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let names = if arguments.is_empty() { vec![super::current(session)] } else { arguments };
        let found = names.iter().map(|name| Shown(describe(session, name))).collect();
        show(session, &self.format, found)
    }
}

fn describe(session: &Session, name: &str) -> Result<Bytes, Error> {
    let (context, store) = (super::find(session, name)?, super::store(session));
    let in_memory = || "<IN MEMORY>".to_string();
    let (tls, metadata_path, tls_path) = match name {
        DEFAULT => (BTreeMap::new(), in_memory(), in_memory()),
        _ => (
            store.tls_names(name),
            store.metadata_path(name).display().to_string(),
            store.tls_path(name).display().to_string(),
        ),
    };
    let described = Described { context: &context, tls, storage: Storage { metadata_path, tls_path } };
    let text = serde_json::to_string(&described).context("a context")?;
    // Go's JSON, in which these two are never bare.
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").into())
}
