//! Links of the default bridge (`--link`), which has no resolver: rows in /etc/hosts and variables instead. What is kept is the
//! record's own list, `id:alias`; the registry knows the names `parent/alias` that follow from it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use minke_api::container::HostConfig;
use minke_model::{Error, ErrorKind, Result};

use super::handle::{Container, View};
use super::network_files;
use super::record::Record;
use crate::engine::Shared;
use crate::network::{publish, settle};

/// The network whose containers have no names but by links.
const BRIDGE: &str = "bridge";

/// Finds the containers that a request has links to, and notes their ids: a link follows a container that is renamed.
///
/// # Errors
/// Docker's words for one that isn't there or has no network of its own.
pub fn settle(shared: &Shared, host: &mut HostConfig) -> Result<()> {
    if shared.networks.name_of_mode(&host.network_mode) != Some(BRIDGE) {
        return Ok(());
    }
    for link in host.links.iter_mut().flatten() {
        let (name, alias) = settle::split_link(link)?;
        let child = shared.containers.resolve(name).map_err(|error| {
            let kind =
                if error.kind() == ErrorKind::NotFound { ErrorKind::InvalidParameter } else { error.kind() };
            Error::new(kind, format!("could not get container for {name}: {error}"))
        })?;
        if child.view().record.host_config.network_mode == "host" {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        *link = format!("{}:{alias}", child.id);
    }
    Ok(())
}

/// The containers that a container has links to, with what it calls them; those that are gone are left out.
pub fn of<'a>(shared: &Shared, record: &'a Record) -> Vec<(Arc<Container>, &'a str)> {
    let links = record.host_config.links.iter().flatten();
    if !record.networks().contains_key(BRIDGE) {
        return Vec::new();
    }
    let split = links.filter_map(|link| settle::split_link(link).ok());
    split.filter_map(|(target, alias)| Some((shared.containers.resolve(target).ok()?, alias))).collect()
}

/// Makes the names of a container's links known.
pub fn register(shared: &Shared, record: &Record) {
    for (child, alias) in of(shared, record) {
        shared.containers.link(&record.id, &format!("{}/{alias}", record.name), &child.id);
    }
}

/// What inspect shows of a container's links.
pub fn shown(shared: &Shared, record: &Record) -> Option<Vec<String>> {
    let rows = of(shared, record).into_iter();
    let rows = rows.map(|(child, alias)| format!("/{}:/{}/{alias}", child.view().record.name, record.name));
    let rows: BTreeSet<String> = rows.collect();
    (!rows.is_empty()).then(|| rows.into_iter().collect())
}

/// The rows of /etc/hosts. While a container goes on, one that it has a link to may be at its end: then it has no row.
///
/// # Errors
/// Docker's words where `starting`, and one of them doesn't run.
pub fn hosts(shared: &Shared, record: &Record, starting: bool) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    let gone = |link: &&String| {
        settle::split_link(link).is_ok_and(|(target, _)| shared.containers.resolve(target).is_err())
    };
    if starting
        && let Some(link) = record.host_config.links.iter().flatten().find(gone)
        && let Ok((target, alias)) = settle::split_link(link)
    {
        return Err(not_running(target, record, alias));
    }
    for (child, alias) in of(shared, record) {
        let view = child.view();
        let addresses = addresses(&view);
        if addresses.is_empty() && starting {
            return Err(not_running(&view.record.name, record, alias));
        }
        let mut names = format!("{alias} {}", view.record.config.hostname);
        if view.record.name != alias {
            names = format!("{names} {}", view.record.name);
        }
        rows.extend(addresses.into_iter().map(|address| (address.to_string(), names.clone())));
    }
    Ok(rows)
}

/// The variables that tell a container of those that it has links to, as far as they run.
pub fn environment(shared: &Shared, record: &Record) -> Vec<String> {
    let mut all = Vec::new();
    for (child, alias) in of(shared, record) {
        let view = child.view();
        let Some(address) = addresses(&view).into_iter().next() else { continue };
        let link = Link { name: &format!("/{}/{alias}", record.name), alias, address };
        all.extend(variables(&link, &view.record));
    }
    all
}

/// The container has another address than in its last run: those that have links to it are told. Blocks.
pub fn moved(shared: &Shared, record: &Record) {
    for name in shared.containers.links_to(&record.id) {
        let Some((parent, alias)) = name.split_once('/') else { continue };
        let (Ok(parent), Ok(child)) =
            (shared.containers.resolve(parent), shared.containers.resolve(&record.id))
        else {
            continue;
        };
        let view = parent.view();
        let live = view.live().is_some_and(|live| live.endpoints.contains_key(BRIDGE));
        let addresses = addresses(&child.view());
        if !live || addresses.is_empty() {
            continue;
        }
        let place = shared.paths(&view.record.id).hosts;
        if let Err(error) = network_files::readdress(&place, alias, &addresses) {
            tracing::warn!(container = view.record.name, %error, "its /etc/hosts has an old address of a link");
        }
    }
}

