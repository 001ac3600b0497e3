//! `volume update`: changes a volume of a swarm.

use clap::Args;
use minke_api::volume::VolumeUpdateQuery;
use minke_model::Error;

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `volume update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// Whether the volume can be used: active, pause or drain
    #[arg(long, value_name = "string", default_value = "active")]
    availability: String,
}

impl Verb for Update {
    const SUMMARY: &'static str = "Change a volume of a swarm";
    const USAGE: &'static str = "[OPTIONS] VOLUME";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if !["active", "pause", "drain"].contains(&self.availability.as_str()) {
            return Err(Error::invalid(format!("invalid availability {:?}", self.availability)).into());
        }
        let client = session.client().await?;
        // The volume's version, which an update names, is in the description of a cluster volume alone.
        let found = client.volume_inspect_raw(&arguments[0]).await?;
        let found: serde_json::Value = serde_json::from_slice(&found).unwrap_or_default();
        let Some(version) = found["ClusterVolume"]["Version"]["Index"].as_i64() else {
            return Err(Error::invalid("Can only update cluster volumes").into());
        };
        client.volume_update(&arguments[0], &VolumeUpdateQuery { version: Some(version) }).await?;
        Ok(exit::SUCCESS)
    }
}
