//! Which engine a command speaks to: the host's notation, and the order in which flag, environment and context decide.
//! Deciding is pure but for the context's files; nothing is connected here.

use std::fmt;
use std::path::{Path, PathBuf};

use minke_model::{Error, Result};

use crate::config::Config;
use crate::context;

/// Where an engine listens that nobody said otherwise of.
pub const DEFAULT_SOCKET: &str = "/run/minke/minke.sock";

/// The longest path that the kernel takes for a unix socket.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix:///path`
    Unix(PathBuf),
    /// `tcp://name:port`, with or without TLS
    Tcp {
        /// Name or address, an IPv6 address without brackets.
        name: String,
        /// The port; 2375, or 2376 with TLS, where none was given.
        port: u16,
    },
}

/// The certificate files of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have signed the server's certificate; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

impl TlsFiles {
    /// The usual three names in `directory`, those that exist; nothing where none does and the server is to be checked.
    pub fn existing_in(directory: &Path, verify: bool) -> Option<Self> {
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        let files = Self { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem"), verify };
        let any = files.ca.is_some() || files.cert.is_some() || files.key.is_some();
        (any || !verify).then_some(files)
    }
}

/// What decides on the engine.
#[derive(Clone, Debug, Default)]
pub struct HostRequest {
    /// Every `-H`.
    pub hosts: Vec<String>,
    /// `--context`
    pub context: Option<String>,
    /// TLS as flags and environment ask for it.
    pub tls: Option<TlsFiles>,
}

/// An engine's address and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub host: Host,
    /// Present for a connection by TLS.
    pub tls: Option<TlsFiles>,
    /// Whether nobody named a host, so that an engine may be started at the default place.
    pub implicit: bool,
    /// The context it came from, `default` for none.
    pub context: String,
}

impl HostRequest {
    /// Decides: `-H` or `--context`, then `MINKE_HOST`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the configuration's current
    /// context, then the default socket.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::InvalidParameter`] for several hosts, or a host of a form that is not offered;
    /// [`minke_model::ErrorKind::NotFound`] for an unknown context.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>, config: &Config) -> Result<Endpoint> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let named = |host: &str| {
            Ok(Endpoint {
                host: Host::parse(host, self.tls.is_some())?,
                tls: self.tls.clone(),
                implicit: false,
                context: "default".into(),
            })
        };
        match (&self.hosts[..], &self.context) {
            ([], None) => {}
            ([_, ..], Some(_)) => {
                return Err(Error::invalid("conflicting options: cannot specify both --host and --context"));
            }
            ([host], None) => return named(host),
            ([_, _, ..], _) => return Err(Error::invalid("Specify only one -H")),
            ([], Some(name)) => return self.in_context(name, config),
        }
        if let Some(host) = set("MINKE_HOST").or_else(|| set("DOCKER_HOST")) {
            return named(&host);
        }
        let current = Some(config.current_context.clone()).filter(|name| !name.is_empty());
        match set("DOCKER_CONTEXT").or(current) {
            Some(name) => self.in_context(&name, config),
            None => Ok(self.default_endpoint()),
        }
    }

    /// The name of the context that decides, by the same order; whether there is one of that name is not asked.
    pub fn context_name(&self, env: &dyn Fn(&str) -> Option<String>, config: &Config) -> String {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let by_host = !self.hosts.is_empty() || set("MINKE_HOST").or_else(|| set("DOCKER_HOST")).is_some();
        match &self.context {
            Some(name) => return name.clone(),
            None if by_host => return context::DEFAULT.into(),
            None => {}
        }
        let current = Some(config.current_context.clone()).filter(|name| !name.is_empty());
        set("DOCKER_CONTEXT").or(current).unwrap_or_else(|| context::DEFAULT.into())
    }

    fn in_context(&self, name: &str, config: &Config) -> Result<Endpoint> {
        if name == "default" {
            return Ok(self.default_endpoint());
        }
        let found = context::load(&config.directory, name)?;
        let tls = found.tls.or_else(|| self.tls.clone());
        let host = Host::parse(&found.host, tls.is_some())?;
        Ok(Endpoint { host, tls, implicit: false, context: name.to_string() })
    }

    fn default_endpoint(&self) -> Endpoint {
        Endpoint {
            host: Host::Unix(DEFAULT_SOCKET.into()),
            tls: None,
            implicit: true,
            context: "default".into(),
        }
    }
}

