//! `volume create`: makes a volume.

use clap::Args;
use minke_api::StringMap;
use minke_api::volume::VolumeCreateRequest;
use minke_model::{Error, env};

use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Why a flag of cluster volumes can't be used.
const CLUSTER: &str = "Cluster volumes need a swarm, which this engine is not part of.";

/// Flags of `volume create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Driver that keeps the volume
    #[arg(long, short = 'd', value_name = "string", default_value = "local")]
    driver: String,
    /// Add a label
    #[arg(long, value_name = "list", value_parser = parse_label)]
    label: Vec<String>,
    /// Option of the driver: type=tmpfs, device=tmpfs, o=size=100m
    #[arg(long, short = 'o', value_name = "map", value_parser = parse_option)]
    opt: Vec<String>,
    /// Name of the volume; the argument says it too
    #[arg(long, value_name = "string", default_value = "", hide = true)]
    name: String,
}

impl Verb for Create {
    const SUMMARY: &'static str = "Make a volume";
    const USAGE: &'static str = "[OPTIONS] [VOLUME]";
    const ARITY: Arity = Arity::AtMost(1);
    const NOT_OFFERED: &'static [(&'static str, &'static str)] = &[
        ("--availability", CLUSTER),
        ("--group", CLUSTER),
        ("--limit-bytes", CLUSTER),
        ("--required-bytes", CLUSTER),
        ("--scope", CLUSTER),
        ("--secret", CLUSTER),
        ("--sharing", CLUSTER),
        ("--topology-preferred", CLUSTER),
        ("--topology-required", CLUSTER),
        ("--type", CLUSTER),
    ];

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let name = match arguments.into_iter().next() {
            Some(_) if !self.name.is_empty() => {
                return Err(Error::invalid("conflicting options: cannot specify a volume-name through both --name and as a positional arg").into());
            }
            Some(name) => name,
            None => self.name,
        };
        let some = |map: StringMap| (!map.is_empty()).then_some(map);
        let request = VolumeCreateRequest {
            name,
            driver: self.driver,
            driver_opts: some(pairs(&self.opt)),
            labels: some(pairs(&self.label)),
            cluster_volume_spec: None,
        };
        let made = session.client().await?.volume_create(&request).await?;
        session.print(format!("{}\n", made.name))?;
        Ok(exit::SUCCESS)
    }
}

fn pairs(texts: &[String]) -> StringMap {
    texts
        .iter()
        .map(|text| env::split_label(text))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn parse_label(text: &str) -> Result<String, String> {
    match env::split_label(text).0 {
        "" => Err(format!("invalid label '{text}': empty name")),
        _ => Ok(text.into()),
    }
}

fn parse_option(text: &str) -> Result<String, String> {
    Ok(text.into())
}
