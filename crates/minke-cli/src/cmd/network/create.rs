//! `network create`: makes a network.

use clap::Args;
use minke_api::StringMap;
use minke_api::network::{ConfigReference, Ipam, NetworkCreateRequest};

use super::{ipam, pairs};
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb, parse_bool};
use crate::session::Session;

/// Flags of `network create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Let containers of a swarm be connected by hand
    #[arg(long)]
    attachable: bool,
    /// Keep an address free: name=address
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Network whose settings are copied
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    config_from: String,
    /// Make a network that is only there to be copied from
    #[arg(long)]
    config_only: bool,
    /// Driver: bridge, macvlan or ipvlan
    #[arg(long, short = 'd', value_name = "string", default_value = "bridge")]
    driver: String,
    /// Gateway of a subnet
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Make a swarm's ingress network
    #[arg(long)]
    ingress: bool,
    /// Give the network no way out
    #[arg(long)]
    internal: bool,
    /// Part of a subnet that containers' addresses come from
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Who gives addresses: default or null
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Option of who gives addresses
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Give IPv4 addresses
    #[arg(long, value_name = "bool", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = parse_bool, action = clap::ArgAction::Set)]
    ipv4: Option<bool>,
    /// Give IPv6 addresses
    #[arg(long, value_name = "bool", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_parser = parse_bool, action = clap::ArgAction::Set)]
    ipv6: Option<bool>,
    /// Add a label
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Option of the driver: com.docker.network.driver.mtu=1400, parent=eth0
    #[arg(long, short = 'o', value_name = "map")]
    opt: Vec<String>,
    /// Where the network is: local
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    scope: String,
    /// Subnet: 172.28.0.0/16
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    subnet: Vec<String>,
}

impl Verb for Create {
    const SUMMARY: &'static str = "Make a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let config = ipam::join(ipam::Words {
            subnets: &self.subnet,
            ranges: &self.ip_range,
            gateways: &self.gateway,
            auxiliary: &self.aux_address,
        })?;
        let map = |texts: &[String]| -> Option<StringMap> { Some(pairs(texts).unwrap_or_default()) };
        let request = NetworkCreateRequest {
            name: arguments[0].clone(),
            driver: self.driver,
            scope: self.scope,
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam { driver: self.ipam_driver, options: map(&self.ipam_opt), config: Some(config) }),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: (!self.config_from.is_empty())
                .then_some(ConfigReference { network: self.config_from }),
            options: map(&self.opt),
            labels: map(&self.label),
            ..NetworkCreateRequest::default()
        };
        let made = session.client().await?.network_create(&request).await?;
        if !made.warning.is_empty() {
            session.complain(format!("WARNING: {}", made.warning));
        }
        session.print(format!("{}\n", made.id))?;
        Ok(exit::SUCCESS)
    }
}
