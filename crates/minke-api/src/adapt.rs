//! Answers for older clients: what each version of the API had, or printed, that the newest does not.
//!
//! The engine makes the newest form; the server calls [`Adapt::adapt`] on it with the version of the request.

use crate::container::{ContainerConfig, ContainerInspect, ContainerStats, ContainerSummary};
use crate::event::EventMessage;
use crate::exec::ExecInspect;
use crate::image::{ImageConfig, ImageInspect, ImageInspectConfig, ImageSummary};
use crate::network::{EndpointSettings, Network, NetworkSettings};
use crate::system::SystemInfo;
use crate::{ApiVersion, Time};

/// An answer whose form depends on the version.
pub trait Adapt {
    /// Changes the newest form into that of `version`.
    fn adapt(&mut self, version: ApiVersion);
}

const fn v1(minor: u16) -> ApiVersion {
    ApiVersion::new(1, minor)
}

impl<T: Adapt> Adapt for Vec<T> {
    fn adapt(&mut self, version: ApiVersion) {
        self.iter_mut().for_each(|item| item.adapt(version));
    }
}

impl Adapt for ContainerInspect {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(52) {
            if self.config.on_build.is_none() {
                self.config.on_build = Some(None);
            }
            let endpoint = self.network_settings.networks.get("bridge").cloned();
            self.network_settings.add_legacy_fields(endpoint.unwrap_or_default());
        }
        // The short id stood among the aliases that were asked for, from the first start on.
        if version < v1(45) && !self.state.started_at.is_zero() {
            let named = |endpoint: &&mut EndpointSettings| endpoint.dns_names.is_some();
            for endpoint in self.network_settings.networks.values_mut().filter(named) {
                endpoint.add_alias(self.id.get(..SHORT_ID).unwrap_or_default());
            }
        }
        self.network_settings.networks.values_mut().for_each(|endpoint| endpoint.adapt(version));
        if version < v1(48) {
            self.image_manifest_descriptor = None;
        }
        if version < v1(42) {
            self.host_config.kernel_memory.get_or_insert(0);
            self.host_config.kernel_memory_tcp.get_or_insert(0);
        } else {
            self.host_config.kernel_memory = None;
        }
        if version >= v1(52) {
            self.host_config.kernel_memory_tcp = None;
        }
    }
}

impl NetworkSettings {
    /// Repeats the default bridge's endpoint beside the networks, as versions up to 1.51 do.
    fn add_legacy_fields(&mut self, endpoint: EndpointSettings) {
        self.bridge = Some(String::new());
        self.hairpin_mode = Some(false);
        self.link_local_ipv6_address = Some(String::new());
        self.link_local_ipv6_prefix_len = Some(0);
        self.secondary_ip_addresses = Some(None);
        self.secondary_ipv6_addresses = Some(None);
        self.endpoint_id = Some(endpoint.endpoint_id);
        self.gateway = Some(endpoint.gateway);
        self.global_ipv6_address = Some(endpoint.global_ipv6_address);
        self.global_ipv6_prefix_len = Some(endpoint.global_ipv6_prefix_len);
        self.ip_address = Some(endpoint.ip_address);
        self.ip_prefix_len = Some(endpoint.ip_prefix_len);
        self.ipv6_gateway = Some(endpoint.ipv6_gateway);
        self.mac_address = Some(endpoint.mac_address);
    }
}

/// How many digits of an id are its short form.
const SHORT_ID: usize = 12;

impl EndpointSettings {
    fn add_alias(&mut self, alias: &str) {
        let aliases = self.aliases.get_or_insert_default();
        if !aliases.iter().any(|one| one == alias) {
            aliases.push(alias.to_owned());
        }
    }
}

impl Adapt for EndpointSettings {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(44) {
            self.dns_names = None;
        }
    }
}

impl Adapt for Network {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(52) {
            self.status = None;
            self.containers.get_or_insert_default();
        }
    }
}

impl Adapt for ExecInspect {
    fn adapt(&mut self, version: ApiVersion) {
        // Engines before 25 had one code for all that could not be started, also where the program is not there.
        if version < v1(44) && self.pid == 0 && self.exit_code == Some(127) {
            self.exit_code = Some(126);
        }
    }
}

