//! `context create`: gives an engine a name.

use clap::Args;
use minke_client::context::{StoredContext, check_name};
use minke_model::Error;

use super::endpoint::{Pairs, parse_pairs, read};
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `context create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// What the context is for
    #[arg(long, value_name = "string")]
    description: Option<String>,
    /// How its engine is reached: host=tcp://name:2376,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true
    #[arg(long, value_name = "stringToString", value_parser = parse_pairs)]
    docker: Vec<Pairs>,
    /// Take the endpoint of this context
    #[arg(long, value_name = "string", default_value = "")]
    from: String,
}

impl Verb for Create {
    const SUMMARY: &'static str = "Give an engine a name";
    const USAGE: &'static str = "[OPTIONS] CONTEXT";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (name, store) = (&arguments[0], super::store(session));
        check_name(name)?;
        if store.exists(name) {
            return Err(super::taken(name).into());
        }
        let pairs: Pairs = self.docker.concat();
        let (mut context, files) = match (self.from.as_str(), pairs.is_empty()) {
            ("", true) => (self.copy(session, &super::current(session))?, Vec::new()),
            ("", false) => {
                let (endpoint, files) = read(&pairs)?;
                let endpoints = [("docker".to_string(), endpoint)].into();
                (StoredContext { endpoints, ..StoredContext::default() }, files)
            }
            (from, true) => (self.copy(session, from)?, store.tls_files(from)?),
            (_, false) => return Err(Error::invalid("cannot use --docker flag when --from is set").into()),
        };
        context.name.clone_from(name);
        if let Some(description) = &self.description {
            context.describe(description);
        }
        store.write(&context, Some(&files))?;
        session.print(format!("{name}\n"))?;
        session.complain(format_args!("Successfully created context \"{name}\""));
        Ok(exit::SUCCESS)
    }
}

impl Create {
    fn copy(&self, session: &Session, from: &str) -> Result<StoredContext, Error> {
        let mut context = super::find(session, from)?;
        if from == minke_client::context::DEFAULT {
            context.describe(super::DEFAULT_DESCRIPTION);
        }
        Ok(context)
    }
}
