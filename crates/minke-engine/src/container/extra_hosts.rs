//! The lines that a request wants in /etc/hosts, checked before anything is made.

use minke_api::container::HostConfig;
use minke_model::Result;
use minke_spec::etc;

/// Checks `ExtraHosts`.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] in Docker's words for a line that is no name and address.
pub fn check(host_config: &HostConfig) -> Result<()> {
    let extra = host_config.extra_hosts.as_deref().unwrap_or_default();
    if extra.is_empty() {
        return Ok(());
    }
    etc::hosts(&etc::HostsSettings { own: &[], extra }).map(|_| ())
}
