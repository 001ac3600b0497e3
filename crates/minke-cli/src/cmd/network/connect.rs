//! `network connect`: connects a container to a network.

use clap::Args;
use minke_api::network::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest};

use super::pairs;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb, parse_int};
use crate::session::Session;

/// Flags of `network connect`.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Give the container a further name in the network
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    alias: Vec<String>,
    /// Option of the network's driver for this connection
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// The network with the highest number has the container's default route
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true, value_parser = parse_int)]
    gw_priority: i64,
    /// Address: 172.30.100.104
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ip: String,
    /// IPv6 address: 2001:db8::33
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ip6: String,
    /// Give another container a name that this one alone sees: CONTAINER[:NAME]
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Add an address of the link alone
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    link_local_ip: Vec<String>,
}

impl Verb for Connect {
    const SUMMARY: &'static str = "Connect a container to a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let list = |values: Vec<String>| (!values.is_empty()).then_some(values);
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: self.ip,
                ipv6_address: self.ip6,
                link_local_ips: self.link_local_ip,
            }),
            links: list(self.link),
            // Empty ones are sent, as Docker's client does.
            aliases: Some(self.alias),
            driver_opts: Some(pairs(&self.driver_opt).unwrap_or_default()),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        };
        let request =
            NetworkConnectRequest { container: arguments[1].clone(), endpoint_config: Some(endpoint) };
        session.client().await?.network_connect(&arguments[0], &request).await?;
        Ok(exit::SUCCESS)
    }
}
