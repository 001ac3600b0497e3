//! Which proxy a request goes through, if any: decided as Go's HTTP client does from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

use std::net::IpAddr;

use hyper::header::HeaderValue;

use super::error::{Error, ErrorKind};
use super::settings::{Credentials, Insecure, Proxies};
use super::url::Origin;
use super::{Result, auth};

/// A proxy, and what it wants to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    pub(crate) authorization: Option<HeaderValue>,
}

/// The proxy for a place.
///
/// # Errors
/// The setting is no address of a proxy.
pub(crate) fn choose(proxies: &Proxies, to: &Origin) -> Result<Option<Proxy>> {
    let setting = if to.secure { &proxies.https } else { &proxies.http };
    let Some(setting) = setting.as_deref().filter(|setting| !setting.is_empty()) else { return Ok(None) };
    let ip = to.ip().map(|ip| ip.to_canonical());
    if to.host == "localhost"
        || ip.is_some_and(|ip| ip.is_loopback())
        || is_excepted(&proxies.no_proxy, to, ip)
    {
        return Ok(None);
    }
    parse(setting).map(Some)
}

/// Reads `[http://][user[:password]@]host[:port][/]`.
fn parse(setting: &str) -> Result<Proxy> {
    // The setting itself is not shown: it may hold a password.
    let invalid = || Error::new(ErrorKind::InvalidRequest, "invalid address of a proxy");
    let (secure, rest) = match setting.split_once("://") {
        None => (false, setting),
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some((scheme, _)) => {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("unsupported kind of proxy: {scheme}"),
            ));
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let origin = Origin::parse(secure, host).ok_or_else(invalid)?;
    let authorization = user.map(|user| {
        let (username, password) = user.split_once(':').unwrap_or((user, ""));
        let decoded = |text: &str| super::url::decode(text);
        auth::basic(&Credentials::Basic { username: decoded(username), password: decoded(password) })
    });
    Ok(Proxy { origin, authorization: authorization.transpose()? })
}

/// Whether NO_PROXY names a place.
fn is_excepted(no_proxy: &str, to: &Origin, ip: Option<IpAddr>) -> bool {
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(
        |entry| {
            if entry == "*" {
                return true;
            }
            if let Some((address, bits)) = entry.split_once('/') {
                let network = address.parse::<IpAddr>().ok().zip(bits.parse::<u8>().ok());
                return network
                    .zip(ip)
                    .is_some_and(|((address, bits), ip)| Insecure::Network(address, bits).holds(ip));
            }
            if let Ok(address) = entry.parse::<IpAddr>() {
                return ip == Some(address.to_canonical());
            }
            let (host, port) = match entry.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (host, port.parse().ok())
                }
                _ => (entry.as_str(), None),
            };
            if port.is_some_and(|port: u16| port != to.port) {
                return false;
            }
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if ip.is_some() {
                return host.parse::<IpAddr>().ok() == ip;
            }
            let (suffix, itself) = match host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
                Some(suffix) => (suffix, false),
                None => (host, true),
            };
            let below = to.host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
            below || (itself && to.host == suffix)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::url::Url;
    use super::*;

    fn goes_to(proxies: &Proxies, url: &str) -> Option<String> {
        let origin = Url::parse(url).unwrap().origin;
        choose(proxies, &origin).unwrap().map(|proxy| proxy.origin.host_port())
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_none() {
        let proxies = Proxies {
            http: Some("p1:3128".into()),
            https: Some("http://u:p%40x@p2".into()),
            no_proxy: String::new(),
        };
        assert_eq!(goes_to(&proxies, "http://r.example/").as_deref(), Some("p1:3128"));
        assert_eq!(goes_to(&proxies, "https://r.example/").as_deref(), Some("p2:80"));
        assert_eq!(goes_to(&proxies, "http://127.0.0.1:5000/"), None);
        assert_eq!(goes_to(&proxies, "https://localhost/"), None);
        let proxy = choose(&proxies, &Url::parse("https://x/").unwrap().origin).unwrap().unwrap();
        assert_eq!(proxy.authorization.unwrap().to_str().unwrap(), "Basic dTpwQHg=");
        assert!(
            choose(
                &Proxies { https: Some("socks5://x".into()), ..proxies },
                &Url::parse("https://x/").unwrap().origin
            )
            .is_err()
        );
    }

    #[test]
    fn no_proxy_has_names_suffixes_networks_and_ports() {
        let no_proxy = "a.example, .b.example,10.0.0.0/8 ,192.168.1.1,c.example:5000,[fd00::1]:80";
        let proxies = Proxies { http: Some("p".into()), https: Some("p".into()), no_proxy: no_proxy.into() };
        for (url, direct) in [
            ("https://a.example/", true),
            ("https://x.a.example/", true),
            ("https://xa.example/", false),
            ("https://b.example/", false),
            ("https://x.b.example/", true),
            ("http://10.2.3.4:5000/", true),
            ("http://11.2.3.4/", false),
            ("http://192.168.1.1/", true),
            ("https://c.example/", false),
            ("https://c.example:5000/", true),
            ("http://[fd00::1]/", true),
        ] {
            assert_eq!(goes_to(&proxies, url).is_none(), direct, "{url}");
        }
        assert_eq!(goes_to(&Proxies { no_proxy: "*".into(), ..proxies }, "https://x/"), None);
    }
}
