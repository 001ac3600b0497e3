//! The lines that a request wants in /etc/hosts, checked before anything is made.

use std::net::Ipv4Addr;

use minke_api::container::HostConfig;
use minke_model::Result;
use minke_spec::etc;

use crate::network::texts;

/// Checks `ExtraHosts`.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in Docker's words for a line that is no name and address.
pub fn check(host_config: &HostConfig) -> Result<()> {
    let extra = host_config.extra_hosts.as_deref().unwrap_or_default();
    if extra.is_empty() {
        return Ok(());
    }
    // The word for the host's address is replaced when the container starts.
    let extra = texts::extra_hosts(extra, &[Ipv4Addr::LOCALHOST.into()])?;
    etc::hosts(&etc::HostsSettings { own: &[], extra: &extra }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_address_may_be_a_word() {
        let with =
            |row: &str| HostConfig { extra_hosts: Some(vec![row.to_owned()]), ..HostConfig::default() };
        check(&with("a:host-gateway")).unwrap();
        check(&with("a=host-gateway")).unwrap();
        assert!(check(&with("host-gateway")).is_err());
        assert!(check(&with("a:gateway")).is_err());
    }
}
