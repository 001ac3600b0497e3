//! What flags and file say about registries, and what both together mean.

use std::path::PathBuf;

use clap::Args;
use minke_engine::{Mirror, RegistryOptions};
use minke_model::{Error, Result};
use serde::Deserialize;

use super::proxies::{self, ProxyFile, ProxyFlags};

/// Where the certificates of single registries are, the last one's word counting.
const CERTS_DIRS: [&str; 2] = ["/etc/docker/certs.d", "/etc/minke/certs.d"];

/// The registry whose mirrors need no name before them.
const DOCKER: &str = "docker.io";

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryFlags {
    /// A registry, or a network of them, without checked TLS: `host:port` or `10.0.0.0/8`; may be given several times.
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub insecure_registries: Vec<String>,
    /// The address of a mirror of Docker's registry, or `HOST=ADDRESS` of another one's (`*` of all); may be given several times.
    #[arg(long = "registry-mirror", value_name = "ADDRESS")]
    pub registry_mirrors: Vec<String>,
    /// How many blobs are fetched at once.
    #[arg(long, value_name = "NUMBER")]
    pub max_concurrent_downloads: Option<usize>,
    /// How many layers are sent at once.
    #[arg(long, value_name = "NUMBER")]
    pub max_concurrent_uploads: Option<usize>,
    /// How often a fetch is tried.
    #[arg(long, value_name = "NUMBER")]
    pub max_download_attempts: Option<u32>,
    /// What is between.
    #[command(flatten)]
    pub proxies: ProxyFlags,
}

/// The keys of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RegistryFile {
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    max_concurrent_downloads: Option<usize>,
    max_concurrent_uploads: Option<usize>,
    max_download_attempts: Option<u32>,
    proxies: ProxyFile,
}

impl RegistryFlags {
    /// Whether a flag says what the file's `key` says.
    pub fn gives(&self, key: &str) -> bool {
        match key {
            "max-concurrent-downloads" => self.max_concurrent_downloads.is_some(),
            "max-concurrent-uploads" => self.max_concurrent_uploads.is_some(),
            "max-download-attempts" => self.max_download_attempts.is_some(),
            _ => false,
        }
    }
}

/// Joins both.
///
/// # Errors
/// A number of 0, a mirror that is no address.
pub fn join(flags: &RegistryFlags, file: &RegistryFile) -> Result<RegistryOptions> {
    let defaults = RegistryOptions::default();
    let mirrors = [file.registry_mirrors.clone(), flags.registry_mirrors.clone()].concat();
    let mirrors = mirrors.iter().map(|text| parse_mirror(text)).collect::<Result<_>>()?;
    let number = |key: &str, flag: Option<usize>, file: Option<usize>, default: usize| match flag.or(file) {
        Some(0) => Err(Error::invalid(format!("invalid {key}: 0"))),
        given => Ok(given.unwrap_or(default)),
    };
    let attempts =
        (flags.max_download_attempts.map(|n| n as usize), file.max_download_attempts.map(|n| n as usize));
    let attempts = number("max-download-attempts", attempts.0, attempts.1, defaults.max_attempts as usize)?;
    Ok(RegistryOptions {
        insecure: [file.insecure_registries.clone(), flags.insecure_registries.clone()].concat(),
        mirrors,
        certs_dirs: CERTS_DIRS.iter().map(PathBuf::from).collect(),
        max_downloads: number(
            "max-concurrent-downloads",
            flags.max_concurrent_downloads,
            file.max_concurrent_downloads,
            defaults.max_downloads,
        )?,
        max_uploads: number(
            "max-concurrent-uploads",
            flags.max_concurrent_uploads,
            file.max_concurrent_uploads,
            defaults.max_uploads,
        )?,
        max_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        proxies: proxies::join(&flags.proxies, &file.proxies, defaults.proxies),
    })
}

/// Reads an address, or `HOST=ADDRESS`.
fn parse_mirror(text: &str) -> Result<Mirror> {
    let (host, url) = match text.split_once('=') {
        Some((host, url)) if !host.contains('/') => (host, url),
        _ => (DOCKER, text),
    };
    let address = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if host.is_empty() || address.is_none_or(|rest| rest.is_empty() || rest.contains(['?', '#', '@'])) {
        return Err(Error::invalid(format!(
            "invalid mirror: {text:?}: it must be https://HOST[:PORT][/PATH], without user, query or fragment"
        )));
    }
    Ok(Mirror { host: host.to_owned(), url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_file_are_joined_and_mirrors_are_addresses() {
        let file: RegistryFile = serde_json::from_str(
            r#"{"insecure-registries":["a:1"],"registry-mirrors":["https://m","r.example:5000=http://n/x"],"max-concurrent-downloads":7}"#,
        )
        .unwrap();
        let flags = RegistryFlags { insecure_registries: vec!["b:2".into()], ..RegistryFlags::default() };
        let joined = join(&flags, &file).unwrap();
        assert_eq!(joined.insecure, ["a:1", "b:2"]);
        assert_eq!((joined.max_downloads, joined.max_uploads), (7, 5));
        let mirrors: Vec<(&str, &str)> =
            joined.mirrors.iter().map(|mirror| (mirror.host.as_str(), mirror.url.as_str())).collect();
        assert_eq!(mirrors, [("docker.io", "https://m"), ("r.example:5000", "http://n/x")]);
        for bad in [
            r#"{"registry-mirrors":["m"]}"#,
            r#"{"registry-mirrors":["=https://m"]}"#,
            r#"{"max-concurrent-uploads":0}"#,
        ] {
            assert!(join(&flags, &serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
