//! `rm`: removes containers.

use clap::Args;
use minke_api::container::ContainerRemoveQuery;
use minke_model::{Error, ErrorKind};

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `rm`.
#[derive(Args, Clone, Debug)]
pub struct Remove {
    /// Kill a running container first, and do not mind one that is gone
    #[arg(long, short = 'f')]
    force: bool,
    /// Remove the link PARENT/NAME, not the container
    #[arg(long, short = 'l')]
    link: bool,
    /// Remove the anonymous volumes too
    #[arg(long, short = 'v')]
    volumes: bool,
}

impl Verb for Remove {
    const SUMMARY: &'static str = "Remove containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = &ContainerRemoveQuery { volumes: self.volumes, force: self.force, link: self.link };
        let force = self.force;
        session
            .each(&arguments, |name| async move {
                let name = name.trim_matches('/').to_string();
                if name.is_empty() {
                    return Err(Error::invalid("container name cannot be empty"));
                }
                match session.engine().container_remove(&name, query).await {
                    Err(error) if force && error.kind() == ErrorKind::NotFound => {
                        session.complain(error);
                        Ok(String::new())
                    }
                    other => other.map(|()| name),
                }
            })
            .await
    }
}
