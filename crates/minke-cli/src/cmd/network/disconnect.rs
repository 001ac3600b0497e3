//! `network disconnect`: takes a container off a network.

use clap::Args;
use minke_api::network::NetworkDisconnectRequest;

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `network disconnect`.
#[derive(Args, Clone, Debug)]
pub struct Disconnect {
    /// Do it also where the container is gone
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for Disconnect {
    const SUMMARY: &'static str = "Take a container off a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let request = NetworkDisconnectRequest { container: arguments[1].clone(), force: self.force };
        session.client().await?.network_disconnect(&arguments[0], &request).await?;
        Ok(exit::SUCCESS)
    }
}
