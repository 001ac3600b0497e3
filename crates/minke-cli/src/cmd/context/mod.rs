//! Commands on contexts: named engines in the client's configuration. None of them speaks to an engine.

use minke_client::context::{ContextStore, DEFAULT, StoredContext, StoredEndpoint};
use minke_client::host::DEFAULT_SOCKET;
use minke_model::Error;

use crate::session::{Session, env};

mod archive;
pub mod create;
pub mod endpoint;
pub mod export;
pub mod import;
pub mod inspect;
pub mod ls;
pub mod rm;
pub mod show;
pub mod update;
pub mod use_;

/// The default context's description.
const DEFAULT_DESCRIPTION: &str = "Current DOCKER_HOST based configuration";

fn store(session: &Session) -> ContextStore {
    ContextStore::new(&session.config.directory)
}

/// The name of the context in use, whether or not there is one of that name.
fn current(session: &Session) -> String {
    session.globals.host_request(&env, &session.config.directory).context_name(&env, &session.config)
}

/// What the variables and `-H` say, as a context.
fn default_context(session: &Session) -> StoredContext {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let host =
        session.globals.host.first().cloned().or_else(|| set("MINKE_HOST")).or_else(|| set("DOCKER_HOST"));
    let host = host.unwrap_or_else(|| format!("unix://{DEFAULT_SOCKET}"));
    let endpoint = StoredEndpoint { host, skip_tls_verify: false };
    StoredContext {
        name: DEFAULT.into(),
        endpoints: [("docker".to_string(), endpoint)].into(),
        ..StoredContext::default()
    }
}

/// A context by name, the default one too.
fn find(session: &Session, name: &str) -> Result<StoredContext, Error> {
    if name == DEFAULT { Ok(default_context(session)) } else { store(session).read(name) }
}

/// The variable that wins over any context, where it is set and no flag is.
fn overriding_variable(session: &Session) -> Option<&'static str> {
    let set = |name: &&str| env(name).is_some_and(|value| !value.is_empty());
    if session.globals.context.is_some() || !session.globals.host.is_empty() {
        return None;
    }
    ["MINKE_HOST", "DOCKER_HOST"].into_iter().find(set)
}

/// A name cannot be given twice.
fn taken(name: &str) -> Error {
    Error::conflict(format!("context \"{name}\" already exists"))
}
