//! `route_localnet` of bridges: that the kernel leads packets of localhost to containers. Whoever sets it has dropped before what
//! comes to localhost from there.

use minke_model::Result;
use minke_model::error::Context;

use super::Kernel;

impl Kernel {
    /// Lets packets of 127.0.0.0/8 go to a bridge. Only where others that come from there are dropped before.
    ///
    /// # Errors
    /// `/proc/sys` can't be written to.
    pub fn route_localhost(&self, bridge: &str) -> Result<()> {
        let setting = format!("ipv4/conf/{bridge}/route_localnet");
        if self.settings.read(&setting).is_ok_and(|value| value == "1") {
            return Ok(());
        }
        self.settings.write(&setting, "1").with_context(|| format!("failed to set net/{setting}"))
    }

    /// Takes that back for every bridge of this engine: before the rules go.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unroute_localhost(&self) -> Result<()> {
        for bridge in self.found()?.made.values().filter(|link| link.is_bridge) {
            let setting = format!("ipv4/conf/{}/route_localnet", bridge.name);
            if self.settings.read(&setting).is_ok_and(|value| value == "1") {
                self.settings.write(&setting, "0").with_context(|| format!("failed to set net/{setting}"))?;
            }
        }
        Ok(())
    }
}
