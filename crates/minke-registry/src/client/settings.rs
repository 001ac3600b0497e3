//! What an engine's configuration says about registries, and who asks.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is asked before a registry, in order.
    pub mirrors: Vec<Mirror>,
    /// Registries whose certificate is not checked and that may speak plain HTTP; 127.0.0.0/8, ::1 and localhost always may.
    pub insecure: Vec<Insecure>,
    /// Folders with a folder for each `host[:port]`: `*.crt` are authorities, `x.cert` with `x.key` is what is shown to it.
    pub certs_dirs: Vec<PathBuf>,
    /// The proxies.
    pub proxies: Proxies,
    /// What the client calls itself.
    pub user_agent: String,
    /// The bounds.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certs_dirs: vec![PathBuf::from("/etc/docker/certs.d")],
            proxies: Proxies::default(),
            user_agent: concat!("minke/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}

/// A place that has what another registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry that it stands for, as in image names: `docker.io`; `*` for all.
    pub host: String,
    /// Its address, `https://mirror.example[/prefix]`.
    pub url: String,
}

/// Who may be spoken to without a checked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// A registry, `host[:port]` as in image names.
    Host(String),
    /// A network: the address and the length of its prefix.
    Network(IpAddr, u8),
}

impl Insecure {
    /// Reads one of `insecure-registries`: `host`, `host:port`, an address, or a network with its prefix.
    ///
    /// # Errors
    /// It has a scheme or a path, or the prefix is too long.
    pub fn parse(text: &str) -> minke_model::Result<Self> {
        let invalid =
            |why: &str| minke_model::Error::invalid(format!("insecure registry {text} is not valid: {why}"));
        // Docker takes these two schemes off, with a warning.
        let name = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        if let Some((address, bits)) = name.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most);
            return Ok(Self::Network(address, bits.ok_or_else(|| invalid("invalid prefix length"))?));
        }
        if name.is_empty() || name.contains(['/', '@', '?']) || name.starts_with('-') {
            return Err(invalid("invalid host"));
        }
        Ok(Self::Host(name.to_ascii_lowercase()))
    }

    /// Whether an address lies in this network.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Network(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(*bits).min(32);
                (u64::from(network.to_bits()) >> shift) == (u64::from(address.to_bits()) >> shift)
            }
            (Self::Network(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(*bits).min(128);
                shift == 128 || (network.to_bits() >> shift) == (address.to_bits() >> shift)
            }
            _ => false,
        }
    }
}

/// The proxies that requests go through: addresses `http://[user:password@]host[:port]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS, through CONNECT.
    pub https: Option<String>,
    /// Who is asked directly: names (with those below them), `.names` (only those below), addresses, networks, each with an
    /// optional port, between commas; `*` is everyone.
    pub no_proxy: String,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, or the same in small letters.
    pub fn from_environment() -> Self {
        let get = |name: &str| {
            let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase()));
            value.ok().filter(|value| !value.is_empty())
        };
        Self {
            http: get("HTTP_PROXY"),
            https: get("HTTPS_PROXY"),
            no_proxy: get("NO_PROXY").unwrap_or_default(),
        }
    }

    /// A proxy's address as everybody may see it: a user and a password in it are not shown.
    pub fn shown(address: Option<&str>) -> String {
        let address = address.unwrap_or_default();
        let (scheme, rest) = address.find("://").map_or(("", address), |at| address.split_at(at + 3));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..end].rfind('@') {
            Some(at) => format!("{scheme}xxxxx:xxxxx{}", &rest[at..]),
            None => address.to_owned(),
        }
    }
}

/// The bounds of time and size.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often something is tried in all; Docker's `max-download-attempts`.
    pub attempts: u32,
    /// The pause before the second attempt; doubles with each.
    pub backoff: Duration,
    /// The longest pause, also where a registry asks for a longer one.
    pub longest_pause: Duration,
    /// The time to connect, with TLS.
    pub connect: Duration,
    /// The time until an answer begins.
    pub answer: Duration,
    /// The longest silence within an answer.
    pub idle: Duration,
    /// The least bytes per second of a blob, as a mean of `idle` after the first.
    pub least_rate_bytes: u64,
    /// The longest manifest in bytes.
    pub manifest_bytes: usize,
    /// The longest of all other documents in bytes.
    pub document_bytes: usize,
    /// The number of redirects of one request.
    pub redirects: u32,
    /// The number of pages of a list.
    pub pages: u32,
    /// From how many missing bytes on a blob may come by several connections.
    pub spread_bytes: u64,
    /// The length of a part that one of them brings ahead, held in memory until it is its turn.
    pub part_bytes: u64,
    /// How many parts may be ahead of what has been given out.
    pub parts_ahead: usize,
    /// The length of a chunk of an upload whose source can't be read again.
    pub chunk_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            connect: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            least_rate_bytes: 256,
            manifest_bytes: 4 << 20,
            document_bytes: 1 << 20,
            redirects: 10,
            pages: 1000,
            spread_bytes: 64 << 20,
            part_bytes: 2 << 20,
            parts_ahead: 3,
            chunk_bytes: 4 << 20,
        }
    }
}

/// Who asks. Goes to the registry of the name alone, or to the token server that it names.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user with a password.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// What a login gave instead of the password.
    IdentityToken {
        /// The user's name; may be empty.
        username: String,
        /// The token.
        token: String,
    },
    /// What is shown to the registry itself as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out of every log.
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
            Self::IdentityToken { username, .. } => write!(f, "IdentityToken({username})"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown() {
        for (address, shown) in [
            ("http://me:pw@proxy:3128/", "http://xxxxx:xxxxx@proxy:3128/"),
            ("me@proxy:3128", "xxxxx:xxxxx@proxy:3128"),
            ("https://a@b:c@proxy", "https://xxxxx:xxxxx@proxy"),
            ("http://proxy:3128/x@y", "http://proxy:3128/x@y"),
        ] {
            assert_eq!(Proxies::shown(Some(address)), shown);
        }
        assert_eq!(Proxies::shown(None), "");
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let network = Insecure::parse("10.1.0.0/16").unwrap();
        assert!(network.holds("10.1.255.1".parse().unwrap()));
        assert!(!network.holds("10.2.0.1".parse().unwrap()));
        assert!(Insecure::parse("::/0").unwrap().holds("fe80::1".parse().unwrap()));
        assert!(Insecure::parse("0.0.0.0/0").unwrap().holds("1.2.3.4".parse().unwrap()));
        assert_eq!(Insecure::parse("http://Host:5000").unwrap(), Insecure::Host("host:5000".into()));
        for bad in ["", "10.0.0.0/33", "host/path", "-x"] {
            assert!(Insecure::parse(bad).is_err(), "{bad}");
        }
    }
}