impl Adapt for ContainerStats {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(52) {
            self.os_type = None;
        }
    }
}

impl Adapt for ContainerSummary {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(52) {
            self.health = None;
        }
        self.network_settings.networks.values_mut().for_each(|endpoint| endpoint.adapt(version));
        if version < v1(48) {
            self.image_manifest_descriptor = None;
        }
        if version < v1(46) {
            self.host_config.annotations.clear();
        }
    }
}

impl Adapt for ImageSummary {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(51) {
            self.containers = -1;
        }
        if version < v1(48) {
            self.descriptor = None;
        }
        if version < v1(44) {
            self.virtual_size = Some(self.size);
        }
        if version < v1(43) {
            // Untagged images had a placeholder, which old clients print and filter by.
            if self.repo_tags.as_ref().is_none_or(Vec::is_empty)
                && self.repo_digests.as_ref().is_none_or(Vec::is_empty)
            {
                self.repo_tags = Some(vec!["<none>:<none>".into()]);
                self.repo_digests = Some(vec!["<none>@<none>".into()]);
            }
        }
    }
}

impl Adapt for ImageInspect {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(53) {
            self.identity = None;
        }
        if version < v1(52) {
            for field in [&mut self.parent, &mut self.comment, &mut self.docker_version, &mut self.author] {
                field.get_or_insert_default();
            }
            if let ImageInspectConfig::Image(config) = &self.config {
                self.config = ImageInspectConfig::Container(dress(config));
            }
            if let ImageInspectConfig::Container(config) = &mut self.config {
                config.on_build.get_or_insert(None);
            }
        }
        if version < v1(48) {
            self.descriptor = None;
        }
        if version < v1(45) {
            self.container.get_or_insert_default();
            self.container_config.get_or_insert_with(ContainerConfig::default).on_build.get_or_insert(None);
        }
        if version < v1(44) {
            self.virtual_size = Some(self.size);
            self.created.get_or_insert_with(Time::zero);
        }
    }
}

/// An image's configuration with the fields of a container's around it, all empty.
fn dress(config: &ImageConfig) -> ContainerConfig {
    let config = config.clone();
    ContainerConfig {
        user: config.user,
        exposed_ports: config.exposed_ports,
        env: (!config.env.is_empty()).then_some(config.env),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: (!config.volumes.is_empty()).then_some(config.volumes),
        working_dir: config.working_dir,
        labels: (!config.labels.is_empty()).then_some(config.labels),
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck,
        on_build: Some((!config.on_build.is_empty()).then_some(config.on_build)),
        shell: config.shell,
        ..ContainerConfig::default()
    }
}

impl Adapt for SystemInfo {
    fn adapt(&mut self, version: ApiVersion) {
        if version < v1(44) {
            self.cdi_spec_dirs = None;
        }
        if version < v1(53) {
            self.nri = None;
        }
        if version < v1(50) {
            self.discovered_devices.clear();
            self.bridge_nf_iptables.get_or_insert(false);
            self.bridge_nf_ip6tables.get_or_insert(false);
        }
        if version < v1(49) {
            self.firewall_backend = None;
            for commit in [&mut self.containerd_commit, &mut self.runc_commit, &mut self.init_commit] {
                let id = commit.id.clone();
                commit.expected.get_or_insert(id);
            }
            self.registry_config.allow_nondistributable_artifacts_cidrs.get_or_insert_default();
            self.registry_config.allow_nondistributable_artifacts_hostnames.get_or_insert_default();
        }
        if version < v1(46) {
            self.containerd = None;
        }
        if version < v1(42) {
            self.kernel_memory.get_or_insert(false);
            self.kernel_memory_tcp.get_or_insert(false);
        }
    }
}

impl Adapt for EventMessage {
    fn adapt(&mut self, version: ApiVersion) {
        if version >= v1(52) || !matches!(self.kind.as_str(), "container" | "image") {
            return;
        }
        self.status = self.action.clone();
        self.id = self.actor.id.clone();
        if self.kind == "container" {
            self.from = self.actor.attributes.get("image").cloned().unwrap_or_default();
        }
    }
}
