//! The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf: the host's own files joined with what the container asks for.

use minke_model::Result;
use minke_spec::etc;

use super::record::Record;

/// The three texts.
pub struct Files {
    /// /etc/hostname.
    pub hostname: String,
    /// /etc/hosts.
    pub hosts: String,
    /// /etc/resolv.conf.
    pub resolv_conf: String,
}

/// The texts for a container; `host`: it shares the host's network.
///
/// # Errors
/// An `--add-host` that isn't a name and an address.
pub fn files(record: &Record, host: bool) -> Result<Files> {
    let own = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let settings = &record.host_config;
    let extra = list(&settings.extra_hosts);
    let hosts = match host && extra.is_empty() {
        true => own("/etc/hosts"),
        false => etc::hosts(&etc::HostsSettings { own: &[], extra: &extra })?,
    };
    let (servers, search, options) =
        (list(&settings.dns), list(&settings.dns_search), list(&settings.dns_options));
    let resolver =
        etc::ResolvSettings { servers: &servers, search: &search, options: &options, host_network: host };
    Ok(Files {
        hostname: etc::hostname(&record.config.hostname),
        hosts,
        resolv_conf: etc::resolv_conf(&own("/etc/resolv.conf"), &resolver),
    })
}