fn addresses(view: &View) -> Vec<IpAddr> {
    let endpoint = view.live().and_then(|live| live.endpoints.get(BRIDGE));
    endpoint.iter().flat_map(|endpoint| endpoint.addresses()).collect()
}

fn not_running(child: &str, record: &Record, alias: &str) -> Error {
    let name = &record.name;
    Error::invalid(format!("Cannot link to a non running container: /{child} AS /{name}/{alias}"))
}

/// A link as its variables tell of it.
struct Link<'a> {
    name: &'a str,
    alias: &'a str,
    address: IpAddr,
}

/// As Docker names them: `DB_PORT`, `DB_PORT_5432_TCP_ADDR` and so on, with the variables of the other container.
fn variables(link: &Link<'_>, child: &Record) -> Vec<String> {
    let prefix = link.alias.to_uppercase().replace('-', "_");
    let exposed = child.config.exposed_ports.keys().filter_map(|port| publish::exposed(port).ok());
    // TCP stands before UDP at the same number.
    let ports: BTreeSet<(u16, String)> =
        exposed.flatten().map(|(port, protocol)| (port, protocol.to_string())).collect();
    let ports: Vec<(u16, String)> = ports.into_iter().collect();
    let address = link.address;
    let url = |(port, protocol): &(u16, String)| format!("{protocol}://{address}:{port}");
    let of = |(port, protocol): &(u16, String)| format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
    let mut all = Vec::new();
    if let Some(first) = ports.first() {
        all.push(format!("{prefix}_PORT={}", url(first)));
    }
    // Three neighbours and more are told of as a range first, whatever their protocols.
    let mut rest = &ports[..];
    while let Some(first) = rest.first() {
        let follows =
            |(step, port): &(usize, &(u16, String))| usize::from(port.0) <= usize::from(first.0) + step;
        let length = match rest.iter().enumerate().take_while(follows).count() {
            few @ 1..3 => few.min(1),
            many => many,
        };
        if let Some(last) = rest.get(length - 1).filter(|_| length > 1) {
            let start = of(first);
            all.push(format!("{start}_START={}", url(first)));
            all.push(format!("{start}_ADDR={address}"));
            all.push(format!("{start}_PROTO={}", first.1));
            all.push(format!("{start}_PORT_START={}", first.0));
            all.push(format!("{start}_END={}", url(last)));
            all.push(format!("{start}_PORT_END={}", last.0));
        }
        rest = &rest[length..];
    }
    for port in &ports {
        let name = of(port);
        all.push(format!("{name}={}", url(port)));
        all.push(format!("{name}_ADDR={address}"));
        all.push(format!("{name}_PORT={}", port.0));
        all.push(format!("{name}_PROTO={}", port.1));
    }
    all.push(format!("{prefix}_NAME={}", link.name));
    let own = child.config.env.iter().flatten().filter_map(|row| row.split_once('='));
    let own = own.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    all.extend(own.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    all
}

#[cfg(test)]
mod tests {
    use minke_api::container::ContainerConfig;

    use super::*;

    fn told(alias: &str, ports: &[&str]) -> Vec<String> {
        let exposed_ports = ports.iter().map(|port| ((*port).to_owned(), minke_api::Empty {})).collect();
        let env = Some(vec!["A=1".into(), "PATH=/bin".into(), "B".into()]);
        let mut child = Record::parse(include_bytes!("record-v1.json")).unwrap().0;
        child.config = ContainerConfig { exposed_ports, env, ..ContainerConfig::default() };
        let link = Link { name: &format!("/web/{alias}"), alias, address: "172.17.0.2".parse().unwrap() };
        variables(&link, &child)
    }

    #[test]
    fn a_link_is_told_in_dockers_variables() {
        assert_eq!(
            told("my-db", &["5432/tcp"]),
            [
                "MY_DB_PORT=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_A=1",
            ]
        );
        assert_eq!(told("db", &[]), ["DB_NAME=/web/db", "DB_ENV_A=1"]);
    }

    #[test]
    fn neighbouring_ports_are_a_range_too() {
        let all = told("db", &["82/tcp", "80/tcp", "81/tcp", "80/udp"]);
        assert_eq!(all[0], "DB_PORT=tcp://172.17.0.2:80");
        assert!(all.contains(&"DB_PORT_80_TCP_START=tcp://172.17.0.2:80".to_owned()), "{all:?}");
        assert!(all.contains(&"DB_PORT_80_TCP_PORT_END=82".to_owned()), "{all:?}");
        assert!(!told("db", &["80/tcp", "81/tcp"]).iter().any(|row| row.contains("_END")));
        assert!(all.contains(&"DB_PORT_80_UDP_PROTO=udp".to_owned()), "{all:?}");
    }
}
