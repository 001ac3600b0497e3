//! `port`: lists a container's published ports.

use clap::Args;
use minke_api::container::{ContainerInspect, ContainerInspectQuery};
use minke_api::network::{PortBinding, PortMap};
use minke_model::{Context as _, Error};

use super::network_values;
use crate::error::Outcome;
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `port` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Port {}

impl Verb for Port {
    const SUMMARY: &'static str = "List published ports of a container";
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let name = &arguments[0];
        let query = ContainerInspectQuery { size: false };
        let bytes = session.client().await?.container_inspect_raw(name, &query).await?;
        let found: ContainerInspect = serde_json::from_slice(&bytes).context("the engine's answer")?;
        session.print(list(name, &found.network_settings.ports, arguments.get(1).map(String::as_str))?)?;
        Ok(exit::SUCCESS)
    }
}

/// The lines; `wanted`: of one port alone.
fn list(name: &str, ports: &PortMap, wanted: Option<&str>) -> Result<String, Error> {
    let address = |binding: &PortBinding| match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    };
    if let Some(wanted) = wanted {
        let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        network_values::port(number)
            .map_err(|cause| Error::invalid(format!("Error: invalid port ({number}): {cause}")))?;
        let bindings = ports.get(&format!("{number}/{protocol}")).cloned().flatten().unwrap_or_default();
        if bindings.is_empty() {
            return Err(Error::not_found(format!(
                "Error: No public port '{number}/{protocol}' published for {name}"
            )));
        }
        return Ok(bindings.iter().map(|binding| format!("{}\n", address(binding))).collect());
    }
    let mut rows: Vec<(&str, u16, String)> = Vec::new();
    for (port, bindings) in ports {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        for binding in bindings.iter().flatten() {
            rows.push((protocol, number.parse().unwrap_or(0), format!("{port} -> {}\n", address(binding))));
        }
    }
    rows.sort_by(|one, other| (one.1, one.0).cmp(&(other.1, other.0)));
    Ok(rows.into_iter().map(|(_, _, line)| line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_as_docker_does() {
        let at = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        let ports = PortMap::from([
            ("80/tcp".into(), Some(vec![at("0.0.0.0", "8080"), at("::", "8080")])),
            ("9/udp".into(), Some(vec![at("127.0.0.1", "9")])),
            ("443/tcp".into(), None),
        ]);
        assert_eq!(
            list("c", &ports, None).unwrap(),
            "9/udp -> 127.0.0.1:9\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
        );
        assert_eq!(list("c", &ports, Some("80")).unwrap(), "0.0.0.0:8080\n[::]:8080\n");
        let words = |wanted| list("c", &ports, Some(wanted)).unwrap_err().to_string();
        assert_eq!(words("443"), "Error: No public port '443/tcp' published for c");
        assert_eq!(
            words("x/udp"),
            "Error: invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"
        );
    }
}
