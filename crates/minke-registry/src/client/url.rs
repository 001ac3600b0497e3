//! Addresses of HTTP: parsed, resolved against another (RFC 3986 section 5), printed. What comes from a registry is checked here:
//! no user, no control characters, a bounded length.

use std::fmt;
use std::net::IpAddr;

/// The longest address that is followed; those that object stores sign have up to some 4 KiB.
const MAX_LEN: usize = 16 << 10;

/// What a credential and a connection belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
    /// Name or address in lower case, an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The port, also where it is the scheme's own.
    pub(crate) port: u16,
}

/// An address: where, and what is asked for there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Path and query; begins with a slash.
    pub(crate) target: String,
}

impl Origin {
    /// Reads `host[:port]`; the port of the scheme where none is given.
    pub(crate) fn parse(secure: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').filter(|(host, _)| host.parse::<IpAddr>().is_ok())?,
            None => match authority.find(':') {
                Some(at) => authority.split_at(at),
                None => (authority, ""),
            },
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) => Some(digits.parse().ok()?),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
            return None;
        }
        let default = if secure { 443 } else { 80 };
        Some(Self { secure, host: host.to_ascii_lowercase(), port: port.unwrap_or(default) })
    }

    /// The address that the host is, if it is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `host[:port]`, without the port of the scheme.
    pub(crate) fn authority(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { self.bracketed() } else { self.host_port() }
    }

    /// `host:port`.
    pub(crate) fn host_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl Url {
    /// Reads a whole address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split('#').next()?;
        if text.len() > MAX_LEN || !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\') {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let origin = Origin::parse(secure, authority)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Self { origin, target })
    }

    /// What `location`, an answer of this address, means: a whole address, or a part of one.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let location = location.trim().split('#').next()?;
        if location.contains("://") && !location.starts_with(['/', '?', '.']) {
            return Self::parse(location);
        }
        let scheme = if self.origin.secure { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match location.as_bytes().first() {
            None => self.target.clone(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(_) => format!("{}/{location}", &path[..path.rfind('/').unwrap_or(0)]),
        };
        let url = Self::parse(&format!("{scheme}://{}{target}", self.origin.host_port()))?;
        Some(Self { target: without_dots(&url.target), ..url })
    }

    /// The same address with a further parameter; `value` is encoded.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&encode(value));
        self
    }
}

/// Takes `.` and `..` out of a path.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.split('/').any(|part| part == "." || part == "..") {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

/// Percent-encodes all that has a meaning in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:/,".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes percent-encoding.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let (byte, used) = match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => (byte, 3),
            (byte, _) => (byte, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_whole_or_relative() {
        let base = Url::parse("https://r.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, url) in [
            ("http://other/p?q", "http://other/p?q"),
            ("//other/p", "https://other/p"),
            ("/v2/x?state=a%2Fb", "https://r.example:5000/v2/x?state=a%2Fb"),
            ("uuid?state=1", "https://r.example:5000/v2/a/blobs/uploads/uuid?state=1"),
            ("?n=2", "https://r.example:5000/v2/a/blobs/uploads/?n=2"),
            ("../x/./y", "https://r.example:5000/v2/a/blobs/x/y"),
            ("/to?u=http://e/", "https://r.example:5000/to?u=http://e/"),
        ] {
            assert_eq!(base.join(location).map(|url| url.to_string()).as_deref(), Some(url), "{location}");
        }
    }

    #[test]
    fn what_could_fool_somebody_is_no_address() {
        for bad in [
            "http://user:pw@host/",
            "ftp://host/",
            "http:///x",
            "http://a b/",
            "http://h/\r\nX: y",
            "http://[::1/",
            "http://h:99999/",
            "http://h\\@x/",
        ] {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports_of_the_scheme_are_not_printed_and_brackets_are() {
        assert_eq!(Url::parse("HTTPS://Host:443").unwrap().to_string(), "https://host/");
        assert_eq!(Url::parse("http://[::1]:80/a").unwrap().to_string(), "http://[::1]/a");
        assert_eq!(Url::parse("http://[::1]:5000/a").unwrap().to_string(), "http://[::1]:5000/a");
    }
}
