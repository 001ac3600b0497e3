//! Forwarding, turned on without side effects: interfaces that live on router advertisements go on taking them, redirects
//! that were taken still are. That nothing else is forwarded than containers' packets is the firewall's part, which wants to
//! know what was off before.

use std::io;

use minke_model::Result;
use minke_model::error::Context;

use super::Kernel;
use super::settings::Settings;
use crate::firewall::Families;

impl Kernel {
    /// Turns forwarding on for these families; returns for which it was off.
    ///
    /// # Errors
    /// Where a setting can't be read or written.
    pub fn forward(&self, wanted: Families) -> Result<Families> {
        let failed = |family| move || format!("failed to turn on the forwarding of {family} packets");
        let v4 = wanted.v4 && forward4(&self.settings).with_context(failed("IPv4"))?;
        let v6 = wanted.v6 && self.forward6().with_context(failed("IPv6"))?;
        Ok(Families { v4, v6 })
    }

    fn forward6(&self) -> io::Result<bool> {
        let settings = &self.settings;
        match settings.read("ipv6/conf/all/forwarding") {
            Ok(value) if value != "0" => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        // A router takes no advertisements, and forgets what it has learned of them, unless it is told to (2).
        let links = self.links().map_err(io::Error::other)?;
        for link in links {
            let path = format!("ipv6/conf/{}/accept_ra", link.name);
            if settings.read(&path).is_ok_and(|value| value == "1") {
                settings.write(&path, "2")?;
            }
        }
        settings.write("ipv6/conf/all/forwarding", "1")?;
        Ok(true)
    }
}

fn forward4(settings: &Settings) -> io::Result<bool> {
    if settings.read("ipv4/ip_forward")? != "0" {
        return Ok(false);
    }
    // The kernel takes it that a router believes no redirects.
    let redirects = "ipv4/conf/all/accept_redirects";
    let before = settings.read(redirects)?;
    settings.write("ipv4/ip_forward", "1")?;
    if settings.read(redirects)? != before {
        settings.write(redirects, &before)?;
    }
    Ok(true)
}
