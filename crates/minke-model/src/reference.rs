//! Image references (`registry/repository:tag@digest`): parsed, normalised and printed as Docker does
//! (the grammar is in the distribution specification and Docker's reference documentation).
//! Knows nothing of what a reference points to.

use crate::{Digest, Error, Result, digest::is_lower_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The registry that a name without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that a name without one means.
pub const DEFAULT_TAG: &str = "latest";
const MAX_NAME_LEN: usize = 255;
const MAX_TAG_LEN: usize = 128;

/// A normalised image name (`docker.io/library/busybox`) with an optional tag and digest.
/// [`fmt::Display`] prints the familiar form (`busybox:latest`); [`Reference::canonical`] the whole one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a user may name an image by: a reference, or a digest (`sha256:…` or 64 hex digits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyReference {
    /// A name with whatever tag and digest it came with.
    Named(Reference),
    /// An ID.
    Digest(Digest),
}

impl AnyReference {
    /// Reads what stands for an image on a command line; 64 hex digits are an ID, never a name.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && is_lower_hex(text) {
            return Ok(Self::Digest(Digest::from_hex(text)?));
        }
        if let Ok(digest) = Digest::parse(text) {
            return Ok(Self::Digest(digest));
        }
        Ok(Self::Named(Reference::parse(text)?))
    }
}

impl Reference {
    /// Reads a name as a user types it: `busybox`, `localhost:5000/a/b:tag`, `name@sha256:…`.
    /// Adds the default registry and `library/`, but no tag.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && is_lower_hex(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (domain, rest) = split_domain(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path = match domain == DEFAULT_DOMAIN && !path.contains('/') && !path.is_empty() {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if path.to_lowercase() != path {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({path}) must be lowercase"
            )));
        }
        let format = || Error::invalid("invalid reference format");
        if !is_domain(domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(format());
        }
        if domain.len() + 1 + path.len() > MAX_NAME_LEN {
            return Err(Error::invalid(format!(
                "repository name must not be more than {MAX_NAME_LEN} characters"
            )));
        }
        let digest = digest.map(parse_suffix_digest).transpose()?;
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host and port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path below its registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The whole repository name: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository name as Docker shows it: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference, nothing left out: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        self.with_suffix(self.name())
    }

    /// The reference as Docker shows it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// This reference, with `latest` where it has neither tag nor digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid("invalid tag format"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository by digest, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

/// Separates the registry: the part before the first slash, if it has a dot, a colon or an
/// upper-case letter, or is `localhost`.
fn split_domain(text: &str) -> (&str, &str) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == "index.docker.io" { (DEFAULT_DOMAIN, rest) } else { (domain, rest) }
}

fn is_domain(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let address_ok =
            !address.is_empty() && address.bytes().all(|byte| byte == b':' || byte.is_ascii_hexdigit());
        return address_ok && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Lower-case letters and digits, joined by one dot, one or two underscores or any number of dashes.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    let separators = bytes.split(|byte| is_word(*byte)).filter(|run| !run.is_empty());
    separators
        .into_iter()
        .all(|run| run == b"." || run == b"_" || run == b"__" || run.iter().all(|byte| *byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| is_word(*first))
        && bytes.len() <= MAX_TAG_LEN
        && bytes.iter().all(|byte| is_word(*byte) || *byte == b'.' || *byte == b'-')
}

fn parse_suffix_digest(text: &str) -> Result<Digest> {
    let shaped = text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if !shaped {
        return Err(Error::invalid("invalid reference format"));
    }
    Digest::parse(text)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!((reference.canonical().as_str(), reference.familiar().as_str()), (canonical, familiar));
    }

    #[test]
    fn a_short_name_gets_the_default_registry_and_library() {
        check("busybox", "docker.io/library/busybox", "busybox");
        check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
        check("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox");
        check("a/b", "docker.io/a/b", "a/b");
        check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
    }

    #[test]
    fn a_first_part_with_a_dot_a_port_or_named_localhost_is_the_registry() {
        check("localhost/x", "localhost/x", "localhost/x");
        check("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y");
        check("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x");
        check("Registry/x", "Registry/x", "Registry/x");
        let digest = format!("sha256:{}", "0".repeat(64));
        check(&format!("x:t@{digest}"), &format!("docker.io/library/x:t@{digest}"), &format!("x:t@{digest}"));
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        let cases = [
            ("", "invalid reference format"),
            ("-x", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("x:", "invalid reference format"),
            ("x:-a", "invalid reference format"),
            ("a/b c", "invalid reference format"),
            ("x@sha256:12", "invalid reference format"),
            ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ];
        for (text, message) in cases {
            assert_eq!(Reference::parse(text).unwrap_err().message(), message, "{text}");
        }
        let hex = "a".repeat(64);
        assert!(Reference::parse(&hex).unwrap_err().message().contains("cannot specify 64-byte hexadecimal"));
        assert!(matches!(AnyReference::parse(&hex), Ok(AnyReference::Digest(_))));
    }

    #[test]
    fn the_default_tag_is_added_only_where_nothing_says_which() {
        assert_eq!(Reference::parse("x").unwrap().with_default_tag().familiar(), "x:latest");
        let by_digest = format!("x@sha256:{}", "0".repeat(64));
        assert_eq!(Reference::parse(&by_digest).unwrap().with_default_tag().familiar(), by_digest);
    }
}
