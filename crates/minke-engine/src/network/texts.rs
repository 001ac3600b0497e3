//! What /etc/hosts and /etc/resolv.conf of a container say of its networks.

use std::net::IpAddr;

use minke_model::{Error, Result};
use minke_network::netd::Upstream;
use minke_spec::etc::ResolvSettings;

use super::{Live, NetworkOptions, show};
use crate::container::record::Record;

/// What `--add-host` may name instead of an address.
const HOST_GATEWAY: &str = "host-gateway";

/// The lines of a container's own addresses.
pub fn own_hosts(record: &Record, live: &Live) -> Vec<(String, String)> {
    let config = &record.config;
    let names = match (config.domainname.as_str(), config.hostname.split_once('.')) {
        ("", Some((short, _))) if !short.is_empty() => format!("{} {short}", config.hostname),
        ("", _) => config.hostname.clone(),
        (domain, _) => format!("{0}.{domain} {0}", config.hostname),
    };
    let endpoints = live.endpoints.values().filter(|endpoint| !endpoint.interface.is_empty());
    endpoints.flat_map(|one| one.addresses()).map(|address| (address.to_string(), names.clone())).collect()
}

/// The values of `--add-host`, with the host's address in place of the word for it.
///
/// # Errors
/// Docker's words where there is none.
pub fn extra_hosts(extra: &[String], gateways: &[IpAddr]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for row in extra {
        let name = row.strip_suffix(HOST_GATEWAY).and_then(|rest| rest.strip_suffix([':', '=']));
        match name {
            None => all.push(row.clone()),
            Some(_) if gateways.is_empty() => {
                return Err(Error::invalid("unable to derive the IP value for host-gateway"));
            }
            Some(name) => all.extend(gateways.iter().map(|gateway| format!("{name}={gateway}"))),
        }
    }
    Ok(all)
}

/// Whether a container asks this engine's resolver: it is in a network with names.
pub fn has_resolver(live: &Live) -> bool {
    live.endpoints.iter().any(|(name, one)| !show::has_no_names(name) && !one.interface.is_empty())
}

/// The resolver's settings of a container, with the daemon's where it has none.
pub struct Resolving {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Resolving {
    /// Reads them.
    pub fn of(record: &Record, options: &NetworkOptions) -> Self {
        let host = &record.host_config;
        let own = |list: &Option<Vec<String>>, usual: &Vec<String>| match list {
            Some(list) if !list.is_empty() => list.clone(),
            _ => usual.clone(),
        };
        Self {
            servers: own(&host.dns, &options.dns),
            search: own(&host.dns_search, &options.dns_search),
            options: own(&host.dns_options, &options.dns_opts),
        }
    }

    /// As the text of a resolv.conf takes them; `host`: the container shares the host's network.
    pub fn settings(&self, host: bool) -> ResolvSettings<'_> {
        ResolvSettings {
            servers: &self.servers,
            search: &self.search,
            options: &self.options,
            host_network: host,
        }
    }

    /// The text for a container that asks this engine's resolver, from the host's own.
    pub fn behind_netd(&self, host: &str) -> String {
        let servers = ["127.0.0.11".to_owned()];
        let mut options = match self.options.is_empty() {
            true => options_of(host),
            false => self.options.clone(),
        };
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".into());
        }
        let settings =
            ResolvSettings { servers: &servers, search: &self.search, options: &options, host_network: true };
        minke_spec::etc::resolv_conf(host, &settings)
    }

    /// Whether the container's options set `ndots`.
    pub fn sets_ndots(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("ndots:"))
    }

    /// Who is asked what nobody here is called: what the container or the daemon says, else the host's.
    pub fn upstreams(&self, host: &str) -> Vec<Upstream> {
        let parse = |text: &String| text.parse().ok();
        if !self.servers.is_empty() {
            return self
                .servers
                .iter()
                .filter_map(parse)
                .map(|address| Upstream::new(address, false))
                .collect();
        }
        let rows = host.lines().map(str::trim).filter_map(|row| row.strip_prefix("nameserver"));
        let servers = rows.filter_map(|row| row.split_whitespace().next()?.parse::<IpAddr>().ok());
        servers.map(|address| Upstream::new(address, address.is_loopback())).collect()
    }
}

fn options_of(host: &str) -> Vec<String> {
    let rows = host.lines().map(str::trim).filter_map(|row| row.strip_prefix("options"));
    rows.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolving(servers: &[&str], options: &[&str]) -> Resolving {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect();
        Resolving { servers: owned(servers), search: Vec::new(), options: owned(options) }
    }

    #[test]
    fn a_container_behind_netd_keeps_the_hosts_search_and_options() {
        let host = "nameserver 127.0.0.53\nsearch a.example\noptions edns0\n";
        assert_eq!(
            resolving(&[], &[]).behind_netd(host),
            "nameserver 127.0.0.11\nsearch a.example\noptions edns0 ndots:0\n"
        );
        let own = resolving(&["10.0.0.53"], &["ndots:2"]);
        assert_eq!(own.behind_netd(host), "nameserver 127.0.0.11\nsearch a.example\noptions ndots:2\n");
        assert!(own.sets_ndots());
    }

    #[test]
    fn a_loopback_resolver_of_the_host_is_asked_from_there() {
        let host = "nameserver 127.0.0.53\nnameserver 10.0.0.1\n";
        let all = resolving(&[], &[]).upstreams(host);
        assert_eq!(all.iter().map(|one| one.from_host).collect::<Vec<_>>(), [true, false]);
        let own = resolving(&["127.0.0.1"], &[]).upstreams(host);
        assert_eq!((own.len(), own[0].from_host), (1, false));
    }

    #[test]
    fn the_hosts_address_has_a_word() {
        let gateways = ["172.17.0.1".parse().unwrap()];
        let rows = vec!["a:10.0.0.1".to_owned(), "h:host-gateway".to_owned(), "i=host-gateway".to_owned()];
        assert_eq!(extra_hosts(&rows, &gateways).unwrap(), ["a:10.0.0.1", "h=172.17.0.1", "i=172.17.0.1"]);
        assert!(extra_hosts(&rows, &[]).is_err());
    }
}