impl Host {
    /// Reads a host: `unix:///path`, `tcp://name[:port]`, `name:port`.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::InvalidParameter`] for another scheme or form, and for a socket's path that is too long.
    pub fn parse(text: &str, tls: bool) -> Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None if text.starts_with('/') => ("unix", text),
            None => ("tcp", text),
        };
        match scheme {
            "unix" => Self::unix(if rest.is_empty() { DEFAULT_SOCKET } else { rest }),
            "tcp" | "http" | "https" => Self::tcp(rest, text, tls || scheme == "https"),
            "ssh" => Err(Error::invalid(format!(
                "host {text}: hosts by ssh are not offered by this version; forward the socket with `ssh -L` and name it by unix://"
            ))),
            _ => Err(Error::invalid(format!("unable to parse docker host `{text}`"))),
        }
    }

    fn unix(path: &str) -> Result<Self> {
        if path.len() > SOCKET_PATH_LIMIT_BYTES {
            return Err(Error::invalid(format!(
                "the socket's path has {} bytes, more than the {SOCKET_PATH_LIMIT_BYTES} that the kernel takes: {path}",
                path.len()
            )));
        }
        Ok(Self::Unix(path.into()))
    }

    fn tcp(rest: &str, text: &str, tls: bool) -> Result<Self> {
        let invalid = || Error::invalid(format!("unable to parse docker host `{text}`"));
        let rest = rest.trim_end_matches('/');
        if rest.contains('/') {
            return Err(invalid());
        }
        let (name, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (name, tail) = bracketed.split_once(']').ok_or_else(invalid)?;
                (name, tail.strip_prefix(':').unwrap_or(tail))
            }
            None => rest.rsplit_once(':').unwrap_or((rest, "")),
        };
        let port = match port {
            "" if tls => 2376,
            "" => 2375,
            digits => digits.parse().map_err(|_| invalid())?,
        };
        let name = if name.is_empty() { "localhost" } else { name };
        Ok(Self::Tcp { name: name.to_string(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { name, port } if name.contains(':') => write!(f, "tcp://[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "tcp://{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(request: &HostRequest, vars: &[(&str, &str)], config: &Config) -> Result<Endpoint> {
        let env =
            |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_string());
        request.resolve(&env, config)
    }

    #[test]
    fn hosts_are_read_in_every_form() {
        let cases = [
            ("unix:///a/b", false, "unix:///a/b"),
            ("unix://", false, "unix:///run/minke/minke.sock"),
            ("tcp://h:1234", false, "tcp://h:1234"),
            ("tcp://h", false, "tcp://h:2375"),
            ("tcp://h/", true, "tcp://h:2376"),
            ("h:1", false, "tcp://h:1"),
            (":2375", false, "tcp://localhost:2375"),
            ("tcp://[::1]:5", false, "tcp://[::1]:5"),
        ];
        for (text, tls, expected) in cases {
            assert_eq!(Host::parse(text, tls).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_refused_clearly() {
        assert_eq!(Host::parse("fd://", false).unwrap_err().message(), "unable to parse docker host `fd://`");
        assert!(Host::parse("ssh://me@h", false).unwrap_err().message().contains("not offered"));
        assert!(Host::parse("tcp://h:x", false).is_err());
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(
            Host::parse(&long, false).unwrap_err().message().starts_with("the socket's path has 108 bytes")
        );
    }

    #[test]
    fn the_flag_wins_over_minke_host_over_docker_host_over_the_default() {
        let flag = HostRequest { hosts: vec!["tcp://flag:1".into()], ..HostRequest::default() };
        let none = HostRequest::default();
        let both = [("MINKE_HOST", "tcp://minke:1"), ("DOCKER_HOST", "tcp://docker:1")];
        let config = Config::default();
        assert_eq!(resolve(&flag, &both, &config).unwrap().host.to_string(), "tcp://flag:1");
        assert_eq!(resolve(&none, &both, &config).unwrap().host.to_string(), "tcp://minke:1");
        assert_eq!(resolve(&none, &both[1..], &config).unwrap().host.to_string(), "tcp://docker:1");
        let default = resolve(&none, &[], &config).unwrap();
        assert!(default.implicit);
        assert_eq!(default.host.to_string(), "unix:///run/minke/minke.sock");
    }

    #[test]
    fn a_context_counts_only_where_no_host_is_named() {
        let config = Config { current_context: "gone".into(), ..Config::default() };
        let none = HostRequest::default();
        assert!(
            resolve(&none, &[], &config)
                .unwrap_err()
                .message()
                .starts_with("context \"gone\": context not found")
        );
        assert!(!resolve(&none, &[("DOCKER_HOST", "tcp://h:1")], &config).unwrap().implicit);
        assert!(resolve(&none, &[("DOCKER_CONTEXT", "default")], &config).unwrap().implicit);
    }

    #[test]
    fn contradictions_are_refused() {
        let config = Config::default();
        let two = HostRequest { hosts: vec!["a:1".into(), "b:1".into()], ..HostRequest::default() };
        assert_eq!(resolve(&two, &[], &config).unwrap_err().message(), "Specify only one -H");
        let mixed =
            HostRequest { hosts: vec!["a:1".into()], context: Some("x".into()), ..HostRequest::default() };
        assert!(resolve(&mixed, &[], &config).unwrap_err().message().starts_with("conflicting options"));
    }
}
