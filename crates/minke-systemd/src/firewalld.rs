//! firewalld, which refuses what it knows no zone for: the bridges of containers are put into its zone for what is trusted, for as
//! long as it runs, as nothing else lets containers out beside its own chains. firewalld.dbus(5).

use minke_model::{Error, Result};

use crate::bus::{Connection, Failure};
use crate::message::Writer;

const NAME: &str = "org.fedoraproject.FirewallD1";
const ZONES: (&str, &str, &str) =
    (NAME, "/org/fedoraproject/FirewallD1", "org.fedoraproject.FirewallD1.zone");
const ZONE: &str = "trusted";

/// Puts interfaces into the trusted zone, unless they are there. Nothing is started, and nothing kept on disk.
///
/// # Errors
/// In firewalld's words, or where it can't be reached.
pub fn trust(interfaces: &[String]) -> Result<()> {
    put(interfaces).map_err(|failure| match failure {
        Failure::Refused { words, .. } => Error::system(format!("firewalld refuses: {words}")),
        Failure::Unreachable(error) => Error::system("firewalld can't be reached").with_source(error),
    })
}

fn put(interfaces: &[String]) -> std::result::Result<(), Failure> {
    let mut bus = Connection::bus()?;
    if !bus.is_there(NAME)? {
        return Ok(());
    }
    for interface in interfaces {
        let mut arguments = Writer::default();
        arguments.text(ZONE);
        arguments.text(interface);
        bus.call(ZONES, "changeZoneOfInterface", "ss", arguments)?;
    }
    Ok(())
}
