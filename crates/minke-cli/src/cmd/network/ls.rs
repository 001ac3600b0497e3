//! `network ls`: lists networks.

use std::sync::Arc;

use clap::Args;
use minke_api::network::{Network, NetworkListQuery};

use crate::cmd::{filters, parse_filter};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::template::method;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const KIND: Kind = Kind {
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.networkContext",
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

/// Flags of `network ls`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// List only what fits: driver=bridge, label=a=b, name=front, type=custom
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for List {
    const SUMMARY: &'static str = "List networks";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let format = Format::choose(&KIND, &self.format, &session.config.networks_format, self.quiet);
        let query = NetworkListQuery { filters: filters(&self.filter) };
        let mut found = session.client().await?.network_list(&query).await?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let rows = found.iter().map(|network| describe(network, !self.no_trunc)).collect();
        session.print(format.render(&KIND, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

fn describe(network: &Network, short: bool) -> Row {
    let shown: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let id = if short { network.id.chars().take(12).collect() } else { network.id.clone() };
    let mut fields = row([
        ("ID", id),
        ("Name", network.name.clone()),
        ("Driver", network.driver.clone()),
        ("Scope", network.scope.clone()),
        ("IPv4", network.enable_ipv4.to_string()),
        ("IPv6", network.enable_ipv6.to_string()),
        ("Internal", network.internal.to_string()),
        ("Labels", shown.join(",")),
        ("CreatedAt", go_time(&network.created)),
    ]);
    let labels = Arc::new(network.labels.clone());
    fields.insert("Label".into(), method(move |name| labels.get(name).cloned().unwrap_or_default()));
    fields
}

/// A time of the API as Go prints it.
fn go_time(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|time| time.split_once('T')) {
        Some((day, time)) => format!("{day} {time} +0000 UTC"),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let network = Network {
            name: "front".into(),
            id: "0123456789abcdef".into(),
            created: "2026-11-22T02:02:00.175099191Z".into(),
            scope: "local".into(),
            driver: "bridge".into(),
            enable_ipv4: true,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..Network::default()
        };
        let print = |flag: &str| {
            Format::choose(&KIND, flag, "", false).render(&KIND, vec![describe(&network, true)]).unwrap()
        };
        assert_eq!(
            print(""),
            "NETWORK ID     NAME      DRIVER    SCOPE\n0123456789ab   front     bridge    local\n"
        );
        assert_eq!(
            print("{{.Name}} {{.IPv6}} {{.Labels}} {{.Label \"a\"}} {{.CreatedAt}}"),
            "front false a=b b 2026-11-22 02:02:00.175099191 +0000 UTC\n"
        );
    }
}
