//! `stop` and `restart`: ask containers to end, and start them again.

use clap::Args;
use minke_api::container::ContainerStopQuery;

use crate::error::Outcome;
use crate::grammar::{Arity, Verb, parse_int};
use crate::session::Session;

/// Flags of `stop` and `restart`.
#[derive(Args, Clone, Debug)]
struct Patience {
    /// Signal to send instead of the container's own
    #[arg(long, short = 's', value_name = "string", default_value = "")]
    signal: String,
    /// Seconds to wait before the container is killed
    #[arg(long, short = 't', alias = "time", value_name = "int", value_parser = parse_int)]
    timeout: Option<i64>,
}

impl Patience {
    fn query(&self) -> ContainerStopQuery {
        ContainerStopQuery { signal: self.signal.clone(), timeout: self.timeout }
    }
}

/// `stop`
#[derive(Args, Clone, Debug)]
pub struct Stop {
    #[command(flatten)]
    patience: Patience,
}

impl Verb for Stop {
    const SUMMARY: &'static str = "Stop running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = &self.patience.query();
        session
            .each(&arguments, |name| async move {
                session.engine().container_stop(&name, query).await.map(|()| name)
            })
            .await
    }
}

/// `restart`
#[derive(Args, Clone, Debug)]
pub struct Restart {
    #[command(flatten)]
    patience: Patience,
}

impl Verb for Restart {
    const SUMMARY: &'static str = "Stop containers and start them again";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let query = &self.patience.query();
        session
            .each(&arguments, |name| async move {
                session.engine().container_restart(&name, query).await.map(|()| name)
            })
            .await
    }
}
