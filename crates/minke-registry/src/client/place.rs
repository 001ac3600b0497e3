//! Where a registry is asked: its mirrors, then itself; checked HTTPS, and what an insecure one allows. Decides only.

use std::net::IpAddr;

use super::settings::{Insecure, Settings};
use super::transport::Reach;
use super::url::{Origin, Url};

/// The name of Docker's registry in image names, and where it is.
pub(crate) const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// One place that a repository may be asked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address that `/v2/` stands below; its target ends without a slash.
    pub(crate) base: Url,
    /// Whether its certificate is looked at.
    pub(crate) verify: bool,
    /// Whether it only stands in for the registry.
    pub(crate) mirror: bool,
}

impl Place {
    /// The address of a part of the protocol: `busybox/tags/list`.
    pub(crate) fn url(&self, rest: &str) -> Url {
        let target = format!("{}/v2/{rest}", self.base.target.trim_end_matches('/'));
        Url { origin: self.base.origin.clone(), target }
    }

    /// Whether it is the registry of the name, which alone gets credentials.
    pub(crate) fn is_origin(&self) -> bool {
        !self.mirror
    }

    fn new(origin: Origin, verify: bool) -> Self {
        Self { base: Url { origin, target: "/".to_owned() }, verify, mirror: false }
    }
}

/// The mirrors of a registry, in order.
pub(crate) fn mirrors(settings: &Settings, domain: &str) -> Vec<Place> {
    let of_domain = settings.mirrors.iter().filter(|mirror| mirror.host == domain || mirror.host == "*");
    let urls = of_domain.filter_map(|mirror| Url::parse(&mirror.url));
    urls.map(|base| Place { verify: !settings.is_insecure(&base.origin), base, mirror: true }).collect()
}

/// The registry itself, as it is asked in turn.
pub(crate) fn origins(settings: &Settings, domain: &str) -> Vec<Place> {
    let host = if domain == HUB { HUB_HOST } else { domain };
    let Some(secure) = Origin::parse(true, host) else { return Vec::new() };
    if !settings.is_insecure(&secure) {
        return vec![Place::new(secure, true)];
    }
    insecure_origins(host)
}

/// As [`origins`], of a registry that may be insecure.
pub(crate) fn insecure_origins(host: &str) -> Vec<Place> {
    let both = [Origin::parse(true, host), Origin::parse(false, host)];
    both.into_iter().flatten().map(|origin| Place::new(origin, false)).collect()
}

impl Settings {
    /// Whether a place may be spoken to without a checked certificate, as far as its name says.
    pub(crate) fn is_insecure(&self, origin: &Origin) -> bool {
        let is_in_network = |ip: IpAddr| self.is_insecure_address(ip);
        self.is_insecure_by_name(origin)
            || origin.host == "localhost"
            || origin.ip().is_some_and(is_in_network)
    }

    /// Whether an address lies in an insecure network.
    pub(crate) fn is_insecure_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.insecure.iter().any(|insecure| insecure.holds(address))
    }

    /// Whether the configuration itself names a place.
    pub(crate) fn is_insecure_by_name(&self, origin: &Origin) -> bool {
        let names = [origin.authority(), origin.host_port()];
        self.insecure.iter().any(|insecure| matches!(insecure, Insecure::Host(host) if names.contains(host)))
    }

    /// Where a place may send us.
    pub(crate) fn reach_from(&self, origin: &Origin) -> Reach {
        let local =
            origin.host == "localhost" || origin.ip().is_some_and(|ip| ip.to_canonical().is_loopback());
        if local { Reach::PublicOrLoopback } else { Reach::Public }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Mirror;
    use super::*;

    fn places(settings: &Settings, domain: &str) -> Vec<String> {
        let all = mirrors(settings, domain).into_iter().chain(origins(settings, domain));
        all.map(|place| format!("{}{}", place.url("x"), if place.verify { "" } else { " unchecked" }))
            .collect()
    }

    #[test]
    fn hub_has_its_own_host_and_mirrors_come_first() {
        let mirror = |host: &str, url: &str| Mirror { host: host.into(), url: url.into() };
        let settings = Settings {
            mirrors: vec![
                mirror("docker.io", "https://m.example/hub/"),
                mirror("*", "http://localhost:5000"),
            ],
            ..Settings::default()
        };
        assert_eq!(
            places(&settings, "docker.io"),
            [
                "https://m.example/hub/v2/x",
                "http://localhost:5000/v2/x unchecked",
                "https://registry-1.docker.io/v2/x"
            ]
        );
        assert_eq!(
            places(&settings, "r.example"),
            ["http://localhost:5000/v2/x unchecked", "https://r.example/v2/x"]
        );
    }

    #[test]
    fn an_insecure_registry_is_asked_by_https_then_by_http() {
        let insecure = vec![Insecure::Host("r.example:5000".into()), Insecure::parse("10.0.0.0/8").unwrap()];
        let settings = Settings { insecure, ..Settings::default() };
        assert_eq!(
            places(&settings, "127.0.0.1:5000"),
            ["https://127.0.0.1:5000/v2/x unchecked", "http://127.0.0.1:5000/v2/x unchecked"]
        );
        assert_eq!(places(&settings, "r.example:5000").len(), 2);
        assert_eq!(places(&settings, "10.1.2.3").len(), 2);
        assert_eq!(places(&settings, "[::1]:5000").len(), 2);
        assert_eq!(places(&settings, "r.example"), ["https://r.example/v2/x"]);
        assert_eq!(places(&settings, "11.1.2.3"), ["https://11.1.2.3/v2/x"]);
    }
}
