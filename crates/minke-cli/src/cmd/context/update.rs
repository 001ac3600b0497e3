//! `context update`: changes what a context says.

use clap::Args;
use minke_client::context::check_name;

use super::endpoint::{Pairs, parse_pairs, read};
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `context update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// What the context is for
    #[arg(long, value_name = "string")]
    description: Option<String>,
    /// How its engine is reached: host=tcp://name:2376,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true
    #[arg(long, value_name = "stringToString", value_parser = parse_pairs)]
    docker: Vec<Pairs>,
}

impl Verb for Update {
    const SUMMARY: &'static str = "Change a context";
    const USAGE: &'static str = "[OPTIONS] CONTEXT";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let (name, store) = (&arguments[0], super::store(session));
        check_name(name)?;
        let mut context = store.read(name)?;
        if let Some(description) = &self.description {
            context.describe(description);
        }
        let pairs: Pairs = self.docker.concat();
        let mut files = None;
        if !pairs.is_empty() {
            let (endpoint, read) = read(&pairs)?;
            context.endpoints.insert("docker".into(), endpoint);
            files = Some(read);
        }
        store.write(&context, files.as_deref())?;
        session.print(format!("{name}\n"))?;
        session.complain(format_args!("Successfully updated context \"{name}\""));
        Ok(exit::SUCCESS)
    }
}
